//! Opens a TCP connection to whichever address of a name answers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;
use url::Url;

/// After this long without an answer the next address is tried beside the ones before it, so that an address that
/// drops all packets delays no other (RFC 8305, section 5).
const NEXT_AFTER: Duration = Duration::from_millis(250);
/// A connection that is silent for this long is checked; some firewalls forget it after a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// An IPv6 address has no brackets here.
    pub host: String,
    pub port: u16,
}

impl Server {
    /// The server that a URL names; `None` for a URL without a host.
    #[must_use]
    pub fn of(url: &Url, default_port: u16) -> Option<Self> {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(Self { host: bare.to_owned(), port: url.port().unwrap_or(default_port) })
    }

    /// Parses `host:port`, with or without brackets around an IPv6 address; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(Self { host: bare.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The URLs of a list that is separated by commas. A comma that no scheme follows is part of a URL.
#[must_use]
pub fn several(list: &str) -> Vec<&str> {
    let begins_url = |text: &str| {
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let mut urls = Vec::new();
    let mut start = 0;
    for (at, _) in list.match_indices(',') {
        let (before, behind) =
            (list.get(start..at).unwrap_or_default(), list.get(at + 1..).unwrap_or_default());
        if begins_url(behind.trim_start()) {
            urls.push(before.trim());
            start = at + 1;
        }
    }
    urls.push(list.get(start..).unwrap_or_default().trim());
    urls
}

/// Connects to the first address that answers. `turn` says with which address it begins, so that many connections
/// spread over all. It has no time limit of its own, because the caller has one for this and what follows.
///
/// # Errors
///
/// Each address with its error, or that the name has none.
pub async fn tcp(server: &Server, turn: usize) -> io::Result<TcpStream> {
    let found = lookup_host((server.host.as_str(), server.port)).await;
    let found = found.map_err(|error| {
        io::Error::new(error.kind(), format!("the name {} can't be resolved: {error}", server.host))
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::other(format!("the name {} has no address", server.host)));
    }
    let begin = turn % addresses.len();
    addresses.rotate_left(begin);
    let stream = first_of(&addresses).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut left = addresses.iter().copied();
    let mut tried = FuturesUnordered::new();
    let mut faults: Vec<io::Error> = Vec::new();
    loop {
        let more = left.next().map(|address| tried.push(try_address(address))).is_some();
        tokio::select! {
            Some(result) = tried.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(fault) => faults.push(fault),
            },
            () = sleep(NEXT_AFTER), if more => {}
            else => return Err(all_of(faults)),
        }
    }
}

async fn try_address(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await.map_err(|error| {
        if super::trouble::is_out_of_files(&error) {
            return error;
        }
        let at = if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() };
        io::Error::new(error.kind(), format!("{at}:{}: {error}", address.port()))
    })
}

fn all_of(mut faults: Vec<io::Error>) -> io::Error {
    match faults.len() {
        1 => faults.remove(0),
        _ => {
            let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let kind = faults.first().map_or(io::ErrorKind::Other, io::Error::kind);
            io::Error::new(kind, words.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_server_is_what_the_url_names_also_by_an_ipv6_address() {
        for (url, shown) in [
            ("amqp://u:p@[2001:db8::dead]:5672/v", "[2001:db8::dead]:5672"),
            ("amqp://[::1]", "[::1]:1"),
            ("amqp://mq.example/v", "mq.example:1"),
            ("redis://10.0.0.1:6380", "10.0.0.1:6380"),
        ] {
            assert_eq!(Server::of(&url.parse().unwrap(), 1).unwrap().to_string(), shown);
        }
        assert_eq!(Server::of(&"unix:///run/x".parse().unwrap(), 1), None);
        for text in ["10.0.0.1:6380", "[2001:db8::1]:7", "cache:1"] {
            assert_eq!(Server::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Server::parse("2001:db8::1:7").unwrap().to_string(), "[2001:db8::1]:7");
        assert_eq!(Server::parse("cache"), None);
        assert_eq!(Server::parse("cache:x"), None);
    }

    #[test]
    fn a_comma_parts_two_urls_only_before_a_scheme() {
        assert_eq!(several("amqp://a"), ["amqp://a"]);
        assert_eq!(several("amqp://a:1/v, amqps://b"), ["amqp://a:1/v", "amqps://b"]);
        assert_eq!(several("amqp://u:p,w@a,amqp://b"), ["amqp://u:p,w@a", "amqp://b"]);
        assert_eq!(several("redis-sentinel://a:1,b:2/0#m"), ["redis-sentinel://a:1,b:2/0#m"]);
        assert_eq!(several(""), [""]);
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A listener whose queue of waiting connections is full, so the kernel leaves further ones without an answer.
    async fn hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        (listener, waiting, address)
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_or_refuses_holds_up_no_other() {
        let (_listening, alive) = listener().await;
        let dead = {
            let (listener, dead) = listener().await;
            drop(listener);
            dead
        };
        let (_full, _waiting, hole) = hole().await;
        for addresses in [vec![hole, alive], vec![dead, alive], vec![dead, hole, alive], vec![alive, hole]] {
            // If the addresses were tried one after the other, the kernel would need two minutes to give up the
            // first.
            let stream = timeout(Duration::from_secs(60), first_of(&addresses)).await.unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), alive);
        }
    }

    #[tokio::test]
    async fn where_none_answers_each_is_named() {
        let mut dead = Vec::new();
        for _ in 0..2 {
            let (listener, address) = listener().await;
            drop(listener);
            dead.push(address);
        }
        let error = first_of(&dead).await.unwrap_err().to_string();
        for address in dead {
            assert!(error.contains(&address.to_string()), "{error}");
        }
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_said_to_have_none() {
        let nowhere = Server { host: "no-such-host.invalid".to_owned(), port: 1 };
        let error = tcp(&nowhere, 0).await.unwrap_err().to_string();
        assert!(error.contains("the name no-such-host.invalid can't be resolved"), "{error}");
    }
}
