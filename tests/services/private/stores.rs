//! S3 servers that `dev/stores` has installed, each for one test alone.

use tempfile::TempDir;

use super::guarded::{Guarded, come_up};
use super::{ask, free_ports};

/// A server with the bucket `comet`.
pub(crate) struct PrivateStore {
    // It comes before the folder, because fields are dropped in order and a running server would write into the
    // folder again.
    _server: Guarded,
    _folder: TempDir,
    port: u16,
    key: &'static str,
}

fn program(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable}: run through `make verify`, or `dev/stores COMMAND...`"))
}

async fn answers_http(port: u16) -> bool {
    ask(port, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.").await
}

impl PrivateStore {
    /// SeaweedFS: if many create the same object at once, one succeeds.
    pub(crate) async fn seaweedfs() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Each of its services has a second port, which is ten thousand higher.
        let [port, master, volume, filer] = free_ports();
        let mut command = vec![program("COMET_TEST_WEED"), "server".to_owned(), "-s3".to_owned()];
        command.extend([
            format!("-dir={}", folder.path().display()),
            format!("-s3.port={port}"),
            format!("-master.port={master}"),
            format!("-volume.port={volume}"),
            format!("-filer.port={filer}"),
            "-ip=127.0.0.1".to_owned(),
            "-ip.bind=127.0.0.1".to_owned(),
        ]);
        let server = come_up(&command, &[], folder.path(), async || answers_http(port).await).await;
        let store = Self { _server: server, _folder: folder, port, key: "test" };
        store.make_bucket().await;
        store
    }

    /// s3rver: it first checks, and then writes.
    pub(crate) async fn s3rver() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = free_ports();
        let (place, number) = (folder.path().display().to_string(), port.to_string());
        let words = ["-d", &place, "-a", "127.0.0.1", "-p", &number, "--configure-bucket", "comet"];
        let mut command = vec![program("COMET_TEST_S3RVER")];
        command.extend(words.map(str::to_owned));
        let server = come_up(&command, &[], folder.path(), async || answers_http(port).await).await;
        Self { _server: server, _folder: folder, port, key: "S3RVER" }
    }

    /// A server without accounts accepts an unsigned request, but not right after its start.
    async fn make_bucket(&self) {
        let url = format!("http://127.0.0.1:{}/comet", self.port);
        crate::support::wait_for("the bucket", async || {
            let made = reqwest::Client::new().put(&url).send().await;
            made.is_ok_and(|made| made.status().is_success()).then_some(())
        })
        .await;
    }

    /// The variables that give a worker, or a command, this store.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        [
            ("COMET_WORKER__STORAGE__URL", "s3://comet"),
            ("COMET_WORKER__STORAGE__ENDPOINT", endpoint.as_str()),
            ("COMET_WORKER__STORAGE__PATH_STYLE", "true"),
            ("AWS_ACCESS_KEY_ID", self.key),
            ("AWS_SECRET_ACCESS_KEY", self.key),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
