use proptest::prelude::*;

use super::*;

static STRICT: LazyLock<Guard> = LazyLock::new(Guard::default);
static LAX: LazyLock<Guard> = LazyLock::new(|| Guard { allow_private_hosts: true, ..Guard::default() });

fn allowing(networks: &[&str]) -> Guard {
    Guard { networks: networks.iter().map(|net| net.parse().unwrap()).collect(), ..Guard::default() }
}

/// Whether a name that resolves to these addresses may be connected to.
fn admits(guard: &Guard, reach: Reach, found: &[&str]) -> bool {
    let found: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 443)).collect();
    guard.admit(reach, &found).is_ok()
}

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
        "64:ff9b::808:808",
        "64:ff9b::101:101",
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
        "64:ff9b::a00:1",
        "64:ff9b::c612:19",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:0:0:1::808:808",
        "64:ff9b:1::1",
        "64:ff9b:1::808:808",
        "64:ff9b:1:808:8:800::",
        "64:ff9b:2::808:808",
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
        "169.254.169.254.",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "100.64.0.1",
        "cdn.klingai.com@127.0.0.1",
        "127.0.0.1\\@cdn.klingai.com",
        "127.0.0.1#@cdn.klingai.com",
    ] {
        let url = Url::parse(&format!("https://{host}/a.png")).unwrap();
        assert!(STRICT.reach(&url).is_err(), "{host} became {url}");
    }
    // An address with a zone is not a URL.
    assert!(Url::parse("https://[fe80::1%25eth0]/").is_err());
}

#[test]
fn schemes_and_users() {
    let reach = |guard: &Guard, url: &str| guard.reach(&Url::parse(url).unwrap()).ok();
    assert_eq!(reach(&STRICT, "https://cdn.klingai.com/a.png?x=1"), Some(Reach::Public));
    assert_eq!(reach(&STRICT, "https://8.8.8.8/a.png"), Some(Reach::Public));
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
        assert_eq!(reach(&STRICT, bad), None, "{bad}");
    }
    assert_eq!(reach(&LAX, "https://10.0.0.1/a"), Some(Reach::Anywhere));
    assert_eq!(reach(&LAX, "http://10.0.0.1/a"), Some(Reach::Private));
    assert_eq!(reach(&LAX, "http://minio.internal/a"), Some(Reach::Private));
    assert_eq!(reach(&LAX, "http://8.8.8.8/a"), None);
    assert_eq!(reach(&LAX, "https://user@10.0.0.1/a"), None);
    assert_eq!(reach(&LAX, "file:///etc/passwd"), None);
}

#[test]
fn what_is_no_server_of_images_is_refused_even_where_private_hosts_are_allowed() {
    for host in [
        "0.0.0.0",
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "0xa9fea9fe",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::ffff:169.254.169.254]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b::]",
        "[64:ff9b::e000:1]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[64:ff9b:1:a9fe:a9:fe00::]",
        "[64:ff9b:2::1]",
        "[2002:a9fe:a9fe::]",
        "[2001::1]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "[fe80::1]",
        "[ff02::1]",
    ] {
        for scheme in ["http", "https"] {
            let url = Url::parse(&format!("{scheme}://{host}/latest/meta-data/")).unwrap();
            assert!(LAX.reach(&url).is_err(), "{url}");
        }
    }
    for host in
        ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[::1]", "[fd12:3456::1]"]
    {
        for scheme in ["http", "https"] {
            let url = Url::parse(&format!("{scheme}://{host}/a.png")).unwrap();
            assert!(LAX.reach(&url).is_ok(), "{url}");
        }
    }
}

#[tokio::test]
async fn a_name_that_leads_home_is_refused_whole() {
    let resolve =
        |reach| GuardedResolver { guard: Guard::default(), reach }.resolve("localhost".parse().unwrap());
    let refused = resolve(Reach::Public).await.err().unwrap();
    assert!(refused.downcast_ref::<Forbidden>().is_some(), "{refused}");
    assert!(resolve(Reach::Private).await.is_ok());
    assert!(resolve(Reach::Anywhere).await.is_ok());
}

#[test]
fn networks_that_are_allowed_are_reached_by_https_and_no_others() {
    // Such networks are a fake-IP proxy, a split DNS, or a NAT64 of one's own.
    let guard =
        allowing(&["198.18.0.0/15", "10.1.0.0/16", "fc00::/18", "64:ff9b:1:ffff::/96", "240.0.0.0/4"]);
    for inside in [
        "198.18.0.25",
        "198.19.255.255",
        "10.1.2.3",
        "fc00::17",
        "64:ff9b:1:ffff::808:808",
        "240.0.0.1",
        "8.8.8.8",
    ] {
        assert!(admits(&guard, Reach::Public, &[inside]), "{inside}");
        let host = if inside.contains(':') { format!("[{inside}]") } else { inside.to_owned() };
        let url = |scheme: &str| Url::parse(&format!("{scheme}://{host}/a.png")).unwrap();
        assert_eq!(guard.reach(&url("https")), Ok(Reach::Public), "{inside}");
        assert!(guard.reach(&url("http")).is_err(), "{inside}");
    }
    for outside in ["10.2.0.1", "127.0.0.1", "192.168.1.1", "fd00::1", "64:ff9b:1::808:808", "::1"] {
        assert!(!admits(&guard, Reach::Public, &[outside]), "{outside}");
        assert!(!admits(&guard, Reach::Public, &["198.18.0.25", outside]), "one of two: {outside}");
    }
    assert!(admits(&guard, Reach::Public, &["198.18.0.25", "8.8.8.8", "fc00::1"]));
    assert!(!admits(&STRICT, Reach::Public, &["198.18.0.25"]));
}

