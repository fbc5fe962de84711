//! The values of labels that are no reason or kind of [`job`](crate::job)'s. Every call site and the list of series that
//! exist from the start use these.

/// An enum whose cases are the values of a label.
macro_rules! label {
    ($(#[$about:meta])* $name:ident { $($(#[$case_about:meta])* $case:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$case_about])* $case,)+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$case,)+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$case => $text,)+
                }
            }
        }
    };
}

label! {
    /// Why no new jobs are taken.
    PauseReason {
        Account = "account",
        Provider = "provider",
        Redis = "redis",
        Storage = "storage",
        Download = "download",
    }
}

label! {
    /// What is at a standstill, besides the reasons of a pause.
    Standstill {
        /// Sessions end with the same message at the head of the queue.
        Message = "message",
        /// There is no session with RabbitMQ.
        RabbitMq = "rabbitmq",
        /// A published message is not confirmed.
        Publishing = "publishing",
        /// Jobs wait because of `spend.max_units_per_day`.
        Spend = "spend",
    }
}

label! {
    /// The answer to a request at the callback listener.
    CallbackAnswer {
        Accepted = "accepted",
        /// The body says that the task is still running, so the callback is not passed on.
        Running = "running",
        NotFound = "not_found",
        TooLarge = "too_large",
        /// The body didn't arrive in time.
        TimedOut = "timed_out",
        /// The connection broke before the end of the body.
        BrokenOff = "broken_off",
        /// The callback could not be passed on. It does no harm if the provider tries again.
        Unavailable = "unavailable",
    }
}

label! {
    /// A service with a lasting connection.
    Service {
        RabbitMq = "rabbitmq",
        Redis = "redis",
    }
}

label! {
    /// Why a delivery goes back to RabbitMQ, besides the reasons of a life.
    HandedBack {
        Panicked = "panicked",
        /// Near the delivery limit: it was published afresh to the tail of its queue.
        HandedOn = "handed_on",
        /// A copy of a job in work: likewise.
        Copy = "copy",
    }
}
