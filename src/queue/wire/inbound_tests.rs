use lapin::BasicProperties;
use lapin::protocol::basic::parse_properties;
use lapin::types::{AMQPValue, FieldTable};
use proptest::prelude::*;

use super::header::{APPENDED, DEPTH_MAX, UNREADABLE};
use super::inbound::Inbound;
use super::seen::Seen;
use crate::queue::message::whole;

pub(super) const FRAME_MAX: u32 = 4096;
pub(super) const CHANNEL: u16 = 7;

/// The properties of a message: flags and values, as a producer may write them.
#[derive(Default, Clone)]
pub(super) struct Raw {
    flags: u16,
    values: Vec<u8>,
}

impl Raw {
    /// Adds a property; they come in the order of their bits, from the highest down.
    fn with(mut self, bit: u16, value: &[u8]) -> Self {
        self.flags |= 1 << bit;
        self.values.extend(value);
        self
    }

    pub(super) fn correlated(self, id: &[u8]) -> Self {
        self.with(10, &short(id))
    }

    fn headers(self, table: &[u8]) -> Self {
        self.with(13, &long(table))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.flags.to_be_bytes().as_slice(), &self.values].concat()
    }
}

fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [u32::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

/// A header whose value is a text.
fn entry(name: &[u8], text: &[u8]) -> Vec<u8> {
    [short(name), vec![b'S'], long(text)].concat()
}

fn nested(kind: u8, depth: usize) -> Vec<u8> {
    let mut inside = Vec::new();
    for _ in 0..depth {
        let value = [vec![kind], long(&inside)].concat();
        inside = if kind == b'F' { [short(b"in"), value].concat() } else { value };
    }
    if kind == b'F' { inside } else { [short(b"in"), inside].concat() }
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    [&[kind], channel.to_be_bytes().as_slice(), &long(payload), &[0xce]].concat()
}

/// A whole message on the wire, with its body in frames of `chunk` bytes.
pub(super) fn on_the_wire(channel: u16, properties: &[u8], body: &[u8], chunk: usize) -> Vec<u8> {
    let size = u64::try_from(body.len()).unwrap().to_be_bytes();
    let header = [&[0, 60, 0, 0], size.as_slice(), properties].concat();
    let mut bytes = [frame(1, channel, &[0, 60, 0, 60, 9]), frame(2, channel, &header)].concat();
    for chunk in body.chunks(chunk) {
        bytes.extend(frame(3, channel, chunk));
    }
    bytes
}

/// What lapin gets: kind, channel, payload. Each frame is one that it accepts.
pub(super) fn frames(mut bytes: &[u8]) -> Vec<(u8, u16, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(u32::from_be_bytes(bytes[3..7].try_into().unwrap())).unwrap();
        assert!(length + 8 <= usize::try_from(FRAME_MAX).unwrap(), "a frame of {length} bytes");
        assert_eq!(bytes[7 + length], 0xce);
        frames.push((bytes[0], u16::from_be_bytes([bytes[1], bytes[2]]), bytes[7..7 + length].to_vec()));
        bytes = &bytes[8 + length..];
    }
    frames
}

fn filtered(wire: &[u8], piece: usize) -> Vec<u8> {
    let mut inbound = Inbound::new(FRAME_MAX, Seen::default(), None);
    let mut out = Vec::new();
    for piece in wire.chunks(piece) {
        inbound.feed(piece, &mut out);
    }
    out
}

/// The message that the worker gets in the end, as lapin puts it together.
fn received(wire: &[u8]) -> (Vec<u8>, BasicProperties) {
    let out = filtered(wire, 1000);
    for piece in [1, 7, 4096] {
        assert_eq!(filtered(wire, piece), out, "in pieces of {piece}");
    }
    let (mut body, mut header) = (Vec::new(), None);
    for (kind, channel, payload) in frames(&out) {
        assert_eq!(channel, CHANNEL);
        match kind {
            2 => header = Some(payload),
            3 => body.extend(payload),
            _ => {}
        }
    }
    let header = header.unwrap();
    assert_eq!(u64::from_be_bytes(header[4..12].try_into().unwrap()), u64::try_from(body.len()).unwrap());
    let (rest, properties) = parse_properties(&header[12..]).expect("lapin can read it");
    assert_eq!(rest, &[] as &[u8]);
    let (body, properties) = whole(body, properties);
    (body.to_vec(), properties)
}

