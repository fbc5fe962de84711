//! A proxy before a service that can cut, slow down or swallow the traffic.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Everything arrives this much later.
    Slow(Duration),
    /// What the client sends arrives, but no answer comes back.
    Deaf,
    /// Nothing arrives, on either side.
    Black,
    /// Connections are closed, new ones too.
    Cut,
}

pub struct Proxy {
    port: u16,
    leads_to: Arc<AtomicU16>,
    way: Arc<watch::Sender<Way>>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let proxy = Self::to_nowhere().await;
        proxy.lead_to(port);
        proxy
    }

    /// For a service that is told the proxy's address before it has one of its own.
    pub async fn to_nowhere() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Arc::new(watch::Sender::new(Way::Open));
        let leads_to = Arc::new(AtomicU16::new(0));
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, leads_to: Arc::clone(&leads_to), way: Arc::clone(&way) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *way.borrow() == Way::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", leads_to.load(Ordering::Relaxed))).await
                else {
                    continue;
                };
                tokio::spawn(connection(client, server, way.subscribe()));
            }
        });
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn lead_to(&self, port: u16) {
        self.leads_to.store(port, Ordering::Relaxed);
    }

    /// `url` with this proxy's port.
    pub fn through(&self, url: &str) -> String {
        let mut url: url::Url = url.parse().unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.to_string()
    }

    /// Closes a connection that lost bytes meanwhile, because what follows the gap would be read as something else.
    pub fn open(&self) {
        self.way.send_replace(Way::Open);
    }

    pub fn slow_down(&self, by: Duration) {
        self.way.send_replace(Way::Slow(by));
    }

    pub fn swallow_answers(&self) {
        self.way.send_replace(Way::Deaf);
    }

    pub fn swallow_all(&self) {
        self.way.send_replace(Way::Black);
    }

    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }
}

/// Both directions, until either ends or the way is cut.
async fn connection(mut client: TcpStream, mut server: TcpStream, mut way: watch::Receiver<Way>) {
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let ways = (way.clone(), way.clone());
    tokio::select! {
        _ = relay(client_read, server_write, ways.0, false) => {}
        _ = relay(server_read, client_write, ways.1, true) => {}
        _ = way.wait_for(|way| *way == Way::Cut) => {}
    }
}

/// One direction, until its end.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: watch::Receiver<Way>,
    is_answers: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read @ 1.. = from.read(&mut buffer).await? else { return Ok(()) };
        let now = *way.borrow();
        let swallowed = match now {
            Way::Open | Way::Slow(_) | Way::Cut => false,
            Way::Deaf => is_answers,
            Way::Black => true,
        };
        if swallowed {
            // A caller that waits for it finds the connection silent, and later closed.
            let _ = way.wait_for(|way| !matches!(way, Way::Deaf | Way::Black)).await;
            return Ok(());
        }
        if let Way::Slow(by) = now {
            sleep(by).await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
