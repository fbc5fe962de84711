//! Parts of the world that most steps don't change: worlds share them, and each is hashed once.

use std::cell::OnceCell;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// A value that worlds share until one of them edits it.
#[derive(Debug, Clone)]
pub struct Part<T>(Rc<Kept<T>>);

#[derive(Debug, Clone)]
struct Kept<T> {
    value: T,
    prints: OnceCell<Prints>,
}

/// What is known of a value from its hash.
#[derive(Debug, Clone, Copy)]
pub struct Prints {
    /// The fingerprint of the value as it is.
    pub plain: u128,
    /// The fingerprint that it would have if the two workers had each other's names.
    pub swapped: u128,
    /// The numbers of the nonces `ask-N` that the value remembers, as bits.
    pub nonces: u64,
}

impl<T> Part<T> {
    pub fn new(value: T) -> Self {
        Self(Rc::new(Kept { value, prints: OnceCell::new() }))
    }
}

impl<T: Clone> Part<T> {
    pub fn edit(&mut self) -> &mut T {
        let kept = Rc::make_mut(&mut self.0);
        kept.prints.take();
        &mut kept.value
    }
}

impl<T: Hash> Part<T> {
    pub fn prints(&self) -> Prints {
        *self.0.prints.get_or_init(|| Prints::of(&self.0.value))
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: PartialEq> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl Prints {
    pub fn of(value: &impl Hash) -> Self {
        let mut plain = Lanes::new(false);
        value.hash(&mut plain);
        let swapped = if plain.names_workers {
            let mut swapped = Lanes::new(true);
            value.hash(&mut swapped);
            swapped.print()
        } else {
            plain.print()
        };
        Self { plain: plain.print(), swapped, nonces: plain.nonces }
    }

    pub fn print(self, swapped: bool) -> u128 {
        if swapped { self.swapped } else { self.plain }
    }
}

/// Two hashes of 64 bits in one pass. Among some million states, two that differ and look alike in 128 bits are
/// not to be expected.
pub struct Lanes {
    one: u64,
    other: u64,
    swaps: bool,
    names_workers: bool,
    nonces: u64,
}

fn mixed(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other | 1);
    (product ^ product >> 64) as u64
}

impl Lanes {
    fn new(swaps: bool) -> Self {
        let (one, other) = (0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
        Self { one, other, swaps, names_workers: false, nonces: 0 }
    }

    pub fn print(&self) -> u128 {
        u128::from(self.finish()) << 64 | u128::from(mixed(self.other, self.one))
    }

    /// A worker is named `w0` or `w1`, alone or in the text of an event.
    fn renamed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let is_name = |pair: &[u8]| pair == b"w0" || pair == b"w1";
        if !bytes.contains(&b'w') || !bytes.windows(2).any(is_name) {
            return None;
        }
        self.names_workers = true;
        let mut renamed = bytes.to_vec();
        for at in 1..renamed.len() {
            if self.swaps && is_name(&bytes[at - 1..=at]) {
                renamed[at] ^= 1;
            }
        }
        Some(renamed)
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(u64::from_le_bytes(chunk.try_into().unwrap()));
        }
        let mut word = [0; 8];
        word[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.write_u64(u64::from_le_bytes(word) ^ (bytes.len() as u64) << 56);
    }
}

impl Hasher for Lanes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(number) = bytes.strip_prefix(b"ask-") {
            let number: u32 = std::str::from_utf8(number).unwrap().parse().unwrap();
            self.nonces |= 1 << number;
        }
        match self.renamed(bytes) {
            Some(renamed) => self.take(&renamed),
            None => self.take(bytes),
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.one = mixed(self.one ^ word, 0xa076_1d64_78bd_642f);
        self.other = mixed(self.other.rotate_left(23) ^ word, 0xe703_7ed1_a0b4_28db);
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
        self.write_u64((number >> 64) as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        mixed(self.one, self.other)
    }
}
