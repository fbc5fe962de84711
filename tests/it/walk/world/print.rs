//! The fingerprint of a state. Two states go on alike if they differ only in the names of the workers or in the order
//! of the message's copies, so the walk treats them as one.

use std::hash::Hash;

use comet_worker::job::record::Nonce;

use super::part::{Part, Prints};
use super::{Copy, Post, World};

impl World {
    /// The same for all states that go on alike.
    pub fn folded_print(&self) -> u128 {
        self.print(false, true).min(self.print(true, true))
    }

    /// The same only for the same state.
    pub fn whole_print(&self) -> u128 {
        self.print(false, false)
    }

    /// `swapped`: as if the two workers had each other's names. `any_order`: whichever copy is the first.
    fn print(&self, swapped: bool, any_order: bool) -> u128 {
        let name = |who: usize| if swapped { 1 - who } else { who };
        let hand = |who: usize| self.hands[name(who)].as_ref().map(|hand| hand.prints().print(swapped));
        let before = self.before.as_ref().map(|table| table.prints().print(swapped));
        let copies = self.copies.iter().zip(&self.delivered).map(|(copy, delivered)| {
            let copy = if let Copy::With(who) = copy { Copy::With(name(*who)) } else { *copy };
            Prints::of(&(copy, *delivered)).plain
        });
        let net = self
            .net
            .iter()
            .map(|post| Prints::of(&Post { sender: post.sender.map(name), ..post.clone() }).plain);
        let told = self.told.iter().map(|event| event.prints().print(swapped));
        let whole = (
            (self.table.prints().print(swapped), before, self.history.prints().print(swapped)),
            (hand(0), hand(1), sum(net), sum(told)),
            if any_order {
                sum(copies)
            } else {
                copies.fold(0_u128, |before, copy| before.rotate_left(7) ^ copy)
            },
            (&self.tasks, self.faults, self.reopened),
        );
        Prints::of(&whole).plain
    }

    /// A nonce that nothing remembers. Two worlds that differ only in used-up nonces are the same.
    pub(super) fn fresh_nonce(&self) -> Nonce {
        let hands = self.hands.iter().flatten().map(nonces);
        let before = self.before.iter().map(nonces);
        let remembered =
            hands.chain(before).fold(nonces(&self.table) | nonces(&self.history), |all, some| all | some);
        Nonce::new(format!("ask-{}", (!(remembered | 1)).trailing_zeros()))
    }
}

fn nonces(part: &Part<impl Hash>) -> u64 {
    part.prints().nonces
}

/// The same in any order.
fn sum(prints: impl Iterator<Item = u128>) -> u128 {
    prints.fold(0, u128::wrapping_add)
}
