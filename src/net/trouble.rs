//! What went wrong on the way to a server, in words that say what to do. They are the same for RabbitMQ, Redis, the
//! API, the store and the image hosts.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// What is wrong with TLS, if the error is about TLS. `section` names the settings.
#[must_use]
pub fn of_tls(error: &(dyn Error + 'static), section: &str) -> Option<String> {
    let found = find::<rustls::Error>(error)?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the crate's, and grows")]
    let words = match found {
        rustls::Error::InvalidCertificate(why) => of_certificate(why, section),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::AccessDenied,
        ) => format!(
            "the server ended the handshake ({found}); if it wants a certificate of ours, name it in {section}.client_cert_file \
             and {section}.client_key_file"
        ),
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::DecryptError,
        ) => format!("the server doesn't take our certificate ({found}): look at {section}.client_cert_file"),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "what answers there doesn't speak TLS: use a port that does, or a URL without TLS".to_owned(),
        _ => format!("TLS failed: {found}"),
    };
    Some(words)
}

fn of_certificate(why: &CertificateError, section: &str) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the crate's, and grows")]
    match why {
        CertificateError::UnknownIssuer => format!(
            "its certificate is by an issuer that isn't known here; name the issuer's certificate in {section}.ca_file (or in \
             SSL_CERT_FILE, with the system's)"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired ({why}): renew it, or set this machine's clock right")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate isn't valid yet ({why}): is this machine's clock right?")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name ({why}): use a name that it has")
        }
        _ => format!("its certificate can't be accepted: {why}"),
    }
}

/// The message to people if [`is_out_of_files`].
pub const OUT_OF_FILES: &str = "this process has no file descriptor left for it: raise its limit (ulimit -n; LimitNOFILE in a unit of \
                                systemd), or lower what it does at once";

/// Whether this process has no file descriptor left for a connection or a file. That is not the server's fault.
#[must_use]
pub fn is_out_of_files(error: &(dyn Error + 'static)) -> bool {
    // "Too many open files", in this process and in the whole system.
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    let number = |error: &io::Error| error.raw_os_error();
    chain(error).any(|error| {
        error
            .downcast_ref::<io::Error>()
            .and_then(number)
            .is_some_and(|number| [EMFILE, ENFILE].contains(&number))
    })
}

/// The words for an error, followed by those of its causes.
#[must_use]
pub fn with_causes(words: String, error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(words, |words, cause| format!("{words}: {cause}"))
}

/// The error and its causes, itself first. The error inside an `io::Error` counts as its cause.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(error: rustls::Error) -> String {
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        // reqwest and others wrap the error like this.
        let error = io::Error::other(Box::new(error) as Box<dyn Error + Send + Sync>);
        of_tls(&error, "amqp").unwrap()
    }

    #[test]
    fn each_fault_of_a_certificate_says_what_to_do() {
        for (why, says) in [
            (CertificateError::UnknownIssuer, "amqp.ca_file (or in SSL_CERT_FILE"),
            (CertificateError::Expired, "has expired"),
            (CertificateError::NotValidYet, "clock"),
            (CertificateError::NotValidForName, "another name"),
            (CertificateError::Revoked, "can't be accepted"),
        ] {
            let words = words(rustls::Error::InvalidCertificate(why));
            assert!(words.contains(says), "{words}");
        }
        let wanted = words(rustls::Error::AlertReceived(AlertDescription::CertificateRequired));
        assert!(wanted.contains("amqp.client_cert_file"), "{wanted}");
        let plain = words(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType));
        assert!(plain.contains("doesn't speak TLS"), "{plain}");
        assert_eq!(of_tls(&io::Error::other("else"), "amqp"), None);
    }

    #[test]
    fn a_process_without_descriptors_is_known_however_deep_the_error_lies() {
        let deep = io::Error::other(io::Error::from_raw_os_error(24));
        assert!(is_out_of_files(&deep));
        assert!(!is_out_of_files(&io::Error::from_raw_os_error(111)));
    }
}
