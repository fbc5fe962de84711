//! Decides which hosts a download may contact. Result URLs come from outside, so this protects our own network
//! (docs/operations.md, "What is downloaded").
//!
//! There are two checks, both with [`is_public`]:
//!
//! 1. [`Guard::reach`] checks the URL of the first request and of every redirect: scheme, user info, and the host if
//!    it is an address. The `url` crate has already turned every spelling of an address (`0x7f.1`, `2130706433`,
//!    `127.1`, `①②⑦.0.0.1`) into one. This check is needed because reqwest does not ask a resolver about addresses.
//! 2. [`GuardedResolver`] checks what a name resolves to, and the connection goes to that answer: there is no second
//!    lookup that could answer otherwise (DNS rebinding). One forbidden address among the answers forbids them all.
//!
//! Behind `download.proxy` only the first check is left: the proxy resolves names, and has to guard where they lead.
//!
//! `download.allow_networks` lets both checks accept networks that an operator names, over https.
//! `download.allow_private_hosts` lets both accept the operator's own network, http included. Neither lets them
//! accept what `is_never` names, above all the metadata services, which give out credentials.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::with_https;

/// The addresses that a request may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The public internet, and the networks that are allowed: the default.
    Public,
    /// Private addresses only: plain http, if `download.allow_private_hosts` is set.
    Private,
    /// All addresses: https, if `download.allow_private_hosts` is set.
    Anywhere,
}

/// The URL, or what it resolves to, must not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

/// The host's name has no address. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unresolved(pub String);

#[derive(Debug, Clone, Default)]
pub struct Guard {
    pub allow_private_hosts: bool,
    /// `download.allow_networks`
    pub networks: Arc<[IpNet]>,
}

impl Guard {
    /// The URL that is fetched instead of an http one, unless the http URL may be fetched as it is: the same host and
    /// path over https. An explicit port stays.
    #[must_use]
    pub fn secured(&self, url: &Url) -> Option<Url> {
        let is_public = match url.host() {
            Some(Host::Ipv4(address)) => is_public(address.into()),
            Some(Host::Ipv6(address)) => is_public(address.into()),
            Some(Host::Domain(_)) | None => !self.allow_private_hosts,
        };
        if url.scheme() != "http" || (self.allow_private_hosts && !is_public) {
            return None;
        }
        with_https(url)
    }

    /// How far a request to this URL may reach.
    ///
    /// # Errors
    ///
    /// [`Forbidden`] for a scheme, a user info or an address that is not allowed.
    pub fn reach(&self, url: &Url) -> Result<Reach, Forbidden> {
        let reach = match (url.scheme(), self.allow_private_hosts) {
            ("https", false) => Reach::Public,
            ("https", true) => Reach::Anywhere,
            ("http", true) => Reach::Private,
            ("http", false) => return Err(Forbidden("http is not allowed, only https".to_owned())),
            _ => return Err(Forbidden("only https is allowed".to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden("a user or password in the URL is not allowed".to_owned()));
        }
        let address = match url.host() {
            None => return Err(Forbidden("the URL has no host".to_owned())),
            Some(Host::Domain(_)) => return Ok(reach),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        self.check(reach, address)?;
        Ok(reach)
    }

    /// Returns all addresses that a name resolves to, or refuses them all.
    pub(super) fn admit(
        &self,
        reach: Reach,
        found: &[SocketAddr],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        if found.is_empty() {
            return Err(Unresolved("the name has no address".to_owned()).into());
        }
        for address in found {
            self.check(reach, address.ip())?;
        }
        Ok(())
    }

    fn check(&self, reach: Reach, address: IpAddr) -> Result<(), Forbidden> {
        if is_never(address) {
            return Err(Forbidden(format!("{address} is not an address of a server of images")));
        }
        let is_allowed = || self.networks.iter().any(|network| network.contains(&address));
        match (reach, is_public(address)) {
            (Reach::Public, true) | (Reach::Private, false) | (Reach::Anywhere, _) => Ok(()),
            (Reach::Public, false) if is_allowed() => Ok(()),
            (Reach::Public, false) => {
                Err(Forbidden(format!("{address} is not an address of the public internet")))
            }
            (Reach::Private, true) => {
                Err(Forbidden(format!("http to the public address {address} is not allowed")))
            }
        }
    }
}

/// Resolves names through the system, and refuses what is out of reach.
#[derive(Debug, Clone)]
pub struct GuardedResolver {
    pub guard: Guard,
    pub reach: Reach,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { guard, reach } = self.clone();
        Box::pin(async move {
            let unresolved = |error: io::Error| Unresolved(format!("the name can't be resolved: {error}"));
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(unresolved)?.collect();
            guard.admit(reach, &found)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet. Every other address belongs to us, the machine or the cloud, or
/// is a way around this check, or is unassigned.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => translated(address).map_or_else(|| is_public_v6(address), is_public_v4),
    }
}

/// The IPv4 host behind a NAT64 address with the well-known prefix `64:ff9b::/96` ([RFC
/// 6052](https://www.rfc-editor.org/rfc/rfc6052)).
///
/// With the prefix for local use, `64:ff9b:1::/48`, every network may put the IPv4 address where it likes, so such an
/// address doesn't show where it leads ([RFC 8215](https://www.rfc-editor.org/rfc/rfc8215)). Only an operator can
/// allow it.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    WELL_KNOWN_NAT64.contains(&address).then(|| last_v4(address))
}

const WELL_KNOWN_NAT64: Ipv6Net = net_v6(0x64, 0xff9b, 96);
const LOCAL_NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);

fn last_v4(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// The IPv4 addresses that a translator may find in an IPv6 one, for each length of its prefix (RFC 6052, section
/// 2.2).
fn v4_inside(address: Ipv6Addr) -> [Ipv4Addr; 4] {
    let octets = address.octets();
    let v4 = |places: [usize; 4]| {
        Ipv4Addr::from(places.map(|place| octets.get(place).copied().unwrap_or_default()))
    };
    [v4([6, 7, 9, 10]), v4([7, 9, 10, 11]), v4([9, 10, 11, 12]), v4([12, 13, 14, 15])]
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address))
}

