//! Which settings are secret, and reading a secret from a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Values that never print, not even when they are wrong.
pub(super) fn is_secret(key: &str) -> bool {
    ["amqp.url", "redis.url", "api.key", "api.proxy", "download.proxy", "callback.secret"].contains(&key)
}

/// A mounted secret, without the line break that editors leave. Never empty.
pub(super) fn read_secret(path: &Path) -> io::Result<String> {
    const LONGEST: u64 = 1 << 16;
    let text = read_bounded(path, LONGEST)?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(secret.to_owned())
}

/// A text file of at most `longest` bytes.
pub(super) fn read_bounded(path: &Path, longest: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(longest + 1).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > longest {
        let message = format!("it is longer than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}
