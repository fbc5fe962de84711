//! What a download can fail of, sorted by whose fault it is. Pure; the one place that says so.

use crate::job::step::Blame;

/// What was wrong with a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    /// A file of another kind than those that are stored, or of too many pixels.
    AnotherKind,
    /// More bytes than `download.max_bytes`.
    TooLarge,
    /// The provider's own URL leads where no request may go: another scheme, a login, an address that is not allowed.
    BadUrl,
    /// The status says that this URL gives nothing, or nothing any more.
    Spent(u16),
    /// The status says that the host fails, or is busy.
    Failing(u16),
    /// Redirects without an end or an aim, or to where no request may go.
    Redirects,
    /// No picture under a status that promises one: a web page, an error in XML, nothing.
    NoPicture,
    /// The picture ends before its end.
    Cut,
    /// It begins as a picture, and is wrong inside.
    Broken,
    /// The body went on for too long.
    Slow,
    /// The connection ended within the exchange.
    Reset,
    /// The URL says http, and https gives nothing there.
    NoHttps,
    /// The host's name can't be resolved.
    Unresolved,
    /// The host's name resolves to an address that is not allowed.
    Forbidden,
    /// No connection to the host, or to the proxy.
    Unreachable,
    /// No TLS with the host: a certificate that is expired, unknown or another's.
    Tls,
    /// No answer in time.
    Silent,
    /// The proxy, or the network that we are in, wants a login.
    Login(u16),
}

impl Trouble {
    /// What a status says. `None` for a body that is to be looked at, and for a redirect.
    #[must_use]
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            // Whether it is all of the picture, the picture says itself.
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

    /// Whether two downloads seem to fail of one and the same thing.
    #[must_use]
    pub fn is_like(self, other: Self) -> bool {
        // A network without a way out looks different at every try.
        self == other || (self.blame() == Blame::Network && other.blame() == Blame::Network)
    }

    /// Whether the same URL may work a moment later. Otherwise the provider is asked for a fresh one first.
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

    /// Whether the URL gives nothing any more, as hosts say it of a signature that has expired.
    #[must_use]
    pub fn spends_url(self) -> bool {
        matches!(self, Self::Spent(_))
    }

    /// Whether something is there that is no image, rather than none being there.
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

    /// What a person can do where every download fails of it.
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
                "see whether this network lets https out to the host, or set download.proxy if only a proxy leads out"
            }
            Self::Tls => {
                "see whether the host's certificate is good, and whether something on the way reads along"
            }
            Self::Login(_) => "check the login in download.proxy, or the login that this network asks for",
            Self::NoHttps => "the provider's URLs say http, and the host has no https; ask the provider",
            Self::TooLarge => "raise download.max_bytes if images are meant to be that large",
            Self::AnotherKind
            | Self::BadUrl
            | Self::Failing(_)
            | Self::Redirects
            | Self::Cut
            | Self::Broken
            | Self::Slow
            | Self::Reset => "the host gives no image just now",
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

    /// Trouble; whose fault; tried again from the same URL; something is there.
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
            // What is the job's own fault is none that passes, and something is there.
            assert!(*blame != Blame::Job || (!may_pass && *is_no_image), "{trouble:?}");
        }
    }
}
