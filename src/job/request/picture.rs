//! One image of a job: a URL that the provider fetches, or the bytes themselves in base64.
//!
//! A URL is only checked and never fetched. Bytes are checked for everything that the provider would refuse
//! (docs/provider.md, "Input images"). No message quotes an image, which is long, or a URL, which may be signed.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};
use url::Url;

use super::faults::{Faults, clip};
use crate::job::format::{self, Format};
use crate::job::route::{PictureRules, SOUND_BYTES_MAX};

/// The plain alphabet with padding. Unused bits in the last character are accepted: some encoders leave them, and no
/// decoder rejects them.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Checks an image, and removes a `data:` prefix, which the provider doesn't accept.
pub(super) fn check(path: &dyn Fn() -> String, text: &mut String, rules: &PictureRules, faults: &mut Faults) {
    if starts_with(text, "http://") || starts_with(text, "https://") {
        if let Err(message) = check_url(text, rules) {
            faults.add(path(), message);
        }
        return;
    }
    // A client that can write into the queue must not be able to read the workers' disks.
    if starts_with(text, "file:") {
        let expected = "expected an http or https URL, or base64";
        faults.add(
            path(),
            format!("{expected}; file: names are read by `comet-worker submit`, never by a worker"),
        );
        return;
    }
    if starts_with(text, "data:") {
        match data_prefix(text) {
            Some(length) => drop(text.drain(..length)),
            None => {
                faults.add(path(), "expected data:image/…;base64, found another kind of data: URL");
                return;
            }
        }
    }
    match decode(text, rules.bytes_max, "an image") {
        Ok(bytes) => check_bytes(path, &bytes, rules, faults),
        Err(message) => faults.add(path(), message),
    }
}

/// Checks a sound: a URL, or bytes that are not looked at.
pub(super) fn check_sound(text: &str, rules: &PictureRules) -> Result<(), String> {
    if starts_with(text, "http://") || starts_with(text, "https://") {
        return check_url(text, rules);
    }
    if starts_with(text, "file:") || starts_with(text, "data:") {
        return Err("expected an http or https URL, or base64 without a prefix".to_owned());
    }
    decode(text, SOUND_BYTES_MAX, "a sound").map(drop)
}

/// Accepts an `http` or `https` URL that every reader understands in the same way. What lenient parsers repair
/// (whitespace, backslashes, a host after three slashes) would reach the provider unrepaired.
pub(super) fn check_url(text: &str, rules: &PictureRules) -> Result<(), String> {
    if text.len() > rules.url_bytes_max {
        let (max, length) = (rules.url_bytes_max, text.len());
        return Err(format!("expected a URL of at most {max} bytes, found {length}"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("expected a URL without spaces, control characters or backslashes".to_owned());
    }
    let url =
        Url::parse(text).map_err(|error| format!("expected an http or https URL, found none: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = clip(url.scheme());
        return Err(format!("expected an http or https URL, found the scheme {scheme:?}"));
    }
    let host = text.split_once("://").map(|(_, rest)| rest);
    if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', '?', '#'])) {
        return Err("expected an http or https URL with a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected a URL without a user name and password".to_owned());
    }
    Ok(())
}

fn decode(text: &str, bytes_max: usize, what: &str) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Err("expected base64, found nothing".to_owned());
    }
    // This is checked before decoding: four characters are three bytes, less up to two for the padding.
    let bytes = (text.len() / 4 * 3).saturating_sub(2);
    if bytes > bytes_max {
        return Err(format!("expected {what} of at most {bytes_max} bytes, found about {bytes}"));
    }
    let decoded = BASE64
        .decode(text)
        .map_err(|error| format!("expected an http or https URL, or base64: {}", explain(text, &error)))?;
    if decoded.len() > bytes_max {
        return Err(format!("expected {what} of at most {bytes_max} bytes, found {}", decoded.len()));
    }
    Ok(decoded)
}

fn explain(text: &str, error: &DecodeError) -> String {
    match error {
        DecodeError::InvalidByte(at, b'=') => format!("padding before its end, at byte {at}"),
        DecodeError::InvalidByte(at, byte) => {
            let character = text.get(*at..).and_then(|rest| rest.chars().next());
            let character = character.unwrap_or(char::from(*byte));
            format!("{character:?} at byte {at} is none of its characters")
        }
        DecodeError::InvalidLastSymbol { .. } => "its last character is wrong".to_owned(),
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            format!("its {} characters are not padded to groups of four", text.len())
        }
    }
}

fn check_bytes(path: &dyn Fn() -> String, bytes: &[u8], rules: &PictureRules, faults: &mut Faults) {
    let is_taken = match Format::of(bytes) {
        Some(Format::Png | Format::Jpeg) => true,
        Some(Format::Webp) | None => false,
    };
    if !is_taken {
        let kind = infer::get(bytes).map_or("something else", |kind| kind.mime_type());
        faults.add(path(), format!("expected a PNG or JPEG image, found {kind}"));
        return;
    }
    let Some((width, height)) = format::size(bytes) else {
        faults.add(path(), "expected a whole PNG or JPEG image, found one without its dimensions");
        return;
    };
    let side = |px| usize::try_from(px).unwrap_or(usize::MAX);
    let (short, long) = (side(width.min(height)), side(width.max(height)));
    if short < rules.side_px_min {
        let min = rules.side_px_min;
        faults.add(path(), format!("expected sides of at least {min} pixels, found {width}x{height}"));
    }
    if long.saturating_mul(10) > short.saturating_mul(rules.ratio_tenths_max) {
        let (whole, tenths) = (rules.ratio_tenths_max / 10, rules.ratio_tenths_max % 10);
        let ratio = format!("1:{whole}.{tenths} to {whole}.{tenths}:1");
        faults.add(path(), format!("expected sides of {ratio}, found {width}x{height}"));
    }
}

/// The length of `data:image/…;base64,`.
fn data_prefix(text: &str) -> Option<usize> {
    const PREFIX_BYTES_MAX: usize = 128;
    let comma = text.bytes().take(PREFIX_BYTES_MAX).position(|byte| byte == b',')?;
    let media = text.get(..comma)?.to_ascii_lowercase();
    (media.starts_with("data:image/") && media.ends_with(";base64")).then_some(comma + 1)
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
