//! The first words to a server. What is refused before any command (protected mode, too many clients) the server says at once, and closes:
//! a client that writes its login first finds a broken pipe, and never reads why.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// In the protocol's own form: proxies don't take the short one.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// Longer than any first line.
const LINE_MAX: usize = 4096;
/// TLS's own first byte where it tells that it was spoken to without.
const TLS_ALERT: u8 = 0x15;

/// Reads what the server has to say before any login.
///
/// # Errors
///
/// The server's own words, or what it seems to be.
pub(super) async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    // A write that fails is explained by what can still be read.
    let written = stream.write_all(PING).await;
    let line = first_line(stream).await;
    match line {
        Ok(line) => judge(&line),
        Err(error) => Err(written.err().unwrap_or(error)),
    }
}

async fn first_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    // Byte by byte: what stands behind the line isn't ours to take. There is nothing there before we ask again.
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
        // A missing login or right is told by what follows.
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

    /// What comes of a server that says this and closes.
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
