//! A producer that writes any bytes, because other producers may publish what the client library refuses to write.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// The properties of a message, in the order of their flags.
#[derive(Debug, Default, Clone)]
pub struct Properties {
    flags: u16,
    values: Vec<u8>,
}

impl Properties {
    fn with(mut self, bit: u16, value: &[u8]) -> Self {
        assert!(self.flags.trailing_zeros() > u32::from(bit), "properties come in the order of their flags");
        self.flags |= 1 << bit;
        self.values.extend(value);
        self
    }

    pub fn content_type(self, text: &[u8]) -> Self {
        self.with(15, &short(text))
    }

    pub fn headers(self, table: &[u8]) -> Self {
        self.with(13, &long(table))
    }

    pub fn delivery_mode(self, mode: u8) -> Self {
        self.with(12, &[mode])
    }

    pub fn priority(self, priority: u8) -> Self {
        self.with(11, &[priority])
    }

    pub fn correlation_id(self, text: &[u8]) -> Self {
        self.with(10, &short(text))
    }

    pub fn reply_to(self, text: &[u8]) -> Self {
        self.with(9, &short(text))
    }

    pub fn expiration(self, text: &[u8]) -> Self {
        self.with(8, &short(text))
    }

    pub fn message_id(self, text: &[u8]) -> Self {
        self.with(7, &short(text))
    }

    pub fn timestamp(self, seconds: u64) -> Self {
        self.with(6, &seconds.to_be_bytes())
    }

    pub fn kind(self, text: &[u8]) -> Self {
        self.with(5, &short(text))
    }

    pub fn user_id(self, text: &[u8]) -> Self {
        self.with(4, &short(text))
    }

    pub fn app_id(self, text: &[u8]) -> Self {
        self.with(3, &short(text))
    }

    pub fn cluster_id(self, text: &[u8]) -> Self {
        self.with(2, &short(text))
    }

    /// How long the frame is that holds them.
    pub fn frame(&self) -> usize {
        7 + 12 + 2 + self.values.len() + 1
    }
}

pub fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

pub fn long(bytes: &[u8]) -> Vec<u8> {
    [u32::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

/// A header of any type: `b'S'` with a [`long`] text, `b'l'` with eight bytes.
pub fn header(name: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    [short(name), vec![kind], value.to_vec()].concat()
}

pub fn text_header(name: &[u8], text: &[u8]) -> Vec<u8> {
    header(name, b'S', &long(text))
}

/// Tables (`b'F'`) or arrays (`b'A'`) that nest to this depth.
pub fn nested(kind: u8, depth: usize) -> Vec<u8> {
    let mut inside = Vec::new();
    for _ in 0..depth {
        inside = if kind == b'F' {
            header(b"in", kind, &long(&inside))
        } else {
            [vec![kind], long(&inside)].concat()
        };
    }
    if kind == b'F' { inside } else { [short(b"in"), inside].concat() }
}

/// One connection with one channel that confirms.
pub struct Raw {
    stream: TcpStream,
    frame_max: usize,
}

impl Raw {
    pub async fn connect(url: &str) -> Self {
        let url: url::Url = url.parse().unwrap();
        let stream = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap_or(5672))).await.unwrap();
        let mut raw = Self { stream, frame_max: 0 };
        raw.stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        raw.expect(0, [0, 10, 0, 10]).await;
        let name = [b"\0", url.username().as_bytes(), b"\0", url.password().unwrap().as_bytes()].concat();
        let start_ok = [long(b""), short(b"PLAIN"), long(&name), short(b"en_US")].concat();
        raw.method(0, [0, 10, 0, 11], &start_ok).await;
        let tune = raw.expect(0, [0, 10, 0, 30]).await;
        raw.frame_max = usize::try_from(u32::from_be_bytes(tune[2..6].try_into().unwrap())).unwrap();
        raw.method(0, [0, 10, 0, 31], &tune).await;
        raw.method(0, [0, 10, 0, 40], &[short(b"/"), short(b""), vec![0]].concat()).await;
        raw.expect(0, [0, 10, 0, 41]).await;
        raw.method(1, [0, 20, 0, 10], &short(b"")).await;
        raw.expect(1, [0, 20, 0, 11]).await;
        raw.method(1, [0, 85, 0, 10], &[0]).await;
        raw.expect(1, [0, 85, 0, 11]).await;
        raw
    }

    /// Publishes to a queue, and waits until the broker has confirmed; the error is the broker's message.
    pub async fn publish(&mut self, queue: &str, properties: &Properties, body: &[u8]) -> Result<(), String> {
        let publish = [vec![0, 0], short(b""), short(queue.as_bytes()), vec![0]].concat();
        self.method(1, [0, 60, 0, 40], &publish).await;
        let size = u64::try_from(body.len()).unwrap().to_be_bytes();
        let flags = properties.flags.to_be_bytes();
        let header = [&[0, 60, 0, 0], size.as_slice(), &flags, &properties.values].concat();
        self.frame(HEADER, 1, &header).await;
        for chunk in body.chunks(self.frame_max - 8) {
            self.frame(BODY, 1, chunk).await;
        }
        loop {
            let (channel, payload) = self.read().await.ok_or("the connection has ended")?;
            match (channel, payload.get(..4)) {
                (1, Some([0, 60, 0, 80])) => return Ok(()),
                (1, Some([0, 60, 0, 120])) => return Err("nacked".to_owned()),
                (_, Some([0, 20, 0, 40] | [0, 10, 0, 50])) => {
                    let words = &payload[7..7 + usize::from(payload[6])];
                    return Err(String::from_utf8_lossy(words).into_owned());
                }
                _ => {}
            }
        }
    }

    /// Returns the arguments of the method that must come next.
    async fn expect(&mut self, channel: u16, method: [u8; 4]) -> Vec<u8> {
        loop {
            let (on, payload) = self.read().await.expect("the broker goes on talking");
            if payload.is_empty() {
                continue;
            }
            assert_eq!(
                (on, &payload[..4]),
                (channel, method.as_slice()),
                "{}",
                String::from_utf8_lossy(&payload)
            );
            return payload[4..].to_vec();
        }
    }

    async fn read(&mut self) -> Option<(u16, Vec<u8>)> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = usize::try_from(u32::from_be_bytes(head[3..].try_into().unwrap())).unwrap();
        let mut payload = vec![0; length + 1];
        self.stream.read_exact(&mut payload).await.ok()?;
        assert_eq!(payload.pop(), Some(0xce));
        Some((u16::from_be_bytes([head[1], head[2]]), payload))
    }

    async fn method(&mut self, channel: u16, method: [u8; 4], arguments: &[u8]) {
        self.frame(METHOD, channel, &[method.as_slice(), arguments].concat()).await;
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let frame = [&[kind], channel.to_be_bytes().as_slice(), &long(payload), &[0xce]].concat();
        // If the broker has closed the connection, its message can still be read.
        let _ = self.stream.write_all(&frame).await;
    }
}
