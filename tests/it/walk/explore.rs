//! Visits every reachable state, breadth first, and checks from which of them the job can come to its end.
//!
//! A state is kept only until its steps are known. After that its fingerprint stands for it, and a trace is found by
//! taking its steps again.

use std::collections::{HashMap, VecDeque};

use super::world::World;

/// The broken promise, and the steps to it.
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

/// Visits every state; states with the same fingerprint count as one. Returns their number, or the first broken
/// promise.
pub fn walk(start: World, print: fn(&World) -> u128) -> Result<usize, Broken> {
    let mut visited = Visited {
        number_of: HashMap::from([(print(&start), 0)]),
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
            let number = *visited.number_of.entry(print(&next)).or_insert(fresh);
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
