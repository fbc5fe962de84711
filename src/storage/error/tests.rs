use std::io;

use object_store::Error;

use super::StoreErrorKind as Kind;
use super::*;

/// Words a server's answer as object_store does.
fn answered(status: &str, body: &str) -> Error {
    let text = format!(
        "Error performing PUT http://127.0.0.1/b/k in 3ms - Server returned non-2xx status code: {status}: {body}"
    );
    Error::Generic { store: "S3", source: text.into() }
}

fn xml(code: &str, message: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

#[test]
fn what_a_server_answers_has_its_kind_and_one_line() {
    let table: &[(&str, &str, Kind, &str)] = &[
        ("403 Forbidden", "RequestTimeTooSkewed", Kind::ClockSkew, "clock"),
        ("400 Bad Request", "ExpiredToken", Kind::ExpiredCredentials, "fresh credentials"),
        ("301 Moved Permanently", "PermanentRedirect", Kind::OtherRegion, "storage.region"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", Kind::OtherRegion, "storage.region"),
        ("503 Service Unavailable", "SlowDown", Kind::SlowDown, "jobs wait"),
        ("503 Service Unavailable", "ServerBusy", Kind::SlowDown, "jobs wait"),
        ("500 Internal Server Error", "InternalError", Kind::Failing, "jobs wait"),
        ("403 Forbidden", "InvalidAccessKeyId", Kind::BadCredentials, "AWS_ACCESS_KEY_ID"),
        ("403 Forbidden", "SignatureDoesNotMatch", Kind::BadCredentials, "AWS_SECRET_ACCESS_KEY"),
        ("403 Forbidden", "AccessDenied", Kind::Forbidden, "s3:PutObject"),
        ("404 Not Found", "NoSuchBucket", Kind::NoBucket, "create the bucket"),
        ("501 Not Implemented", "NotImplemented", Kind::NoConditionalPut, "generation.receipts = false"),
        ("405 Method Not Allowed", "MethodNotAllowed", Kind::NoConditionalPut, "generation.receipts = false"),
        ("507 Insufficient Storage", "XMinioStorageFull", Kind::Full, "make space"),
        ("413 Payload Too Large", "EntityTooLarge", Kind::TooLarge, "download.max_bytes"),
        ("418 I'm a teapot", "Teapot", Kind::Other, "storage.url"),
    ];
    for (status, code, kind, advice) in table {
        let error = StoreError::of("can't write", &answered(status, &xml(code, "in words")));
        let line = error.to_string();
        assert_eq!(error.kind(), *kind, "{line}");
        let number = &status[..3];
        let begin = format!("can't write: the store answers {number} {code} (in words); ");
        assert!(line.starts_with(&begin) && line.contains(advice) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn a_status_without_a_code_is_enough() {
    for (status, kind) in [
        ("401 Unauthorized", Kind::BadCredentials),
        ("403 Forbidden", Kind::Forbidden),
        ("501 Not Implemented", Kind::NoConditionalPut),
        ("413 Payload Too Large", Kind::TooLarge),
        ("429 Too Many Requests", Kind::SlowDown),
        ("507 Insufficient Storage", Kind::Full),
        ("502 Bad Gateway", Kind::Failing),
    ] {
        assert_eq!(StoreError::of("x", &answered(status, "<html>nginx</html>")).kind(), kind, "{status}");
    }
}

#[test]
fn the_right_region_and_a_wanted_checksum_are_told() {
    let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong; expecting 'eu-west-1'</Message>\
                <Region>eu-west-1</Region></Error>";
    let line = StoreError::of("x", &answered("400 Bad Request", body)).to_string();
    assert!(line.contains("the bucket is in eu-west-1"), "{line}");
    let wants = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
    let error = StoreError::of("x", &answered("400 Bad Request", &xml("InvalidRequest", wants)));
    assert_eq!(error.kind(), Kind::Checksum);
    assert!(error.to_string().contains("AWS_CHECKSUM_ALGORITHM"), "{error}");
}

/// An error whose text says nothing about its cause, like reqwest's.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Above {
    text: &'static str,
    source: io::Error,
}

#[test]
fn the_cause_below_error_sending_request_is_shown() {
    let sending = |cause: &str| {
        let source = io::Error::other(cause.to_owned());
        Error::Generic { store: "S3", source: Box::new(Above { text: "error sending request", source }) }
    };
    let error = StoreError::of("can't write", &sending("invalid peer certificate: UnknownIssuer"));
    assert_eq!(error.kind(), Kind::Tls);
    let line = error.to_string();
    assert!(line.contains("UnknownIssuer") && line.contains("SSL_CERT_FILE"), "{line}");
    let error = StoreError::of("can't write", &sending("Connection refused (os error 111)"));
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[test]
fn what_the_system_says_of_a_folder_has_its_kind() {
    for (error, kind) in [
        (io::ErrorKind::StorageFull, Kind::Full),
        (io::ErrorKind::QuotaExceeded, Kind::Full),
        (io::ErrorKind::ReadOnlyFilesystem, Kind::ReadOnly),
        (io::ErrorKind::StaleNetworkFileHandle, Kind::Gone),
        (io::ErrorKind::PermissionDenied, Kind::Other),
    ] {
        let source = Above { text: "Unable to open file", source: io::Error::from(error) };
        let error = StoreError::of("x", &Error::Generic { store: "Local", source: Box::new(source) });
        assert_eq!(error.kind(), kind, "{error}");
    }
    let source = Box::new(NoExclusiveCreate(io::Error::from(io::ErrorKind::Unsupported)));
    let error = StoreError::of("x", &Error::Generic { store: "folder", source });
    assert_eq!(error.kind(), Kind::NoExclusiveCreate);
    assert!(error.to_string().contains("generation.receipts = false"), "{error}");
}

#[test]
fn a_long_answer_takes_no_advice_away() {
    let error = StoreError::of("x", &answered("500 Internal Server Error", &"<p>long</p>".repeat(1000)));
    assert!(error.to_string().ends_with(Kind::Failing.advice()), "{error}");
}