/// Whether an IPv6 address is public: only global unicast, `2000::/3`, with exceptions. Outside of it are
/// unspecified, loopback, v4-mapped and -compatible (`::/96`, `::ffff:0:0/96`), NAT64 for local use
/// (`64:ff9b:1::/48`), discard (`100::/64`), unique local (`fc00::/7`, with the metadata services of some clouds),
/// link-local, site-local and multicast.
fn is_public_v6(address: Ipv6Addr) -> bool {
    GLOBAL_UNICAST.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
}

const GLOBAL_UNICAST: Ipv6Net = net_v6(0x2000, 0, 3);

static NOT_PUBLIC_V6: LazyLock<[Ipv6Net; 4]> = LazyLock::new(|| {
    [
        net_v6(0x2001, 0, 23),     // IETF protocols: Teredo, ORCHID, benchmarks
        net_v6(0x2001, 0xdb8, 32), // documentation
        net_v6(0x2002, 0, 16),     // 6to4, which has a v4 address inside
        net_v6(0x3fff, 0, 20),     // documentation
    ]
});

static NOT_PUBLIC_V4: LazyLock<[Ipv4Net; 16]> = LazyLock::new(|| {
    [
        net_v4([0, 0, 0, 0], 8),        // this network
        net_v4([10, 0, 0, 0], 8),       // private
        net_v4([100, 64, 0, 0], 10),    // CGNAT; Alibaba's metadata service
        net_v4([127, 0, 0, 0], 8),      // loopback
        net_v4([168, 63, 129, 16], 32), // Azure's host services, though it looks public
        net_v4([169, 254, 0, 0], 16),   // link-local; the metadata service of most clouds
        net_v4([172, 16, 0, 0], 12),    // private
        net_v4([192, 0, 0, 0], 24),     // IETF protocols; Oracle's metadata service
        net_v4([192, 0, 2, 0], 24),     // documentation
        net_v4([192, 88, 99, 0], 24),   // 6to4 relays
        net_v4([192, 168, 0, 0], 16),   // private
        net_v4([198, 18, 0, 0], 15),    // benchmarks
        net_v4([198, 51, 100, 0], 24),  // documentation
        net_v4([203, 0, 113, 0], 24),   // documentation
        net_v4([224, 0, 0, 0], 4),      // multicast
        net_v4([240, 0, 0, 0], 4),      // reserved, and broadcast
    ]
});

/// Addresses that are never an image server, whatever is allowed: metadata services, multicast groups, unspecified
/// addresses, and the ways to write a v4 address as a v6 one, which would bypass the v4 list.
fn is_never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_never_v4(address),
        IpAddr::V6(address) if WELL_KNOWN_NAT64.contains(&address) => is_never_v4(last_v4(address)),
        // At no position where a translator may look for the address may there be a metadata service.
        IpAddr::V6(address) if LOCAL_NAT64.contains(&address) => {
            v4_inside(address).iter().any(|inside| METADATA_V4.iter().any(|net| net.contains(inside)))
        }
        IpAddr::V6(address) => NEVER_V6.iter().any(|net| net.contains(&address)),
    }
}

fn is_never_v4(address: Ipv4Addr) -> bool {
    METADATA_V4.iter().chain(NEVER_V4.iter()).any(|net| net.contains(&address))
}

static METADATA_V4: LazyLock<[Ipv4Net; 4]> = LazyLock::new(|| {
    [
        net_v4([100, 100, 100, 200], 32), // Alibaba's metadata service
        net_v4([168, 63, 129, 16], 32),   // Azure's host services
        net_v4([169, 254, 0, 0], 16),     // link-local; the metadata service of most clouds
        net_v4([192, 0, 0, 0], 24),       // IETF protocols; Oracle's metadata service
    ]
});

static NEVER_V4: LazyLock<[Ipv4Net; 3]> = LazyLock::new(|| {
    [
        net_v4([0, 0, 0, 0], 8),          // this network: 0.0.0.0 is the machine itself
        net_v4([224, 0, 0, 0], 4),        // multicast
        net_v4([255, 255, 255, 255], 32), // broadcast
    ]
});

static NEVER_V6: LazyLock<[Ipv6Net; 9]> = LazyLock::new(|| {
    [
        Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128),
        Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), // v4-mapped
        net_v6(0x64, 0xff9b, 32),  // NAT64, but for what is looked at above
        net_v6(0x2002, 0, 16),     // 6to4
        net_v6(0x2001, 0, 32),     // Teredo
        net_v6(0xfd00, 0xec2, 32), // AWS's metadata service
        net_v6(0xfd20, 0xce, 32),  // Google's
        net_v6(0xfe80, 0, 10),     // link-local
        net_v6(0xff00, 0, 8),      // multicast
    ]
});

const fn net_v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn net_v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

#[cfg(test)]
mod tests;
