//! Why a download can fail, sorted by whose fault it is. Pure. This is the only place that decides it.

use crate::job::step::Blame;

/// What was wrong with a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    /// The file is of another kind than those that are stored, or has too many pixels.
    AnotherKind,
    /// The file has more bytes than `download.max_bytes`.
    TooLarge,
    /// The provider's own URL may not be requested: another scheme, a login, an address that is not allowed.
    BadUrl,
    /// The status says that this URL gives nothing, or gives nothing any more.
    Spent(u16),
    /// The status says that the host fails, or is busy.
    Failing(u16),
    /// The redirects don't end, have no target, or lead to a place that may not be requested.
    Redirects,
    /// The status promises a picture but none is there: a web page, an error in XML, nothing.
    NoPicture,
    /// The bytes stop before the picture's end.
    Cut,
    /// The bytes begin like a picture, but their structure is wrong.
    Broken,
    /// The body took too long.
    Slow,
    /// The connection was closed during the exchange.
    Reset,
    /// The URL says http, and the host gives nothing over https.
    NoHttps,
    /// The host's name can't be resolved.
    Unresolved,
    /// The host's name resolves to an address that is not allowed.
    Forbidden,
    /// There is no connection to the host or to the proxy.
    Unreachable,
    /// TLS with the host fails: its certificate is expired, unknown or for another host.
    Tls,
    /// No answer came in time.
    Silent,
    /// The proxy, or our own network, requires a login.
    Login(u16),
}

