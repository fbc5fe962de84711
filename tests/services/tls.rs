//! TLS with real servers, and with certificates that the test makes, from an issuer that no system knows.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::private::{PrivateRabbit, PrivateRedis, free_ports};
use crate::support::jobs::job;
use crate::support::process::environment;
use crate::support::proxy::Proxy;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, amqp_url};

/// What a server's certificate is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certificate {
    Sound,
    Expired,
    OfAnotherName,
}

/// `ca.pem`, and `server` and `client` with their keys, in a folder of their own.
fn certificates(kind: Certificate) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "an issuer that no system knows");
    let authority_key = KeyPair::generate().unwrap();
    write("ca.pem", &authority.self_signed(&authority_key).unwrap().pem());
    let issuer = Issuer::from_params(&authority, &authority_key);
    for (name, host) in [("server", "127.0.0.1"), ("client", "comet")] {
        let host = if kind == Certificate::OfAnotherName { "elsewhere.example" } else { host };
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if kind == Certificate::Expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
    folder
}

/// A Redis that accepts TLS connections at the returned port, from clients that present a certificate.
async fn redis_with_tls(files: &Path) -> (PrivateRedis, u16) {
    let [port] = free_ports();
    let file = |name: &str| files.join(name).display().to_string();
    let (ca, cert, key, tls_port) =
        (file("ca.pem"), file("server.pem"), file("server.key"), port.to_string());
    let settings = [
        "--tls-port",
        &tls_port,
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
    ];
    (PrivateRedis::start_as(&settings).await, port)
}

fn with(environment: Vec<(String, String)>, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = settings.iter().map(|(key, value)| (format!("COMET_WORKER__{key}"), (*value).to_owned()));
    environment.into_iter().chain(own).collect()
}

