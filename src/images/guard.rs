//! Which hosts a download may talk to. Result URLs come from outside, so this is the fence around
//! our own network (design section 7).
//!
//! Two doors, both guarded by [`is_public`]:
//!
//! 1. [`Guard::reach`] looks at the URL, of the first request and of every redirect: scheme, user
//!    info, and the host if it is an address. The `url` crate has already turned every spelling of
//!    an address (`0x7f.1`, `2130706433`, `127.1`, `①②⑦.0.0.1`) into one. It has to be here since
//!    reqwest does not ask a resolver about addresses.
//! 2. [`GuardedResolver`] looks at what a name resolves to, and its answer is what is connected to:
//!    there is no second lookup that could answer otherwise (DNS rebinding). One forbidden address
//!    among the answers forbids them all.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Which addresses a request may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The public internet only: the default.
    Public,
    /// Private ones only: plain http, where `download.allow_private_hosts` allows it.
    Private,
    /// All: https, where `download.allow_private_hosts` is set.
    Anywhere,
}

/// The URL, or what it resolves to, must not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

#[derive(Debug, Clone, Copy)]
pub struct Guard {
    pub allow_private_hosts: bool,
}

impl Guard {
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
        reach.check(address)?;
        Ok(reach)
    }
}

impl Reach {
    fn check(self, address: IpAddr) -> Result<(), Forbidden> {
        match (self, is_public(address)) {
            (Self::Public, true) | (Self::Private, false) | (Self::Anywhere, _) => Ok(()),
            (Self::Public, false) => {
                Err(Forbidden(format!("{address} is not an address of the public internet")))
            }
            (Self::Private, true) => {
                Err(Forbidden(format!("http to the public address {address} is not allowed")))
            }
        }
    }
}

/// Resolves names through the system, and drops what is out of reach.
#[derive(Debug, Clone, Copy)]
pub struct GuardedResolver(pub Reach);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.is_empty() {
                return Err(io::Error::other("the name has no address").into());
            }
            for address in &found {
                reach.check(address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet. Everything else is ours, the machine's, the
/// cloud's, a way around this check, or nobody's.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address))
}

/// Only global unicast, `2000::/3`, and less than that. What lies outside: unspecified, loopback,
/// v4-mapped and -compatible (`::/96`, `::ffff:0:0/96`), NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`),
/// discard (`100::/64`), unique local (`fc00::/7`, the metadata services of clouds among them),
/// link-local, site-local, multicast.
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

const fn net_v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn net_v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Guard = Guard { allow_private_hosts: false };
    const LAX: Guard = Guard { allow_private_hosts: true };

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450:4001:80b::200e",
            "2400:cb00::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn a_private_address_is_refused_in_every_notation() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "0",
            "0x0",
            "%31%32%37.0.0.1",
            "①②⑦.⓪.⓪.①",
            "１２７.0.0.1",
            "127。0。0。1",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:7f00:0001]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "10.1",
            "192.168.257",
            "0xa9fea9fe",
            "2852039166",
            "0251.0376.0251.0376",
        ] {
            let url = Url::parse(&format!("https://{host}/a.png")).unwrap();
            assert!(STRICT.reach(&url).is_err(), "{host} became {url}");
        }
        // An address with a zone is no URL at all.
        assert!(Url::parse("https://[fe80::1%25eth0]/").is_err());
    }

    #[test]
    fn schemes_and_users() {
        let reach = |guard: Guard, url: &str| guard.reach(&Url::parse(url).unwrap()).ok();
        assert_eq!(reach(STRICT, "https://cdn.klingai.com/a.png?x=1"), Some(Reach::Public));
        assert_eq!(reach(STRICT, "https://8.8.8.8/a.png"), Some(Reach::Public));
        for bad in [
            "http://cdn.klingai.com/a.png",
            "ftp://cdn.klingai.com/a",
            "file:///etc/passwd",
            "data:image/png;base64,AA",
            "gopher://h/",
            "https://user@h/",
            "https://u:p@h/",
            "https://:p@h/",
        ] {
            assert_eq!(reach(STRICT, bad), None, "{bad}");
        }
        assert_eq!(reach(LAX, "https://10.0.0.1/a"), Some(Reach::Anywhere));
        assert_eq!(reach(LAX, "http://10.0.0.1/a"), Some(Reach::Private));
        assert_eq!(reach(LAX, "http://minio.internal/a"), Some(Reach::Private));
        assert_eq!(reach(LAX, "http://8.8.8.8/a"), None);
        assert_eq!(reach(LAX, "https://user@10.0.0.1/a"), None);
        assert_eq!(reach(LAX, "file:///etc/passwd"), None);
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_whole() {
        let resolve = |reach: Reach| GuardedResolver(reach).resolve("localhost".parse().unwrap());
        let refused = resolve(Reach::Public).await.err().unwrap();
        assert!(refused.downcast_ref::<Forbidden>().is_some(), "{refused}");
        assert!(resolve(Reach::Private).await.is_ok());
        assert!(resolve(Reach::Anywhere).await.is_ok());
    }
}
