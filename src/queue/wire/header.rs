//! Content headers, made safe for the client library.
//!
//! A producer may put more into a message's properties than lapin can read: short strings of any bytes, and tables
//! that nest a thousand deep. The first makes lapin end the whole connection; the second overflows the stack of its
//! thread. So each header is read here first, without recursion beyond [`DEPTH_MAX`], and written anew as one that
//! lapin accepts. A header of ours, [`UNREADABLE`], says what was changed, for [`crate::queue::message`] to judge.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};

/// How deep a header table may nest, itself included. Deeper values become void.
pub(super) const DEPTH_MAX: usize = 32;

/// The header that says what could not be read: a table of property names and of what is wrong with each.
pub(in crate::queue) const UNREADABLE: &str = "x-comet-unreadable";
/// The header that says how many bytes at the end of the body are the message's real properties.
pub(in crate::queue) const APPENDED: &str = "x-comet-appended-properties";
/// The header that says that lapin got a message without its body: see [`super::large`].
pub(in crate::queue) const WITHHELD: &str = "x-comet-withheld";
/// The headers that a broker changes between two deliveries of one message.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// How many bytes of a value are quoted.
const QUOTED_BYTES: usize = 32;
const SHORT_MAX: usize = 255;
const HEADERS: &str = "headers";
const REST: &str = "properties";

/// The properties that AMQP 0-9-1 defines, from the highest flag down.
const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::Short),
    ("content_encoding", Kind::Short),
    (HEADERS, Kind::Table),
    ("delivery_mode", Kind::Bytes(1)),
    ("priority", Kind::Bytes(1)),
    ("correlation_id", Kind::Short),
    ("reply_to", Kind::Short),
    ("expiration", Kind::Short),
    ("message_id", Kind::Short),
    ("timestamp", Kind::Bytes(8)),
    ("type", Kind::Short),
    ("user_id", Kind::Short),
    ("app_id", Kind::Short),
    ("cluster_id", Kind::Short),
];
const HEADERS_FLAG: u16 = 1 << 13;

#[derive(Clone, Copy)]
enum Kind {
    Short,
    Table,
    Bytes(usize),
}

/// A header that lapin can read.
pub(super) struct Header {
    pub(super) class: [u8; 2],
    pub(super) body_size: u64,
    /// Flags and values.
    pub(super) properties: Vec<u8>,
    /// The same for each delivery of a message.
    pub(super) fingerprint: u64,
}

impl Header {
    /// Reads the payload of a header frame. Returns `None` if even its fixed part is incomplete.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut input = Input(payload);
        let class = input.array()?;
        input.take(2)?;
        let body_size = u64::from_be_bytes(input.array()?);
        let mut reading = Reading::default();
        let mut properties = reading.properties(input);
        let marked = reading.mark();
        if !marked.is_empty() {
            properties.table.extend(marked);
            properties.flags |= HEADERS_FLAG;
        }
        Some(Self {
            class,
            body_size,
            properties: properties.written(),
            fingerprint: reading.fingerprint.finish() ^ body_size,
        })
    }

    /// The payload of the frame that lapin gets.
    pub(super) fn payload(&self) -> Vec<u8> {
        self.with(self.body_size, &self.properties)
    }

    /// The payload of a frame whose only property is the number of property bytes that follow the body.
    pub(super) fn payload_with_appended(&self) -> Vec<u8> {
        let mut table = Vec::new();
        put_short(&mut table, APPENDED.as_bytes());
        table.push(b'l');
        table.extend(i64::try_from(self.properties.len()).unwrap_or(i64::MAX).to_be_bytes());
        let marked = Properties { flags: HEADERS_FLAG, table, ..Properties::default() };
        let size = self.body_size.saturating_add(u64::try_from(self.properties.len()).unwrap_or(u64::MAX));
        self.with(size, &marked.written())
    }

    /// The payload of a frame that says only that the body was withheld.
    pub(super) fn payload_withheld(&self) -> Vec<u8> {
        let mut table = Vec::new();
        put_short(&mut table, WITHHELD.as_bytes());
        table.extend([b't', 1]);
        let marked = Properties { flags: HEADERS_FLAG, table, ..Properties::default() };
        self.with(0, &marked.written())
    }

    fn with(&self, body_size: u64, properties: &[u8]) -> Vec<u8> {
        [&self.class, &[0, 0], body_size.to_be_bytes().as_slice(), properties].concat()
    }
}

#[derive(Default)]
struct Properties {
    flags: u16,
    /// What stands before the table of headers.
    front: Vec<u8>,
    table: Vec<u8>,
    back: Vec<u8>,
}

impl Properties {
    fn written(self) -> Vec<u8> {
        let mut bytes = self.flags.to_be_bytes().to_vec();
        bytes.extend(self.front);
        if self.flags & HEADERS_FLAG != 0 {
            put_long(&mut bytes, &self.table);
        }
        bytes.extend(self.back);
        bytes
    }
}

#[derive(Default)]
struct Reading {
    /// What is wrong, by property.
    odd: BTreeMap<&'static str, String>,
    fingerprint: DefaultHasher,
}