#[tokio::test]
async fn rabbitmq_by_a_certificate_alone_and_redis_by_both_with_an_issuer_of_ones_own() {
    let files = certificates(Certificate::Sound);
    let (rabbit, rabbit_port) = PrivateRabbit::start_with_tls(files.path()).await;
    let (redis, redis_port) = redis_with_tls(files.path()).await;
    Place::run_on("tls", rabbit.url(), redis.url(), async |place| {
        rabbit.ctl(&["add_user", "client", "unused"]).await;
        rabbit.ctl(&["clear_password", "client"]).await;
        rabbit.ctl(&["set_permissions", "client", ".*", ".*", ".*"]).await;
        let file = |name: &str| files.path().join(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
        let amqp = format!("amqps://127.0.0.1:{rabbit_port}/%2f?auth_mechanism=external");
        let redis = format!("rediss://127.0.0.1:{redis_port}");
        let settings = [
            ("AMQP__URL", amqp.as_str()),
            ("AMQP__CA_FILE", &ca),
            ("AMQP__CLIENT_CERT_FILE", &cert),
            ("AMQP__CLIENT_KEY_FILE", &key),
            ("REDIS__URL", &redis),
            ("REDIS__CA_FILE", &ca),
            ("REDIS__CLIENT_CERT_FILE", &cert),
            ("REDIS__CLIENT_KEY_FILE", &key),
        ];
        let sim = Sim::start(&["--durations", "fixed:500ms"]).await;
        let said = tool(&with(environment(place, &sim.url), &settings), &["check"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let _worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        let event = broker.next(&format!("{}.told", place.prefix)).await;
        let event: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(event["type"], "comet.job.succeeded", "{event}");
    })
    .await;
}

/// A port that speaks TLS, before a server at `to` that doesn't.
async fn tls_before(to: u16, files: &Path) -> u16 {
    let chain =
        CertificateDer::pem_file_iter(files.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(files.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that refuses the certificate ends here.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn the_api_the_store_and_the_downloads_by_an_issuer_of_ones_own() {
    let files = certificates(Certificate::Sound);
    Place::run("https", async |place| {
        let endpoint: url::Url = std::env::var("COMET_TEST_S3_ENDPOINT").unwrap().parse().unwrap();
        let bucket = format!("comet-{}", uuid::Uuid::new_v4());
        let created = reqwest::Client::new().put(endpoint.join(&bucket).unwrap()).send().await.unwrap();
        assert!(created.status().is_success(), "{created:?}");
        let store_port = tls_before(endpoint.port().unwrap(), files.path()).await;
        // The stand-in gets its address with TLS before it has one of its own.
        let way = Proxy::to_nowhere().await;
        let api_port = tls_before(way.port(), files.path()).await;
        let api = format!("https://127.0.0.1:{api_port}");
        let sim = Sim::start(&["--durations", "fixed:500ms", "--public-base", &api]).await;
        way.lead_to(sim.url.rsplit(':').next().unwrap().parse().unwrap());

        let ca = files.path().join("ca.pem").display().to_string();
        let (store, in_store) = (format!("https://127.0.0.1:{store_port}"), format!("s3://{bucket}"));
        let servers = [
            ("API__BASE_URL", api.as_str()),
            ("STORAGE__URL", &in_store),
            ("STORAGE__ENDPOINT", &store),
            ("STORAGE__REGION", "us-east-1"),
            ("STORAGE__PATH_STYLE", "true"),
        ];
        let unknown = tool(&with(environment(place, &sim.url), &servers), &["check"]).await;
        for (service, setting) in [("cometapi", "api.ca_file"), ("storage", "storage.ca_file")] {
            let line = unknown.data.lines().find(|line| line.starts_with("FAIL") && line.contains(service));
            assert!(line.is_some_and(|line| line.contains(setting)), "{service}: {unknown:?}");
        }
        let mut settings = servers.to_vec();
        settings.extend([
            ("API__CA_FILE", ca.as_str()),
            ("STORAGE__CA_FILE", &ca),
            ("DOWNLOAD__CA_FILE", &ca),
        ]);
        let worker = Worker::start(place, &sim, &settings);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &job("a")).await;
        let event = broker.next(&format!("{}.told", place.prefix)).await;
        let event: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(event["type"], "comet.job.succeeded", "{event}\n{}", worker.log());
        assert!(event["data"]["images"][0]["location"].as_str().unwrap().starts_with(&in_store), "{event}");
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_one_line_that_says_what_to_do() {
    let sim = Sim::start(&[]).await;
    for (kind, believed, words) in [
        (Certificate::Sound, false, "ca_file (or in SSL_CERT_FILE"),
        (Certificate::Expired, true, "has expired"),
        (Certificate::OfAnotherName, true, "is for another name"),
    ] {
        let files = certificates(kind);
        let (redis, redis_port) = redis_with_tls(files.path()).await;
        Place::run_on("wrong-tls", amqp_url(), redis.url(), async |place| {
            let ca = files.path().join("ca.pem").display().to_string();
            let ca = if believed { ca.as_str() } else { "" };
            // Both use the same port, because nothing gets beyond the handshake.
            let amqp = format!("amqps://guest:guest@127.0.0.1:{redis_port}/%2f");
            let redis = format!("rediss://127.0.0.1:{redis_port}");
            let settings = [
                ("AMQP__URL", amqp.as_str()),
                ("AMQP__CA_FILE", ca),
                ("REDIS__URL", &redis),
                ("REDIS__CA_FILE", ca),
            ];
            let said = tool(&with(environment(place, &sim.url), &settings), &["check"]).await;
            assert_eq!(said.code, Some(1), "{said:?}");
            for service in ["rabbitmq", "redis"] {
                let line = said.data.lines().find(|line| line.starts_with("FAIL") && line.contains(service));
                let line = line.unwrap_or_else(|| panic!("{service}: {said:?}"));
                assert!(line.contains(words), "{line}");
            }
        })
        .await;
    }
}
