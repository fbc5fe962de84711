//! Every state that can be reached, breadth first, and from which of them the end can be.
//!
//! A state is kept only until its steps are known; afterwards its fingerprint stands for it, and a
//! trace is found by walking its steps again.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use super::world::World;

/// What went wrong, and the way there.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    pub promise: &'static str,
    pub trace: Vec<String>,
}

struct Visited {
    start: World,
    number_of: HashMap<u128, u32>,
    /// The state before, and the number of the step from there.
    came_from: Vec<(u32, u32)>,
    edges: Vec<(u32, u32)>,
    complete: Vec<bool>,
}

/// 128 bits: among some million states, two that differ and look alike are not to be expected.
fn fingerprint(world: &World) -> u128 {
    let mut lanes = Lanes(0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
    world.hash(&mut lanes);
    u128::from(lanes.finish()) << 64 | u128::from(mixed(lanes.1, lanes.0))
}

/// Two hashes in one pass: hashing is most of what a walk does.
struct Lanes(u64, u64);

fn mixed(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other | 1);
    (product ^ product >> 64) as u64
}

impl Hasher for Lanes {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mixed(self.0 ^ word, 0xa076_1d64_78bd_642f);
        self.1 = mixed(self.1.rotate_left(23) ^ word, 0xe703_7ed1_a0b4_28db);
    }

    fn finish(&self) -> u64 {
        mixed(self.0, self.1)
    }
}

/// Walks every state; returns their number, or the first broken promise.
pub fn walk(start: World) -> Result<usize, Broken> {
    let mut visited = Visited {
        number_of: HashMap::from([(fingerprint(&start), 0)]),
        came_from: vec![(0, 0)],
        edges: Vec::new(),
        complete: vec![start.is_complete()],
        start: start.clone(),
    };
    let mut frontier = VecDeque::from([(0_u32, start)]);
    while let Some((at, world)) = frontier.pop_front() {
        if let Some(promise) = world.broken() {
            return Err(visited.broken(at, promise));
        }
        for (step, (_, next)) in world.steps(false).into_iter().enumerate() {
            let fresh = u32::try_from(visited.came_from.len()).unwrap();
            let number = *visited.number_of.entry(fingerprint(&next)).or_insert(fresh);
            if number == fresh {
                visited.came_from.push((at, u32::try_from(step).unwrap()));
                visited.complete.push(next.is_complete());
                frontier.push_back((number, next));
            }
            visited.edges.push((number, at));
        }
        assert!(visited.came_from.len() < 6_000_000, "the walk has no end: {world:#?}");
    }
    match visited.stuck() {
        Some(state) => Err(visited.broken(state, "an end is out of reach")),
        None => Ok(visited.came_from.len()),
    }
}

impl Visited {
    fn broken(&self, mut state: u32, promise: &'static str) -> Broken {
        let mut steps = Vec::new();
        while state != 0 {
            let (before, step) = self.came_from[state as usize];
            steps.push(step);
            state = before;
        }
        let mut world = self.start.clone();
        let mut trace = Vec::new();
        for step in steps.into_iter().rev() {
            let (label, next) = world.steps(true).swap_remove(step as usize);
            trace.push(label);
            world = next;
        }
        Broken { promise, trace }
    }

    /// A state from which the job can't come to its end any more.
    fn stuck(&self) -> Option<u32> {
        let mut edges = self.edges.clone();
        edges.sort_unstable();
        let mut reaches = self.complete.clone();
        let all = 0..u32::try_from(reaches.len()).unwrap();
        let mut open: Vec<u32> = all.clone().filter(|state| reaches[*state as usize]).collect();
        while let Some(state) = open.pop() {
            let first = edges.partition_point(|edge| *edge < (state, 0));
            for (_, before) in edges[first..].iter().take_while(|edge| edge.0 == state) {
                if !std::mem::replace(&mut reaches[*before as usize], true) {
                    open.push(*before);
                }
            }
        }
        all.into_iter().find(|state| !reaches[*state as usize])
    }
}
