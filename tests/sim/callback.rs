//! Callbacks: at each change of a task's status the `callback_url` of its POST is called, once and without a
//! signature, as the provider does. Their faults are drawn when the task is made.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    faults::Fault,
    http::Sim,
    model::{Answer, Model},
    report::Counts,
    shape,
    switches::Switches,
    task::TaskView,
};

/// The first callback comes this long after the reply to the POST could be read.
const AFTER_REPLY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a task calls back, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    url: Arc<str>,
    says: Says,
    /// The first one comes before the reply to the POST.
    early: bool,
    duplicate: bool,
    /// The end comes first, and then what was before it.
    out_of_order: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    TheTruth,
    WrongId,
    /// The id that Kling knows the task by, which its client never saw; the external id is right.
    UpstreamId,
    Garbage,
}

impl Plan {
    /// `None`: they are lost.
    pub(crate) fn draw(url: &Arc<str>, faults: &mut Switches) -> Option<Self> {
        if faults.strikes(Fault::CallbackLost) {
            return None;
        }
        let says = if faults.strikes(Fault::CallbackGarbage) {
            Says::Garbage
        } else if faults.strikes(Fault::CallbackWrongId) {
            Says::WrongId
        } else if faults.strikes(Fault::CallbackUpstreamId) {
            Says::UpstreamId
        } else {
            Says::TheTruth
        };
        Some(Self {
            url: Arc::clone(url),
            says,
            early: faults.strikes(Fault::CallbackEarly),
            duplicate: faults.strikes(Fault::CallbackDuplicate),
            out_of_order: faults.strikes(Fault::CallbackOutOfOrder),
        })
    }

    fn body(&self, task: &TaskView, public_base: &str) -> String {
        let mut told = shape::told(task, public_base);
        let other_id = (task.task_id + 1).to_string();
        match self.says {
            Says::Garbage => return "\u{0}<callback>".repeat(100),
            Says::TheTruth => {}
            Says::UpstreamId => set(&mut told, "task_id", json!(other_id)),
            Says::WrongId => {
                set(&mut told, "task_id", json!(other_id));
                set(&mut told, "task_info", json!({"external_task_id": format!("not-{other_id}")}));
            }
        }
        told.to_string()
    }
}

