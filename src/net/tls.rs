//! TLS: the certificates that are trusted, and the one that is presented.
//!
//! The files are read for each new connection, so a renewed certificate is used from the next connection on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::trouble;

/// Files of certificates in PEM, as the configuration names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The section of the settings, for messages: `amqp`.
    pub section: &'static str,
    /// Issuers that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// The certificates that this client presents, its own first.
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl Files {
    /// The issuers in `ca_file`; none if there is no such file.
    ///
    /// # Errors
    ///
    /// For people: which file can't be used, and why.
    pub fn issuers(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let Some(path) = &self.ca else { return Ok(Vec::new()) };
        certificates(path).map_err(|why| self.unusable("ca_file", path, &why))
    }

    /// [`Self::issuers`], as the HTTP client takes them.
    ///
    /// # Errors
    ///
    /// As [`Self::issuers`].
    pub fn for_http(&self) -> Result<Vec<reqwest::Certificate>, String> {
        let taken = |der: CertificateDer<'_>| reqwest::Certificate::from_der(&der);
        let taken: Result<Vec<_>, _> = self.issuers()?.into_iter().map(taken).collect();
        taken.map_err(|error| {
            self.unusable("ca_file", self.ca.as_deref().unwrap_or(Path::new("")), &error.to_string())
        })
    }

    /// Checks that every file can be used.
    ///
    /// # Errors
    ///
    /// As [`Self::issuers`].
    pub fn check(&self) -> Result<(), String> {
        if *self == (Self { section: self.section, ..Self::default() }) {
            return Ok(());
        }
        self.config().map(drop)
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        for issuer in self.issuers()? {
            let ca = self.ca.as_deref().unwrap_or(Path::new(""));
            roots.add(issuer).map_err(|error| self.unusable("ca_file", ca, &error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(format!(
                "this system has no certificates to check the server's by; install ca-certificates, or set {}.ca_file or \
                 SSL_CERT_FILE",
                self.section
            ));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(cert).map_err(|why| self.unusable("client_cert_file", cert, &why))?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| self.unusable("client_key_file", key, &error.to_string()))?;
        builder.with_client_auth_cert(chain, private).map_err(|error| {
            self.unusable("client_key_file", key, &format!("it doesn't go with the certificate: {error}"))
        })
    }

    /// Starts TLS over a connection to `host`.
    ///
    /// # Errors
    ///
    /// What is wrong with a certificate, for people, or the connection's error.
    pub async fn over(&self, tcp: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config().map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::other(format!("{host} is no name for a certificate")))?;
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| {
            match trouble::of_tls(&error, self.section) {
                Some(words) => io::Error::new(error.kind(), format!("{host}: {words}")),
                None => error,
            }
        })
    }

    fn unusable(&self, key: &str, path: &Path, why: &str) -> String {
        format!("{}.{key} names {}, which can't be used: {why}", self.section, path.display())
    }
}

/// Reads the certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = found.collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it (PEM)".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}
