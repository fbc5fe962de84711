//! The right to begin one POST.

use super::{Breaker, Mode, State, mode};

/// The right to begin one POST. While one job at a time is let through, this is that job.
#[derive(Debug)]
pub struct Pass {
    breaker: Breaker,
    sent: Sent,
}

/// Which POST it was, for what is learned from its answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    pub(super) number: u64,
    /// It was let through alone, to see whether what stands is over.
    pub(super) only_one: bool,
}

impl Pass {
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.breaker.state.send_modify(|state| {
            state.posts.end();
            if self.sent.only_one {
                state.one_is_through = false;
            }
        });
    }
}

impl Breaker {
    /// `None` while no POST may start. Waits while too many are undecided to send another one.
    pub async fn pass(&self) -> Option<Pass> {
        let mut changes = self.state.subscribe();
        loop {
            let (mut asked, mut number) = (Asked::Wait, 0);
            self.state.send_if_modified(|state| {
                asked = ask(state);
                match asked {
                    Asked::Pass { only_one } => {
                        number = state.posts.start();
                        state.one_is_through |= only_one;
                        true
                    }
                    Asked::Wait | Asked::No => false,
                }
            });
            match asked {
                Asked::Pass { only_one } => {
                    return Some(Pass { breaker: self.clone(), sent: Sent { number, only_one } });
                }
                Asked::No => return None,
                Asked::Wait => {
                    // The sender is in self, so this can't end early.
                    let _ = changes.wait_for(|state| !matches!(ask(state), Asked::Wait)).await;
                }
            }
        }
    }

    /// Whether the POST that this was given for may still be sent.
    #[must_use]
    pub fn still_lets(&self, pass: &Pass) -> bool {
        match self.mode() {
            Mode::Open => true,
            Mode::OneJob => pass.sent.only_one,
            Mode::Closed => false,
        }
    }
}

/// What comes of asking for a pass.
enum Asked {
    Pass {
        only_one: bool,
    },
    /// Enough POSTs are undecided.
    Wait,
    No,
}

fn ask(state: &State) -> Asked {
    match mode(state) {
        Mode::Open if state.posts.may_start() => Asked::Pass { only_one: false },
        Mode::Open => Asked::Wait,
        Mode::OneJob if !state.one_is_through => Asked::Pass { only_one: true },
        Mode::OneJob | Mode::Closed => Asked::No,
    }
}
