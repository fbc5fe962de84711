use lapin::protocol::basic::parse_properties;

use super::inbound::Inbound;
use super::inbound_tests::{CHANNEL, FRAME_MAX, Raw, frames, on_the_wire};
use super::large::Large;
use super::seen::Seen;
use crate::queue::message::is_withheld;

/// A small message, a large one and a small one again, with what lapin gets if the large one is admitted or not.
fn with_a_large_one(piece: usize, admitted: bool) -> (Vec<u8>, Vec<u8>, usize) {
    let small = on_the_wire(CHANNEL, &Raw::default().bytes(), &[1; 100], 50);
    let large = on_the_wire(CHANNEL, &Raw::default().correlated(b"c").bytes(), &[2; 101], 50);
    let wire = [small.clone(), large, small].concat();
    let mut inbound = Inbound::new(FRAME_MAX, Seen::default(), Some(Large::over(100)));
    let (mut out, mut waited) = (Vec::new(), 0);
    for mut piece in wire.chunks(piece) {
        loop {
            piece = inbound.feed(piece, &mut out);
            if inbound.waits().is_none() {
                break;
            }
            waited += 1;
            if admitted { inbound.admit(&mut out) } else { inbound.withhold(&mut out) }
        }
        assert!(piece.is_empty());
    }
    (wire, out, waited)
}

#[test]
fn a_large_message_waits_for_its_place_and_a_small_one_does_not() {
    for piece in [1, 13, 1000] {
        let (wire, out, waited) = with_a_large_one(piece, true);
        assert_eq!(waited, 1, "in pieces of {piece}");
        assert_eq!(out, wire);
    }
}

#[test]
fn a_large_message_that_gets_no_place_comes_without_its_body_and_the_next_is_whole() {
    for piece in [1, 13, 1000] {
        let (_, out, waited) = with_a_large_one(piece, false);
        assert_eq!(waited, 1, "in pieces of {piece}");
        let frames = frames(&out);
        let kinds: Vec<u8> = frames.iter().map(|frame| frame.0).collect();
        assert_eq!(kinds, [1, 2, 3, 3, 1, 2, 1, 2, 3, 3]);
        let (_, properties) = parse_properties(&frames[5].2[12..]).unwrap();
        assert_eq!(frames[5].2[4..12], [0; 8]);
        assert!(is_withheld(&properties));
        let (_, small) = parse_properties(&frames[7].2[12..]).unwrap();
        assert!(!is_withheld(&small));
    }
}
