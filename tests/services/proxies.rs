//! A network that only a proxy leads out of.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::jobs::jobs;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// No resolver knows it, so what is fetched from it came through the proxy.
const HOST: &str = "images.invalid";

/// A forward proxy that refuses everything until it is opened. It accepts plain HTTP, leads [`HOST`] to a port of
/// this machine, and keeps the heads of requests.
struct ForwardProxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    open: Arc<Mutex<bool>>,
}

impl ForwardProxy {
    async fn to(port_behind: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, heads: Arc::default(), open: Arc::default() };
        let (heads, open) = (Arc::clone(&proxy.heads), Arc::clone(&proxy.open));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (heads, open) = (Arc::clone(&heads), Arc::clone(&open));
                tokio::spawn(async move {
                    let _ = serve(client, port_behind, &heads, &open).await;
                });
            }
        });
        proxy
    }

    fn asked_for(&self, words: &str) -> usize {
        self.heads.lock().unwrap().iter().filter(|head| head.contains(words)).count()
    }
}

async fn serve(
    mut client: TcpStream,
    port_behind: u16,
    heads: &Mutex<Vec<String>>,
    open: &Mutex<bool>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    heads.lock().unwrap().push(text.clone());
    if !*open.lock().unwrap() {
        return client
            .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    }
    let Some(path) = text.strip_prefix(&format!("GET http://{HOST}")) else {
        // It answers TLS to a host that has none.
        return client
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    };
    let mut behind = TcpStream::connect(("127.0.0.1", port_behind)).await?;
    behind.write_all(format!("GET {path}").as_bytes()).await?;
    copy_bidirectional(&mut client, &mut behind).await.map(|_| ())
}

#[tokio::test]
async fn images_come_by_the_proxy_and_one_that_refuses_costs_time_and_no_generation() {
    Place::run("download-proxy", async |place| {
        let sim =
            Sim::start(&["--durations", "fixed:200ms", "--public-base", &format!("http://{HOST}")]).await;
        let port = sim.url.rsplit(':').next().unwrap().parse().unwrap();
        let proxy = ForwardProxy::to(port).await;
        let url = format!("http://us:pa%2Fss@127.0.0.1:{}", proxy.port);
        let worker = Worker::start(place, &sim, &[("DOWNLOAD__PROXY", &url)]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &jobs("p", 1)[0]).await;
        wait_for("two refusals", async || (proxy.asked_for(HOST) >= 2).then_some(())).await;
        assert_eq!(sim.report().await.number("accepted"), 1);
        *proxy.open.lock().unwrap() = true;

        let ends = broker.ends(place, 1).await;
        let event = ends["p-0"][0].json();
        assert_eq!(event["type"], "comet.job.succeeded", "{event}\n{}", worker.log());
        assert_eq!(sim.report().await.number("submits"), 1);
        // The proxy was asked for the host by its name, with the configured login "us:pa/ss".
        assert!(proxy.asked_for(&format!("GET http://{HOST}/")) >= 1);
        assert!(proxy.asked_for("Basic dXM6cGEvc3M=") >= 1, "{:?}", proxy.heads);
        assert!(!worker.log().contains("pa%2Fss") && !worker.log().contains("pa/ss"));
    })
    .await;
}
