//! A way to a service that can be cut, or made to swallow what the service answers.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// What the client sends arrives; no answer comes back.
    Deaf,
    /// Connections are closed, new ones too.
    Cut,
}

pub struct Proxy {
    port: u16,
    way: Arc<watch::Sender<Way>>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Arc::new(watch::Sender::new(Way::Open));
        let proxy = Self { port: listener.local_addr().unwrap().port(), way: Arc::clone(&way) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *way.borrow() == Way::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                tokio::spawn(relay(client_read, server_write, way.subscribe(), false));
                tokio::spawn(relay(server_read, client_write, way.subscribe(), true));
            }
        });
        proxy
    }

    /// `url` with this proxy's port.
    pub fn through(&self, url: &str) -> String {
        let mut url: url::Url = url.parse().unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.to_string()
    }

    pub fn open(&self) {
        self.way.send_replace(Way::Open);
    }

    pub fn swallow_answers(&self) {
        self.way.send_replace(Way::Deaf);
    }

    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }
}

/// One direction, until either end closes or the way is cut.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: watch::Receiver<Way>,
    is_answers: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = way.wait_for(|way| *way == Way::Cut) => return,
        };
        let Ok(read @ 1..) = read else { return };
        let swallowed = is_answers && *way.borrow() == Way::Deaf;
        if !swallowed && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