impl Trouble {
    /// The trouble that a status stands for. `None` for a redirect, and if the body must be checked.
    #[must_use]
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            // The picture itself shows whether it is complete.
            200 | 203 | 206 | 301 | 302 | 303 | 307 | 308 => None,
            407 | 511 => Some(Self::Login(status)),
            408 | 421 | 425 | 429 => Some(Self::Failing(status)),
            // Stores answer an expired signature with 400, 401 or 403.
            400..=499 => Some(Self::Spent(status)),
            _ => Some(Self::Failing(status)),
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Self::AnotherKind | Self::TooLarge | Self::BadUrl => Blame::Job,
            Self::Spent(_)
            | Self::Failing(_)
            | Self::Redirects
            | Self::NoPicture
            | Self::Cut
            | Self::Broken
            | Self::Slow
            | Self::Reset
            | Self::NoHttps => Blame::Host,
            Self::Unresolved
            | Self::Forbidden
            | Self::Unreachable
            | Self::Tls
            | Self::Silent
            | Self::Login(_) => Blame::Network,
        }
    }

    /// Whether two downloads seem to fail for the same reason.
    #[must_use]
    pub fn is_like(self, other: Self) -> bool {
        // A network without a way out fails differently at every try.
        self == other || (self.blame() == Blame::Network && other.blame() == Blame::Network)
    }

    /// Whether the same URL may work a moment later. If not, the provider is asked for a fresh URL first.
    #[must_use]
    pub fn may_pass(self) -> bool {
        match self {
            Self::Failing(_)
            | Self::Cut
            | Self::Broken
            | Self::Slow
            | Self::Reset
            | Self::Unresolved
            | Self::Unreachable
            | Self::Silent => true,
            Self::AnotherKind
            | Self::TooLarge
            | Self::BadUrl
            | Self::Spent(_)
            | Self::Redirects
            | Self::NoPicture
            | Self::NoHttps
            | Self::Forbidden
            | Self::Tls
            | Self::Login(_) => false,
        }
    }

    /// Whether the URL gives nothing any more, which is how hosts answer an expired signature.
    #[must_use]
    pub fn spends_url(self) -> bool {
        matches!(self, Self::Spent(_))
    }

    /// Whether there is a file that is not an image, as opposed to no file.
    #[must_use]
    pub fn is_no_image(self) -> bool {
        match self {
            Self::AnotherKind | Self::TooLarge | Self::BadUrl | Self::NoPicture | Self::Broken => true,
            Self::Spent(_)
            | Self::Failing(_)
            | Self::Redirects
            | Self::Cut
            | Self::Slow
            | Self::Reset
            | Self::NoHttps
            | Self::Unresolved
            | Self::Forbidden
            | Self::Unreachable
            | Self::Tls
            | Self::Silent
            | Self::Login(_) => false,
        }
    }

    /// What a person can do if every download fails for this reason.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Spent(_) | Self::NoPicture => {
                "see whether the host refuses download.user_agent, or this network leads to a page of its own"
            }
            Self::Forbidden => {
                "allow the network in download.allow_networks if result hosts are meant to lie there, or mend the DNS"
            }
            Self::Unresolved => "mend the DNS, or set download.proxy if only a proxy leads out",
            Self::Unreachable | Self::Silent => {
                "see whether this network lets https out to the host; if only a proxy leads out, see whether download.proxy is \
                 set and answers"
            }
            Self::Tls => {
                "see whether the host's certificate is good, and whether something on the way reads along"
            }
            Self::Login(_) => "check the login in download.proxy, or the login that this network asks for",
            Self::NoHttps => "the provider's URLs say http, and the host has no https; ask the provider",
            Self::TooLarge => {
                "raise download.max_bytes (of a video download.media_max_bytes) if files are meant to be that large"
            }
            Self::AnotherKind
            | Self::BadUrl
            | Self::Failing(_)
            | Self::Redirects
            | Self::Cut
            | Self::Broken
            | Self::Slow
            | Self::Reset => "see whether the host is down, or ask the provider",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_place() {
        for status in 100..=999_u16 {
            let expected = match status {
                200 | 203 | 206 | 301 | 302 | 303 | 307 | 308 => None,
                407 | 511 => Some((Blame::Network, false)),
                408 | 421 | 425 | 429 => Some((Blame::Host, true)),
                400..=499 => Some((Blame::Host, false)),
                _ => Some((Blame::Host, true)),
            };
            let found = Trouble::of_status(status).map(|trouble| (trouble.blame(), trouble.may_pass()));
            assert_eq!(found, expected, "{status}");
        }
        for spent in [400, 401, 403, 404, 405, 406, 409, 410, 412, 414, 416, 418, 431, 451, 499] {
            assert_eq!(Trouble::of_status(spent), Some(Trouble::Spent(spent)));
        }
    }

    /// Trouble; whose fault; whether the same URL is tried again; whether there is a file.
    const TABLE: &[(Trouble, Blame, bool, bool)] = &[
        (Trouble::AnotherKind, Blame::Job, false, true),
        (Trouble::TooLarge, Blame::Job, false, true),
        (Trouble::BadUrl, Blame::Job, false, true),
        (Trouble::Spent(404), Blame::Host, false, false),
        (Trouble::Failing(503), Blame::Host, true, false),
        (Trouble::Redirects, Blame::Host, false, false),
        (Trouble::NoPicture, Blame::Host, false, true),
        (Trouble::Cut, Blame::Host, true, false),
        (Trouble::Broken, Blame::Host, true, true),
        (Trouble::Slow, Blame::Host, true, false),
        (Trouble::Reset, Blame::Host, true, false),
        (Trouble::NoHttps, Blame::Host, false, false),
        (Trouble::Unresolved, Blame::Network, true, false),
        (Trouble::Forbidden, Blame::Network, false, false),
        (Trouble::Unreachable, Blame::Network, true, false),
        (Trouble::Tls, Blame::Network, false, false),
        (Trouble::Silent, Blame::Network, true, false),
        (Trouble::Login(407), Blame::Network, false, false),
    ];

    #[test]
    fn only_what_is_there_and_is_none_is_the_jobs_own_fault() {
        for (trouble, blame, may_pass, is_no_image) in TABLE {
            let found = (trouble.blame(), trouble.may_pass(), trouble.is_no_image());
            assert_eq!(found, (*blame, *may_pass, *is_no_image), "{trouble:?}");
            assert!(!trouble.advice().is_empty());
            // Trouble that is the job's own fault doesn't pass, and there is a file.
            assert!(*blame != Blame::Job || (!may_pass && *is_no_image), "{trouble:?}");
        }
    }
}