/// The bytes can't be read any further.
struct Malformed(&'static str);

impl Reading {
    fn properties(&mut self, mut input: Input<'_>) -> Properties {
        let mut properties = Properties::default();
        let Some(flags) = input.array().map(u16::from_be_bytes) else {
            self.says(REST, "are cut off".to_owned());
            return properties;
        };
        for (place, (name, kind)) in PROPERTIES.into_iter().enumerate() {
            let flag = 1 << (15 - place);
            if flags & flag == 0 {
                continue;
            }
            let read = match kind {
                Kind::Short => self.short(name, &mut input),
                Kind::Bytes(count) => input.take(count).map(<[u8]>::to_vec),
                Kind::Table => self.headers(&mut input),
            };
            let Some(value) = read else {
                self.says(REST, format!("are cut off at {name}"));
                return properties;
            };
            properties.flags |= flag;
            match kind {
                Kind::Table => properties.table = value,
                Kind::Short | Kind::Bytes(_) => {
                    self.fingerprint.write(&value);
                    let early = flag > HEADERS_FLAG;
                    if early { &mut properties.front } else { &mut properties.back }.extend(value);
                }
            }
        }
        if flags & 0b11 != 0 || !input.0.is_empty() {
            self.says(REST, "have more members than AMQP 0-9-1 knows".to_owned());
        }
        properties
    }

    fn says(&mut self, name: &'static str, words: String) {
        self.odd.entry(name).or_insert(words);
    }

    fn short(&mut self, name: &'static str, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let bytes = input.short()?;
        let mut value = Vec::with_capacity(bytes.len().saturating_add(1));
        if put_text(&mut value, bytes).is_err() {
            self.says(name, format!("is not UTF-8 (bytes {})", quoted(bytes)));
        }
        Some(value)
    }

    /// Reads the headers as far as they can be read. Returns `None` if they are longer than the properties.
    fn headers(&mut self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let table = input.long()?;
        let mut kept = Vec::with_capacity(table.len());
        let mut entries = Input(table);
        while !entries.0.is_empty() {
            let before = kept.len();
            let entry = entries.0;
            let name = match self.entry(&mut entries, 1, &mut kept) {
                Ok(name) => name,
                Err(Malformed(words)) => {
                    kept.truncate(before);
                    self.says(HEADERS, words.to_owned());
                    break;
                }
            };
            if [UNREADABLE, APPENDED, WITHHELD].iter().any(|own| name == own.as_bytes()) {
                // These names are ours, so a producer's values for them are dropped.
                kept.truncate(before);
            } else if !COUNTS.iter().any(|count| name == count.as_bytes()) {
                let length = entry.len().saturating_sub(entries.0.len());
                self.fingerprint.write(entry.get(..length).unwrap_or_default());
            }
        }
        Some(kept)
    }

    /// Returns the name as it came.
    fn entry<'a>(
        &mut self,
        input: &mut Input<'a>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], Malformed> {
        let name = input.short().ok_or(CUT_OFF)?;
        if put_text(out, name).is_err() {
            self.says(HEADERS, format!("have a name that is not UTF-8 (bytes {})", quoted(name)));
        }
        self.value(input, depth, out)?;
        Ok(name)
    }

    fn value(&mut self, input: &mut Input<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let [kind] = input.array().ok_or(CUT_OFF)?;
        let fixed = match kind {
            b't' | b'b' | b'B' => 1,
            b's' | b'u' | b'U' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            b'V' => 0,
            b'S' | b'x' => {
                out.push(kind);
                put_long(out, input.long().ok_or(CUT_OFF)?);
                return Ok(());
            }
            b'A' | b'F' => {
                let mut inside = Input(input.long().ok_or(CUT_OFF)?);
                if depth >= DEPTH_MAX {
                    self.says(HEADERS, format!("nest deeper than {DEPTH_MAX} levels"));
                    out.push(b'V');
                    return Ok(());
                }
                out.push(kind);
                let start = out.len();
                out.extend([0; 4]);
                while !inside.0.is_empty() {
                    if kind == b'F' {
                        self.entry(&mut inside, depth.saturating_add(1), out)?;
                    } else {
                        self.value(&mut inside, depth.saturating_add(1), out)?;
                    }
                }
                let length = out.len().saturating_sub(start).saturating_sub(4);
                if let Some(place) = out.get_mut(start..start.saturating_add(4)) {
                    place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
                }
                return Ok(());
            }
            _ => return Err(Malformed("have a value of an unknown type")),
        };
        out.push(kind);
        out.extend(input.take(fixed).ok_or(CUT_OFF)?);
        Ok(())
    }

    /// The entry of [`UNREADABLE`] in the table of headers.
    fn mark(&self) -> Vec<u8> {
        let mut entry = Vec::new();
        if self.odd.is_empty() {
            return entry;
        }
        let mut table = Vec::new();
        for (name, words) in &self.odd {
            put_short(&mut table, name.as_bytes());
            table.push(b'S');
            put_long(&mut table, words.as_bytes());
        }
        put_short(&mut entry, UNREADABLE.as_bytes());
        entry.push(b'F');
        put_long(&mut entry, &table);
        entry
    }
}

const CUT_OFF: Malformed = Malformed("end in the middle of a value");

/// The bytes that are still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let [length] = self.array()?;
        self.take(usize::from(length))
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).ok()?)
    }
}

/// Writes a short string. If it is not UTF-8, replacement characters take the place of invalid bytes, within the
/// length of a short string, and the result is an error.
fn put_text(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), ()> {
    if std::str::from_utf8(bytes).is_ok() {
        put_short(out, bytes);
        return Ok(());
    }
    let lossy = String::from_utf8_lossy(bytes);
    let end = (0..=SHORT_MAX).rev().find(|end| lossy.is_char_boundary(*end)).unwrap_or(0);
    put_short(out, lossy.get(..end).unwrap_or_default().as_bytes());
    Err(())
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..SHORT_MAX).unwrap_or(bytes);
    out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    out.extend(bytes);
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

fn quoted(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(QUOTED_BYTES) {
        // Writing into a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > QUOTED_BYTES {
        text.push('…');
    }
    text
}
