//! The first bytes of a connection. A server that refuses a client before any command (protected mode, too many
//! clients) says so at once and closes the connection; a client that writes its login first would see a broken pipe
//! and never read the reason.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// In the protocol's full form, since proxies don't accept the short one.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// Longer than any first line.
const LINE_MAX: usize = 4096;
/// The first byte of a TLS alert, which a TLS server sends when the client doesn't speak TLS.
const TLS_ALERT: u8 = 0x15;

/// Reads what the server says before any login.
///
/// # Errors
///
/// The server's own words, or what the server seems to be.
pub(super) async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    // If the write fails, what can still be read explains it.
    let written = stream.write_all(PING).await;
    let line = first_line(stream).await;
    match line {
        Ok(line) => judge(&line),
        Err(error) => Err(written.err().unwrap_or(error)),
    }
}

async fn first_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    // It reads byte by byte, since it must not take bytes after the line. There are none before the next request.
    while line.len() < LINE_MAX {
        match stream.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(_) if !line.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(line)
}

fn judge(line: &[u8]) -> io::Result<()> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    match line.first() {
        Some(b'+') => Ok(()),
        // The commands that follow report a missing login or right.
        Some(b'-') if ["-NOAUTH", "-NOPERM"].iter().any(|word| text.starts_with(word)) => Ok(()),
        Some(b'-') if text.starts_with("-ERR") && !text.contains("max number of clients") => Ok(()),
        Some(b'-') => Err(io::Error::other(format!("the server says: {}", text.trim_start_matches('-')))),
        None => Err(io::Error::other(
            "the server closes the connection without a word; if it speaks TLS, use rediss:// in redis.url",
        )),
        Some(&TLS_ALERT) => Err(io::Error::other("the server speaks TLS: use rediss:// in redis.url")),
        Some(_) => Err(io::Error::other("what answers there is no Redis")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for a server that sends this and closes the connection.
    async fn said(words: &'static [u8]) -> io::Result<()> {
        let (mut ours, mut theirs) = tokio::io::duplex(LINE_MAX);
        theirs.write_all(words).await.unwrap();
        drop(theirs);
        greet(&mut ours).await
    }

    #[tokio::test]
    async fn a_server_that_refuses_before_any_login_is_quoted() {
        for (words, quoted) in [
            (
                &b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n"[..],
                "protected mode",
            ),
            (b"-ERR max number of clients reached\r\n", "max number of clients"),
            (b"-LOADING Redis is loading the dataset in memory\r\n", "loading the dataset"),
            (b"", "rediss://"),
            (b"\x15\x03\x03\x00\x02\x02\x46", "speaks TLS"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no Redis"),
        ] {
            let error = said(words).await.unwrap_err().to_string();
            assert!(error.contains(quoted), "{error}");
        }
    }

    #[tokio::test]
    async fn one_that_wants_a_login_first_is_greeted_all_the_same() {
        for words in
            [&b"+PONG\r\n"[..], b"-NOAUTH Authentication required.\r\n", b"-ERR unknown command 'PING'\r\n"]
        {
            assert!(said(words).await.is_ok());
        }
    }
}
