//! What a life does to the world, in its order; and the place where the process can be killed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

/// On which side of an effect the kill hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nothing has left.
    Before,
    /// It has happened, and its answer is never heard.
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
    /// Names of those that have happened, in their order.
    done: Vec<&'static str>,
    kill: Option<(usize, Side)>,
    /// These take so long, once each.
    slow: Vec<(&'static str, Duration)>,
}

impl Default for Effects {
    fn default() -> Self {
        Self { state: Arc::default(), killed: watch::Sender::new(false) }
    }
}

impl Effects {
    /// The effect number `number`, from 0, is the process's last: before or after it, it hangs until
    /// somebody drops it.
    pub fn kill_at(&self, number: usize, side: Side) {
        self.state.lock().unwrap().kill = Some((number, side));
    }

    /// Returns once the kill has hit.
    pub async fn killed(&self) {
        // The sender is in self, so this can't end early.
        let _ = self.killed.subscribe().wait_for(|killed| *killed).await;
    }

    /// Another process has taken the place of the killed one, and nobody kills it.
    pub fn revive(&self) {
        let mut state = self.state.lock().unwrap();
        (state.begun, state.kill) = (0, None);
        drop(state);
        self.killed.send_replace(false);
    }

    /// The answer to the next effect of that name comes so late.
    pub fn slow_down(&self, name: &'static str, by: Duration) {
        self.state.lock().unwrap().slow.push((name, by));
    }

    /// What has happened, in its order.
    pub fn done(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().done.clone()
    }

    /// How often an effect has happened.
    pub fn count(&self, name: &str) -> usize {
        self.done().iter().filter(|done| **done == name).count()
    }

    /// Acts, as one effect.
    pub async fn act<T>(&self, name: &'static str, act: impl Future<Output = T>) -> T {
        let (number, slow) = {
            let mut state = self.state.lock().unwrap();
            state.begun += 1;
            let slow = state.slow.iter().position(|(slow, _)| *slow == name);
            (state.begun - 1, slow.map(|at| state.slow.remove(at).1))
        };
        self.die_at(number, Side::Before).await;
        let value = act.await;
        self.state.lock().unwrap().done.push(name);
        if let Some(by) = slow {
            tokio::time::sleep(by).await;
        }
        self.die_at(number, Side::After).await;
        value
    }

    async fn die_at(&self, number: usize, side: Side) {
        let kill = self.state.lock().unwrap().kill;
        // Once dead, nothing of the process goes on.
        if *self.killed.borrow() || kill == Some((number, side)) {
            self.killed.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}
