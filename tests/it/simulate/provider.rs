//! The provider and the net before it: a POST that has left arrives whether or not its sender lives,
//! and everything that is accepted is on the bill.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::job::{SentUnder, TaskId};
use comet_worker::provider::{
    AccountFault, AccountFaultKind, Answer, Failed, Later, Lookup, Provider, Refusal, ResultImage, View,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::net::Link;
use super::script::{Fate, Job, Kind, LATEST_POST, percent};

/// `generation.timeout_s`
pub const TIMEOUT: Duration = Duration::from_secs(900);
/// `api.submit_timeout_s`
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The provider of all processes.
pub struct SharedProvider {
    kind: Kind,
    state: Mutex<State>,
}

struct State {
    /// By external id.
    jobs: BTreeMap<String, Job>,
    tasks: BTreeMap<String, Task>,
    /// POSTs in the net.
    under_way: usize,
    /// The next POST takes so long.
    delay: Option<Duration>,
    no_money_until: Instant,
    queries: u32,
    /// So many images were made at a time, at most.
    running_max: u32,
}

#[derive(Debug, Clone)]
pub struct Task {
    pub external_task_id: String,
    /// It arrived within what the quiet period allows for.
    pub in_time: bool,
    images: u32,
    made: Instant,
}

impl SharedProvider {
    pub fn new(kind: Kind, jobs: BTreeMap<String, Job>) -> Self {
        let state = State {
            jobs,
            tasks: BTreeMap::new(),
            under_way: 0,
            delay: None,
            no_money_until: Instant::now(),
            queries: 0,
            running_max: 0,
        };
        Self { kind, state: Mutex::new(state) }
    }

    pub fn delay_next_post(&self, by: Duration) {
        self.lock().delay = Some(by);
    }

    pub fn run_out_of_money(&self, length: Duration) {
        self.lock().no_money_until = Instant::now() + length;
    }

    pub fn heal(&self) {
        let mut state = self.lock();
        (state.delay, state.no_money_until) = (None, Instant::now());
    }

    pub fn has_posts_under_way(&self) -> bool {
        self.lock().under_way > 0
    }

    /// The bill.
    pub fn tasks_of(&self, external_task_id: &str) -> Vec<Task> {
        let of_job = |task: &&Task| task.external_task_id == external_task_id;
        self.lock().tasks.values().filter(of_job).cloned().collect()
    }

    /// So many images were made at a time, at most. One that never ends is given up by then.
    pub fn running_max(&self) -> u32 {
        self.lock().running_max
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A life that panics here is reported by its seed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, external: &str, in_time: bool) -> Answer {
        let mut state = self.lock();
        let (message, provider_code) = ("as drawn".to_owned(), None);
        if state.no_money_until > Instant::now() {
            return Answer::Account(AccountFault { kind: AccountFaultKind::Money, message });
        }
        let exists = state.tasks.values().any(|task| task.external_task_id == external);
        let job = state.jobs.get_mut(external).expect("a POST is for one of the jobs");
        let images = match job.fate {
            Fate::Refused => {
                return Answer::Refused(Refusal {
                    content_policy: false,
                    no_model: false,
                    message,
                    provider_code,
                });
            }
            Fate::Invalid => panic!("a job that can't be submitted was submitted: {external}"),
            _ if job.later > 0 => {
                job.later -= 1;
                return Answer::Later(Later { message, provider_code, after: None, this_job_only: false });
            }
            Fate::Succeeds { images } => images,
            Fate::Fails | Fate::Never => 0,
        };
        if exists && self.kind == Kind::Refuses {
            let message = "this external_task_id exists".to_owned();
            return Answer::Unknown { message, provider_code, exists: true };
        }
        let id = format!("task-{}", state.tasks.len() + 1);
        let task = Task { external_task_id: external.to_owned(), in_time, images, made: Instant::now() };
        state.tasks.insert(id.clone(), task);
        state.running_max = state.running_max.max(state.running());
        Answer::Accepted(TaskId::new(&id).unwrap())
    }

    fn find(&self, external: &str) -> Option<TaskId> {
        let state = self.lock();
        let found_after = state.jobs.get(external)?.found_after;
        let is_found = |task: &Task| task.external_task_id == external && task.made.elapsed() >= found_after;
        let found = state.tasks.iter().find(|(_, task)| is_found(task)).map(|(id, _)| id);
        if self.kind == Kind::Neither { None } else { TaskId::new(found?) }
    }

    fn look(&self, id: &TaskId) -> View {
        let mut state = self.lock();
        state.queries += 1;
        let fresh = state.queries;
        let task = state.tasks.get(id.as_str()).expect("only what was made is looked at");
        let job = &state.jobs[&task.external_task_id];
        let units = Some("8".to_owned());
        if task.made.elapsed() < job.generation || job.fate == Fate::Never {
            View::Running
        } else if job.fate == Fate::Fails {
            View::Failed { message: "no picture".to_owned(), why: Failed::Technical, units }
        } else {
            let url = |index| format!("https://cdn.example/{id}/{index}.png?signed={fresh}");
            let image = |index| ResultImage { index, url: url(index).parse().unwrap() };
            View::Succeeded { images: (0..task.images).map(image).collect(), units }
        }
    }
}

impl State {
    /// What came later than a POST can is nobody's to count.
    fn running(&self) -> u32 {
        let runs = |task: &&Task| {
            let job = &self.jobs[&task.external_task_id];
            let length = if job.fate == Fate::Never { TIMEOUT } else { job.generation };
            task.in_time && task.made.elapsed() < length
        };
        self.tasks.values().filter(runs).map(|task| task.images.max(1)).sum()
    }
}

/// One process's way to it.
pub struct LinkedProvider {
    pub link: Link,
    pub provider: Arc<SharedProvider>,
}

impl LinkedProvider {
    fn unknown(message: &str) -> Answer {
        Answer::Unknown { message: message.to_owned(), provider_code: None, exists: false }
    }

    fn unreachable() -> AccountFault {
        AccountFault { kind: AccountFaultKind::Unreachable, message: "cut off".to_owned() }
    }

    /// It leaves, and will arrive.
    fn send(&self, external: String, takes: Duration, back: Duration) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let (provider, link) = (Arc::clone(&self.provider), self.link.clone());
        provider.lock().under_way += 1;
        tokio::spawn(async move {
            sleep(takes).await;
            let answer = provider.receive(&external, takes <= LATEST_POST);
            let came_to = match &answer {
                Answer::Accepted(task) => format!("accepted {task} {external}"),
                Answer::Later(_) => "later".to_owned(),
                Answer::Account(_) => "no money".to_owned(),
                Answer::Refused(_) => "refused".to_owned(),
                Answer::Unknown { message, .. } => message.clone(),
            };
            link.net.note(link.process, "POST arrives", came_to);
            provider.lock().under_way -= 1;
            sleep(back).await;
            // Its sender may be dead.
            let _ = sender.send(answer);
        });
        receiver
    }
}

