//! Each standstill, and what only looks like one, acted out with a real worker: the page, `/readyz`, the metrics, the
//! log and `comet-worker status` say what the table in `docs/operations.md` says that they say.
//!
//! A row is added by writing it into that table, and a test here that brings a [`Scene`] into the situation and
//! ends with [`Scene::shows`] under the row's name. A row without a test is a fault of `it::documents`.

mod going;
mod standing;
mod table;
mod views;

use comet_worker::metrics::{PauseReason, Standstill};
use lapin::BasicProperties;
use serde_json::Value;

use self::table::Row;
use self::views::Views;
use crate::support::jobs::jobs;
use crate::support::process::environment;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

/// A worker, and all that is around it.
pub struct Scene {
    pub place: &'static Place,
    pub sim: Sim,
    pub broker: Broker,
    pub worker: Worker,
    settings: Vec<(&'static str, String)>,
    variables: Vec<(String, String)>,
}

impl Scene {
    /// Starts a stand-in for the provider and a worker that takes jobs.
    pub async fn start(
        place: &'static Place,
        sim_arguments: &[&str],
        settings: &[(&'static str, &str)],
    ) -> Self {
        Self::start_with(place, sim_arguments, settings, &[]).await
    }

    /// The same with variables of other programs, such as a cloud's credentials.
    pub async fn start_with(
        place: &'static Place,
        sim_arguments: &[&str],
        settings: &[(&'static str, &str)],
        variables: &[(String, String)],
    ) -> Self {
        let sim = Sim::start(sim_arguments).await;
        let worker = Worker::start_with(place, &sim, settings, variables);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let settings = settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Self { place, sim, broker, worker, settings, variables: variables.to_vec() }
    }

    /// Kills the worker and starts another one in its place.
    pub async fn replace_worker(&mut self) {
        self.worker.kill().await;
        let settings: Vec<_> = self.settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        self.worker = Worker::start_with(self.place, &self.sim, &settings, &self.variables);
    }

    pub async fn publish(&self, count: usize) {
        for job in jobs("j", count) {
            self.broker.publish(self.place, &job).await;
        }
    }

    pub async fn publish_raw(&self, body: &[u8]) {
        self.broker.publish_raw(self.place, body, BasicProperties::default()).await;
    }

    /// Waits until every view says what the row of this situation quotes, and until the views agree with each other.
    pub async fn shows(&self, situation: &str) -> Views {
        let row = Row::of(situation);
        let mut last = String::new();
        let seen = wait_for(situation, async || {
            let views = Views::collect(&self.worker, &self.environment()).await;
            let mut faults = row.missing_in(&views);
            faults.extend(if row.ready == 200 { views.noise() } else { views.disagreements() });
            // Shown if the test fails, and with --nocapture to whoever writes a row.
            let words = format!("{situation}:\n  {}\n", faults.join("\n  "));
            if words != last {
                println!("{words}{views}");
                last = words;
            }
            faults.is_empty().then_some(views)
        });
        seen.await
    }

    /// The configuration of this worker, for commands.
    fn environment(&self) -> Vec<(String, String)> {
        let set = self.settings.iter().map(|(key, value)| (format!("COMET_WORKER__{key}"), value.clone()));
        let own = environment(self.place, &self.sim.url).into_iter();
        own.chain(set).chain(self.variables.iter().cloned()).collect()
    }
}

/// The words that name a cause, in every view.
fn causes() -> impl Iterator<Item = &'static str> {
    let pauses = PauseReason::ALL.iter().map(|reason| reason.as_str());
    pauses.chain(Standstill::ALL.iter().map(|what| what.as_str()))
}

/// All leaves of a JSON value, one line each: `queues.dead = 1`.
fn leaves(value: &Value, path: &str) -> String {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) => members.iter().map(|(name, member)| leaves(member, &below(name))).collect(),
        Value::Array(items) => {
            (0..).zip(items).map(|(index, item)| leaves(item, &below(&index.to_string()))).collect()
        }
        Value::String(text) => format!("{path} = {text}\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) => format!("{path} = {value}\n"),
    }
}