#[test]
fn no_network_that_is_allowed_leads_to_a_metadata_service() {
    let all = allowing(&["0.0.0.0/0", "::/0"]);
    for never in [
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1:0:a9:fea9:fe00:0",
    ] {
        assert!(!admits(&all, Reach::Public, &[never]), "{never}");
    }
    assert!(admits(&all, Reach::Public, &["127.0.0.1"]), "what an operator allows is allowed");
}

#[test]
fn an_http_url_is_asked_for_over_https_unless_it_leads_inside_and_may() {
    let secured = |guard: &Guard, url: &str| guard.secured(&Url::parse(url).unwrap()).map(String::from);
    for (url, expected) in [
        ("http://cdn.klingai.com/a.png?x=1", Some("https://cdn.klingai.com/a.png?x=1")),
        ("HTTP://CDN.klingai.com:80/a", Some("https://cdn.klingai.com/a")),
        ("http://cdn.klingai.com:8080/a", Some("https://cdn.klingai.com:8080/a")),
        ("http://cdn.klingai.com:443/a", Some("https://cdn.klingai.com/a")),
        ("http://8.8.8.8/a", Some("https://8.8.8.8/a")),
        ("http://10.0.0.1/a", Some("https://10.0.0.1/a")),
        ("https://cdn.klingai.com/a", None),
        ("ftp://cdn.klingai.com/a", None),
    ] {
        assert_eq!(secured(&STRICT, url).as_deref(), expected, "{url}");
    }
    for (url, expected) in [
        ("http://10.0.0.1/a", None),
        ("http://localhost:8099/a", None),
        ("http://8.8.8.8/a", Some("https://8.8.8.8/a")),
    ] {
        assert_eq!(secured(&LAX, url).as_deref(), expected, "{url}");
    }
}

/// A host in one of the spellings that lead to this address.
fn spelt(address: u32, spelling: u8) -> String {
    let [a, b, c, d] = address.to_be_bytes();
    match spelling {
        0 => Ipv4Addr::from(address).to_string(),
        1 => address.to_string(),
        2 => format!("0x{address:x}"),
        3 => format!("0{address:o}"),
        4 => format!("{a}.{}", address & 0x00ff_ffff),
        5 => format!("0x{a:x}.0{b:o}.{}", u16::from_be_bytes([c, d])),
        6 => format!("{a}.{b}.{c}.{d}."),
        _ => format!("%{:02x}{}.{b}.{c}.{d}", a.to_string().as_bytes()[0], &a.to_string()[1..]),
    }
}

proptest! {
    #[test]
    fn no_spelling_of_an_address_changes_where_it_may_lead(address: u32, spelling in 0_u8..8) {
        let plain = Ipv4Addr::from(address);
        let host = spelt(address, spelling);
        let url = Url::parse(&format!("https://{host}/a.png")).unwrap();
        prop_assert_eq!(url.host(), Some(Host::Ipv4(plain)), "{}", host);
        prop_assert_eq!(STRICT.reach(&url).is_ok(), is_public(plain.into()));
        // The standard library's own lists say the same.
        if plain.is_private() || plain.is_loopback() || plain.is_link_local() || plain.is_multicast()
            || plain.is_documentation() || plain.is_unspecified() || plain.is_broadcast()
        {
            prop_assert!(STRICT.reach(&url).is_err(), "{}", host);
        }
    }

    #[test]
    fn behind_the_well_known_nat64_an_address_is_what_the_one_inside_is(address: u32) {
        let v4 = Ipv4Addr::from(address);
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let v6 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
        for guard in [&*STRICT, &*LAX] {
            for reach in [Reach::Public, Reach::Private, Reach::Anywhere] {
                let alike = guard.check(reach, v4.into()).is_ok();
                prop_assert_eq!(guard.check(reach, v6.into()).is_ok(), alike, "{} {:?}", v4, reach);
            }
        }
    }

    #[test]
    fn a_v4_address_inside_of_another_v6_one_is_never_public(address: u32) {
        let [a, b, c, d] = Ipv4Addr::from(address).octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        for v6 in [
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 0),
            Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low),
        ] {
            prop_assert!(!is_public(v6.into()), "{v6}");
        }
    }

    #[test]
    fn what_may_be_reached_is_https_and_without_a_user(
        text in r"(https?|ftp|file|HTTPS)?:?[/\\]{0,3}([a-z0-9.]{0,8}(:[a-z0-9]{0,3})?@)?(127\.1|localhost|10\.0\.0\.1|cdn\.x|\[::1\]|8\.8\.8\.8|.{0,6})(:\d{0,5})?[/\\?#@]?.{0,8}"
    ) {
        if let Ok(url) = Url::parse(&text) && STRICT.reach(&url).is_ok() {
            prop_assert_eq!(url.scheme(), "https");
            prop_assert!(url.username().is_empty() && url.password().is_none());
            match url.host() {
                Some(Host::Ipv4(address)) => prop_assert!(is_public(address.into()), "{url}"),
                Some(Host::Ipv6(address)) => prop_assert!(is_public(address.into()), "{url}"),
                Some(Host::Domain(name)) => prop_assert!(!name.is_empty(), "{url}"),
                None => prop_assert!(false, "{url}"),
            }
        }
    }
}