fn set(told: &mut Value, name: &str, value: Value) {
    if let Some(fields) = told.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// Begins to call back about the task that a POST has made. An early callback has been answered when this returns.
pub(crate) async fn begin(sim: &Arc<Sim>, answer: &Answer) {
    let Answer::Made(task, _) = answer else { return };
    let Some((plan, changes_ms)) = sim.model().callbacks(task.task_id) else { return };
    let (task_id, made_ms) = (task.task_id, task.created_ms);
    if plan.early {
        call(sim, &plan, task_id, made_ms).await;
    }
    let sim = Arc::clone(sim);
    tokio::spawn(async move {
        tokio::time::sleep(sim.pace.submit + AFTER_REPLY).await;
        let order: Vec<u64> = if plan.out_of_order {
            sleep_until(&sim, changes_ms.last().copied().unwrap_or_default()).await;
            changes_ms.into_iter().rev().collect()
        } else {
            changes_ms
        };
        for change_ms in order {
            sleep_until(&sim, change_ms).await;
            if !(plan.early && change_ms == made_ms) {
                call(&sim, &plan, task_id, change_ms).await;
            }
        }
    });
}

async fn sleep_until(sim: &Sim, then_ms: u64) {
    tokio::time::sleep(Duration::from_millis(then_ms.saturating_sub(sim.clock.now_ms()))).await;
}

/// Reports the task's state at `then_ms`. After a reset there is nothing to report.
async fn call(sim: &Sim, plan: &Plan, task_id: u64, then_ms: u64) {
    let told = sim.model().told_of(task_id, then_ms);
    let Some(task) = told else { return };
    for _ in 0..=u8::from(plan.duplicate) {
        let request = sim.http.post(&*plan.url).timeout(PATIENCE);
        let request = request.header("content-type", "application/json");
        let outcome = match request.body(plan.body(&task, &sim.public_base)).send().await {
            Ok(reply) if reply.status().is_success() => "taken",
            Ok(_) => "refused",
            Err(_) => "failed",
        };
        Counts::add(&mut sim.model().counts.callbacks, outcome);
    }
}

impl Model {
    /// How a task calls back, and when, if it does.
    fn callbacks(&self, task_id: u64) -> Option<(Plan, Vec<u64>)> {
        let task = self.task(task_id)?;
        Some((task.callbacks.clone()?, task.changes_ms()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, extract::State};
    use clap::Parser;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        http::Clock,
        model::Submission,
        options::Options,
        rules::{Family, Page, Rules},
        wire::Connections,
    };

    type Heard = Arc<Mutex<Vec<String>>>;

    /// A client that records its callbacks.
    async fn client() -> (String, Heard) {
        let heard = Heard::default();
        let hear = async |State(heard): State<Heard>, body: String| heard.lock().unwrap().push(body);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let service = Router::new().fallback(hear).with_state(Arc::clone(&heard));
        tokio::spawn(async move { axum::serve(listener, service).await });
        (url, heard)
    }

    /// What a client has received, after `number` callbacks about a task that a POST has made.
    async fn hears(options: &[&str], number: usize) -> (Arc<Sim>, Vec<String>) {
        let (url, heard) = client().await;
        let fixed = ["comet-sim", "--durations", "fixed:200ms", "--submit-latency", "0"];
        let options = Options::try_parse_from(fixed.iter().chain(options)).unwrap();
        let address = "127.0.0.1:9".parse().unwrap();
        let sim = Arc::new(crate::sim(&options, address, Arc::<Connections>::default()));
        let image = json!({"subject_image": "https://example.com/a.png"});
        let body =
            json!({"subject_image_list": [image, image], "external_task_id": "a", "callback_url": url});
        let rules = Rules { page: Page::Page, check_pixels: false };
        let request = rules.read(Family::Images, body.to_string().as_bytes());
        let submission = Submission { key: "sk-sim".to_owned(), body_sha256: "00".into(), request };
        let answer = sim.model().submit(&submission, Clock::now_ms(&sim.clock));
        begin(&sim, &answer).await;
        while heard.lock().unwrap().len() < number {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let all = heard.lock().unwrap().clone();
        (sim, all)
    }

    fn statuses(bodies: &[String]) -> Vec<String> {
        let status = |body: &String| {
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body.get("data"), None, "it has no envelope");
            body["task_status"].as_str().unwrap().to_owned()
        };
        bodies.iter().map(status).collect()
    }

    #[tokio::test]
    async fn each_change_of_the_status_is_told_once() {
        let (sim, bodies) = hears(&[], 3).await;
        assert_eq!(statuses(&bodies), ["submitted", "processing", "succeed"]);
        let last: Value = serde_json::from_str(&bodies[2]).unwrap();
        assert_eq!(last["task_info"]["external_task_id"], "a");
        assert!(last["task_result"]["images"][0]["url"].is_string(), "{last}");
        while sim.model().counts.callbacks.get("taken") != Some(&3) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn callbacks_come_in_copies_and_backwards() {
        let (_, bodies) = hears(&["--fault", "callback-duplicate"], 6).await;
        assert_eq!(statuses(&bodies[..4]), ["submitted", "submitted", "processing", "processing"]);
        let (_, bodies) = hears(&["--fault", "callback-out-of-order"], 3).await;
        assert_eq!(statuses(&bodies), ["succeed", "processing", "submitted"]);
    }

    #[tokio::test]
    async fn an_early_one_is_there_before_the_reply() {
        let (_, bodies) = hears(&["--fault", "callback-early"], 0).await;
        assert_eq!(statuses(&bodies), ["submitted"]);
        let (_, bodies) = hears(&["--fault", "callback-early"], 3).await;
        assert_eq!(statuses(&bodies), ["submitted", "processing", "succeed"]);
    }

    #[tokio::test]
    async fn ids_can_be_the_upstreams_or_wrong_and_bodies_garbage() {
        let ids = |body: &str, sim: &Sim| {
            let body: Value = serde_json::from_str(body).unwrap();
            let ours = sim.model().tasks[0].task_id.to_string();
            (body["task_id"] == ours, body["task_info"]["external_task_id"] == "a")
        };
        let (sim, bodies) = hears(&[], 1).await;
        assert_eq!(ids(&bodies[0], &sim), (true, true));
        let (sim, bodies) = hears(&["--fault", "callback-upstream-id"], 1).await;
        assert_eq!(ids(&bodies[0], &sim), (false, true));
        let (sim, bodies) = hears(&["--fault", "callback-wrong-id"], 1).await;
        assert_eq!(ids(&bodies[0], &sim), (false, false));
        let (_, bodies) = hears(&["--fault", "callback-garbage"], 1).await;
        assert!(serde_json::from_str::<Value>(&bodies[0]).is_err());
    }

    #[tokio::test]
    async fn lost_ones_are_never_sent() {
        let (sim, _) = hears(&["--fault", "callback-lost"], 0).await;
        let task_id = sim.model().tasks[0].task_id;
        assert_eq!(sim.model().callbacks(task_id), None);
    }
}