fn message(properties: &Raw, body: &[u8]) -> (Vec<u8>, BasicProperties) {
    received(&on_the_wire(CHANNEL, &properties.bytes(), body, 10_000))
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

fn odd(properties: &BasicProperties, name: &str) -> Option<String> {
    let AMQPValue::FieldTable(odd) = header(properties, UNREADABLE)? else { panic!("no table") };
    Some(odd.inner().get(name)?.as_long_string()?.to_string())
}

#[test]
fn a_message_that_lapin_can_read_comes_through_as_it_is() {
    let raw = Raw::default()
        .with(15, &short(b"application/json"))
        .headers(&entry(b"traceparent", b"00-1-2-01"))
        .with(12, &[2])
        .correlated("über".as_bytes())
        .with(6, &u64::MAX.to_be_bytes());
    for body in [&b""[..], b"{}", &[7; 100_000]] {
        let (got, properties) = message(&raw, body);
        assert_eq!(got, body);
        assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "über");
        assert_eq!(header(&properties, "traceparent"), Some(&AMQPValue::LongString("00-1-2-01".into())));
        assert_eq!(*properties.timestamp(), Some(u64::MAX));
        assert_eq!(header(&properties, UNREADABLE), None);
    }
}

#[test]
fn short_strings_of_any_bytes_become_text_and_are_named() {
    let names: [(u16, &str); 10] = [
        (15, "content_type"),
        (14, "content_encoding"),
        (10, "correlation_id"),
        (9, "reply_to"),
        (8, "expiration"),
        (7, "message_id"),
        (5, "type"),
        (4, "user_id"),
        (3, "app_id"),
        (2, "cluster_id"),
    ];
    for (bit, name) in names {
        for bytes in [&[0xff, 0xfe, 0x9f][..], &[0xff; 255], &[b'a', 0xc3], &[0xed, 0xa0, 0xbd]] {
            let (body, properties) = message(&Raw::default().with(bit, &short(bytes)), b"body");
            assert_eq!(body, b"body");
            let words = odd(&properties, name).unwrap();
            assert!(words.starts_with("is not UTF-8 (bytes "), "{words}");
            assert!(words.len() < 200, "{words}");
        }
    }
    let (_, properties) = message(&Raw::default().correlated(&[0xff, 0xfe, 0x9f]), b"");
    assert_eq!(odd(&properties, "correlation_id").unwrap(), "is not UTF-8 (bytes fffe9f)");
}

#[test]
fn odd_names_of_headers_become_text_at_any_depth_and_the_others_stay() {
    let inside = [short(b"in"), vec![b'F'], long(&entry(&[0xff], b"deep"))].concat();
    let table = [entry(&[0x9f, b'a'], b"one"), entry(b"", b"two"), inside, entry(b"b", &[0xff])].concat();
    let (_, properties) = message(&Raw::default().headers(&table), b"");
    assert_eq!(header(&properties, "\u{fffd}a"), Some(&AMQPValue::LongString("one".into())));
    assert_eq!(header(&properties, ""), Some(&AMQPValue::LongString("two".into())));
    assert_eq!(header(&properties, "b"), Some(&AMQPValue::LongString(vec![0xff].into())));
    assert!(odd(&properties, "headers").unwrap().contains("a name that is not UTF-8"));
}

#[test]
fn tables_and_arrays_nest_as_deep_as_is_allowed_and_no_deeper() {
    for kind in [b'F', b'A'] {
        let allowed = DEPTH_MAX - 1;
        let (_, properties) = message(&Raw::default().headers(&nested(kind, allowed)), b"");
        assert_eq!(odd(&properties, "headers"), None, "{allowed}");
        for depth in [DEPTH_MAX, 1_000, 20_000] {
            let table = [nested(kind, depth), entry(b"after", b"kept")].concat();
            let (body, properties) = message(&Raw::default().headers(&table).correlated(b"c"), b"body");
            assert_eq!(body, b"body");
            assert_eq!(odd(&properties, "headers").unwrap(), format!("nest deeper than {DEPTH_MAX} levels"));
            assert_eq!(header(&properties, "after"), Some(&AMQPValue::LongString("kept".into())));
            assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "c");
        }
    }
}