#[async_trait]
impl Provider for LinkedProvider {
    /// Nothing is awaited before it leaves: the caller has just looked at the clock.
    async fn submit(&self, body: Bytes) -> Answer {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("a POST has a JSON body");
        let external = body["external_task_id"].as_str().expect("a POST has our id").to_owned();
        let mut dice = self.link.dice("POST", &external);
        self.link.net.note(self.link.process, "POST leaves", &external);
        if self.link.is_cut() {
            match dice.u64(0..3) {
                // No connection, so it can't have left.
                0 => return Answer::Account(Self::unreachable()),
                // It got no further.
                1 => {
                    sleep(SUBMIT_TIMEOUT).await;
                    return Self::unknown("no answer");
                }
                _ => {}
            }
        }
        let delay = self.provider.lock().delay.take();
        let usual = if percent(&mut dice, 90) { dice.u64(20..=300) } else { dice.u64(300..=5_000) };
        let takes = delay.unwrap_or(Duration::from_millis(usual));
        let answered = self.send(external, takes, Duration::from_millis(dice.u64(20..=300)));
        match timeout(SUBMIT_TIMEOUT, answered).await {
            Ok(Ok(_)) if self.link.loses_answer() => Self::unknown("the answer was lost"),
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Self::unknown("no answer in time"),
        }
    }

    async fn query(&self, task: &TaskId) -> View {
        let (provider, id) = (Arc::clone(&self.provider), task.clone());
        let answer = self.link.call("query", task.as_str(), async move { provider.look(&id) }).await;
        answer.unwrap_or_else(|_| View::Unavailable {
            message: "no answer".to_owned(),
            fault: None,
            after: None,
        })
    }

    async fn lookup(&self, under: &SentUnder) -> Lookup {
        let (provider, id) = (Arc::clone(&self.provider), under.id.as_str().to_owned());
        match self.link.call("look up", under.id.as_str(), async move { provider.find(&id) }).await {
            Ok(Some(task)) => Lookup::Found(task),
            Ok(None) => Lookup::NotFound { message: "task_not_exist".to_owned() },
            Err(_) => Lookup::Unavailable { message: "no answer".to_owned(), fault: None, after: None },
        }
    }

    async fn clock_ms(&self) -> Option<i64> {
        None
    }

    async fn probe(&self) -> Result<(), AccountFault> {
        self.link.call("probe provider", "", async {}).await.map_err(|_| Self::unreachable())
    }
}
