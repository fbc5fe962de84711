//! The effects of a life on the world, in order, and the places where the process can be killed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

/// On which side of an effect the kill hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The effect has not happened.
    Before,
    /// The effect has happened, and its answer is lost.
    After,
}

/// The effects of one process. Its doubles share it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Effects {
    state: Arc<Mutex<State>>,
    killed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    begun: usize,
    /// The names of the effects that have happened, in order.
    done: Vec<&'static str>,
    kill: Option<(usize, Side)>,
    /// Effects that take this long, once each.
    slow: Vec<(&'static str, Duration)>,
    /// Effects that stop, once each.
    holds: Vec<Stop>,
}

#[derive(Debug)]
struct Stop {
    which: Which,
    side: Side,
    reached: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

#[derive(Debug, PartialEq, Eq)]
enum Which {
    Next(&'static str),
    Number(usize),
}

/// An effect that stops on one side of itself until this is dropped.
#[derive(Debug)]
pub struct Held {
    reached: oneshot::Receiver<()>,
    _go_on: oneshot::Sender<()>,
}

impl Held {
    /// Waits until a life has reached this point, for some days at most.
    pub async fn reached(&mut self) {
        let bound = Duration::from_secs(3 * 24 * 3600);
        tokio::time::timeout(bound, &mut self.reached).await.expect("it comes so far").unwrap();
    }
}

impl Default for Effects {
    fn default() -> Self {
        Self { state: Arc::default(), killed: watch::Sender::new(false) }
    }
}

impl Effects {
    /// Makes the effect number `number`, from 0, the process's last: before or after it, it hangs until it is
    /// dropped.
    pub fn kill_at(&self, number: usize, side: Side) {
        self.state.lock().unwrap().kill = Some((number, side));
    }

    /// Returns once the kill has happened.
    pub async fn killed(&self) {
        // `self` holds the sender, so this wait can't end early.
        let _ = self.killed.subscribe().wait_for(|killed| *killed).await;
    }

    /// Another process takes the place of the killed one, and it isn't killed.
    pub fn revive(&self) {
        let mut state = self.state.lock().unwrap();
        (state.begun, state.kill) = (0, None);
        drop(state);
        self.killed.send_replace(false);
    }

    /// The answer to the next effect with this name comes this much later.
    pub fn slow_down(&self, name: &'static str, by: Duration) {
        self.state.lock().unwrap().slow.push((name, by));
    }

    /// The next effect with this name stops there, as in a frozen process.
    pub fn hold(&self, name: &'static str, side: Side) -> Held {
        self.stop_at(Which::Next(name), side)
    }

    /// The effect number `number`, from 0, stops before it happens.
    pub fn hold_number(&self, number: usize) -> Held {
        self.stop_at(Which::Number(number), Side::Before)
    }

    fn stop_at(&self, which: Which, side: Side) -> Held {
        let ((reached, on_reach), (_go_on, go_on)) = (oneshot::channel(), oneshot::channel());
        self.state.lock().unwrap().holds.push(Stop { which, side, reached, go_on });
        Held { reached: on_reach, _go_on }
    }

    /// What has happened, in order.
    pub fn done(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().done.clone()
    }

    /// How often an effect has happened.
    pub fn count(&self, name: &str) -> usize {
        self.done().iter().filter(|done| **done == name).count()
    }

    /// Does something as one effect.
    pub async fn act<T>(&self, name: &'static str, act: impl Future<Output = T>) -> T {
        self.act_unlisted(name, async {
            let value = act.await;
            self.state.lock().unwrap().done.push(name);
            value
        })
        .await
    }

    /// Does something that changes nothing, so it isn't in [`Self::done`].
    pub async fn act_unlisted<T>(&self, name: &'static str, act: impl Future<Output = T>) -> T {
        let (number, slow, stop) = {
            let mut state = self.state.lock().unwrap();
            state.begun += 1;
            let slow = state.slow.iter().position(|(slow, _)| *slow == name);
            let slow = slow.map(|at| state.slow.remove(at).1);
            let number = state.begun - 1;
            let these = [Which::Next(name), Which::Number(number)];
            let stop = state.holds.iter().position(|stop| these.contains(&stop.which));
            (number, slow, stop.map(|at| state.holds.remove(at)))
        };
        self.die_at(number, Side::Before).await;
        let (before, after) = match stop {
            Some(stop) if stop.side == Side::Before => (Some(stop), None),
            other => (None, other),
        };
        Self::stand_still(before).await;
        let value = act.await;
        if let Some(by) = slow {
            tokio::time::sleep(by).await;
        }
        Self::stand_still(after).await;
        self.die_at(number, Side::After).await;
        value
    }

    async fn stand_still(stop: Option<Stop>) {
        if let Some(Stop { reached, go_on, .. }) = stop {
            let _ = reached.send(());
            // Nothing is ever sent; it ends when its other end is dropped.
            let _ = go_on.await;
        }
    }

    async fn die_at(&self, number: usize, side: Side) {
        let kill = self.state.lock().unwrap().kill;
        // Once the process is dead, none of its tasks goes on.
        if *self.killed.borrow() || kill == Some((number, side)) {
            self.killed.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}