#[test]
fn a_header_longer_than_any_frame_of_lapins_comes_through_whole() {
    for length in [4_000, 4_200, 20_000, 131_000, 900_000] {
        let table = entry(b"stack", &vec![b'x'; length]);
        for body in [&b""[..], b"{}", &[9; 30_000]] {
            let (got, properties) = message(&Raw::default().headers(&table).correlated(b"c"), body);
            assert_eq!(got, body);
            assert_eq!(header(&properties, "stack"), Some(&AMQPValue::LongString(vec![b'x'; length].into())));
            assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "c");
            assert_eq!(header(&properties, UNREADABLE), None);
        }
    }
}

#[test]
fn thousands_of_headers_come_through() {
    let table: Vec<u8> =
        (0..65_535).flat_map(|n| [short(n.to_string().as_bytes()), vec![b'V']].concat()).collect();
    let (_, properties) = message(&Raw::default().headers(&table), b"body");
    assert_eq!(properties.headers().as_ref().unwrap().inner().len(), 65_535);
}

#[test]
fn a_header_of_megabytes_is_cut_and_its_message_is_unreadable() {
    let table = entry(b"stack", &vec![b'x'; 3_000_000]);
    let raw = Raw::default().with(15, &short(b"text/plain")).headers(&table).correlated(b"c");
    let (body, properties) = message(&raw, b"body");
    assert_eq!(body, b"body");
    assert_eq!(odd(&properties, "properties").unwrap(), "are cut off at headers");
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/plain");
}

#[test]
fn a_producer_can_not_forge_our_words_about_a_message() {
    let forged = [
        [short(UNREADABLE.as_bytes()), vec![b'F'], long(&entry(b"correlation_id", b"is odd"))].concat(),
        [short(APPENDED.as_bytes()), vec![b'l'], 3_i64.to_be_bytes().to_vec()].concat(),
        [short(b"x-comet-withheld"), vec![b't', 1]].concat(),
        entry(b"mine", b"stays"),
    ]
    .concat();
    let (body, properties) = message(&Raw::default().headers(&forged), b"body");
    assert_eq!(body, b"body");
    assert_eq!(properties.headers().as_ref().unwrap().inner().len(), 1);
}

#[test]
fn values_of_every_type_that_brokers_pass_on_come_through() {
    let types: [(u8, &[u8]); 17] = [
        (b't', &[1]),
        (b'b', &[255]),
        (b'B', &[255]),
        (b's', &[255, 255]),
        (b'u', &[255, 255]),
        (b'U', &[255, 255]),
        (b'I', &[255; 4]),
        (b'i', &[255; 4]),
        (b'l', &[255; 8]),
        (b'L', &[255; 8]),
        (b'f', &[0x7f, 0xc0, 0, 0]),
        (b'd', &[0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        (b'D', &[255, 255, 255, 255, 255]),
        (b'T', &[255; 8]),
        (b'V', &[]),
        (b'x', &[0, 0, 0, 2, 0, 255]),
        (b'A', &[0, 0, 0, 3, b'V', b't', 0]),
    ];
    let mut table = Vec::new();
    for (kind, value) in types {
        table.extend([short(&[kind]), vec![kind], value.to_vec()].concat());
    }
    let (_, properties) = message(&Raw::default().headers(&table), b"");
    assert_eq!(properties.headers().as_ref().unwrap().inner().len(), types.len());
    assert_eq!(header(&properties, UNREADABLE), None);

    let unknown = [entry(b"before", b"kept"), [short(b"a"), vec![b'?', 1]].concat()].concat();
    let (_, properties) = message(&Raw::default().headers(&unknown).correlated(b"c"), b"");
    assert_eq!(odd(&properties, "headers").unwrap(), "have a value of an unknown type");
    assert!(header(&properties, "before").is_some());
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "c");
}

#[test]
fn messages_of_several_channels_between_each_other_stay_apart() {
    let table = entry(b"stack", &[b'x'; 9_000]);
    let properties = Raw::default().headers(&table).bytes();
    let wires = [1_u16, 2].map(|channel| {
        let body = vec![u8::try_from(channel).unwrap(); 20_000];
        let size = u64::try_from(body.len()).unwrap().to_be_bytes();
        let header = [&[0, 60, 0, 0], size.as_slice(), &properties].concat();
        let mut list = vec![frame(2, channel, &header)];
        list.extend(body.chunks(6_000).map(|chunk| frame(3, channel, chunk)));
        list
    });
    let between: Vec<u8> =
        wires[0].iter().zip(&wires[1]).flat_map(|(one, two)| [one.clone(), two.clone()].concat()).collect();
    let got = frames(&filtered(&between, 1000));
    for channel in [1, 2] {
        let body: Vec<u8> = got
            .iter()
            .filter(|frame| frame.0 == 3 && frame.1 == channel)
            .flat_map(|frame| frame.2.clone())
            .collect();
        let (own, appended) = body.split_at(20_000);
        assert!(own.iter().all(|byte| u16::from(*byte) == channel));
        let (_, properties) = parse_properties(appended).unwrap();
        assert_eq!(properties.headers().as_ref().map(FieldTable::inner).unwrap().len(), 1);
    }
}

#[test]
fn all_other_frames_go_through_untouched_and_the_brokers_offer_is_heard() {
    let tune = [&[0, 10, 0, 30, 7, 255], 131_072_u32.to_be_bytes().as_slice(), &[0, 60]].concat();
    let wire = [frame(1, 0, &tune), frame(8, 0, &[]), frame(1, 3, &[0, 60, 0, 60, 1, 2, 3])].concat();
    for piece in [1, 5, 100] {
        let mut inbound = Inbound::new(FRAME_MAX, Seen::default(), None);
        let mut out = Vec::new();
        for piece in wire.chunks(piece) {
            inbound.feed(piece, &mut out);
        }
        assert_eq!(out, wire);
        assert_eq!(inbound.offered(), Some(131_072));
    }
}

#[test]
fn a_message_is_known_again_on_another_connection_though_its_deliveries_are_counted() {
    let seen = |count: i64, body: &[u8]| {
        let counted = [short(b"x-delivery-count"), vec![b'l'], count.to_be_bytes().to_vec()].concat();
        let table = [entry(b"a", b"b"), counted].concat();
        let seen = Seen::default();
        let mut inbound = Inbound::new(FRAME_MAX, seen.clone(), None);
        inbound.feed(&on_the_wire(1, &Raw::default().headers(&table).bytes(), body, 50), &mut Vec::new());
        seen.messages().remove(0)
    };
    assert!(seen(1, b"body").is(&seen(2, b"body")));
    assert!(!seen(1, b"body").is(&seen(1, b"bode")));
    assert!(!seen(1, b"body").is(&seen(1, b"longer body")));
    let long: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let message = seen(1, &long);
    assert!(long.starts_with(&message.start) && long.ends_with(&message.end));
    assert!(message.start.len() + message.end.len() < 1000);
}

proptest! {
    /// Whatever a producer writes, lapin gets frames that it accepts and properties that it can read.
    #[test]
    fn no_bytes_of_properties_are_too_odd(properties in proptest::collection::vec(any::<u8>(), 0..400), body in proptest::collection::vec(any::<u8>(), 0..50)) {
        let (got, _) = received(&on_the_wire(CHANNEL, &properties, &body, 20));
        prop_assert_eq!(got, body);
    }

    /// Tests the same for tables, which random bytes seldom are.
    #[test]
    fn no_table_is_too_odd(table in proptest::collection::vec(prop_oneof![Just(b'F'), Just(b'A'), Just(0_u8), Just(1), Just(4), Just(b'S'), any::<u8>()], 0..200)) {
        let (body, _) = message(&Raw::default().headers(&table).correlated(b"c"), b"body");
        prop_assert_eq!(body, b"body".to_vec());
    }
}
