//! The provider, and the network before it: a POST that has left arrives whether its sender lives or not, and
//! everything that is accepted is charged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use comet_worker::job::answers::{
    AccountFault, AccountFaultKind, Failed, Later, Lookup, Refusal, ResultFile, SubmitOutcome, TaskStatus,
};
use comet_worker::job::route::Route;
use comet_worker::job::submission::Submission;
use comet_worker::job::{FileKind, SentUnder, TaskId};
use comet_worker::provider::Provider;
use fastrand::Rng;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::net::Link;
use super::script::{Fate, Job, Kind, LATEST_POST, Named, percent};
use super::world::name;

/// `generation.timeout_s`
pub const TIMEOUT: Duration = Duration::from_secs(900);
/// `api.submit_timeout_s`
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The owner of tasks that don't belong to our jobs.
pub const OTHERS: &str = "another-fleet";
/// The answer in place of a provider whose POST fails.
pub const BAD_GATEWAY: &str = "504 from a gateway";

/// The external id that the producer of that job names.
pub fn own_id(job: usize) -> String {
    format!("own-{job}")
}

/// The provider of all processes.
pub struct SharedProvider {
    kind: Kind,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    /// By the name in their prompts.
    jobs: BTreeMap<String, Job>,
    tasks: BTreeMap<String, Task>,
    /// POSTs in the net.
    under_way: usize,
    /// The next POST takes so long.
    delay: Option<Duration>,
    no_money_until: Instant,
    no_posts_until: Instant,
    queries: u32,
    /// The most images that were made at a time.
    running_max: u32,
}

#[derive(Debug, Clone)]
pub struct Task {
    external_task_id: String,
    /// The job that its prompt names; a task of another fleet belongs to none of our jobs.
    job: String,
    /// It arrived within what the quiet period allows for.
    pub in_time: bool,
    images: u32,
    made: Instant,
}

impl SharedProvider {
    pub fn new(kind: Kind, jobs: &[Job]) -> Self {
        let named = |(number, job): (usize, &Job)| (name(number), job.clone());
        let met = (0..).zip(jobs).filter(|(_, job)| job.named == Named::Met);
        let state = State {
            jobs: jobs.iter().enumerate().map(named).collect(),
            tasks: met.map(|(number, _)| (format!("{OTHERS}-{number}"), Task::of_others(number))).collect(),
            under_way: 0,
            delay: None,
            no_money_until: Instant::now(),
            no_posts_until: Instant::now(),
            queries: 0,
            running_max: 0,
        };
        Self { kind, start: Instant::now(), state: Mutex::new(state) }
    }

    pub fn delay_next_post(&self, by: Duration) {
        self.lock().delay = Some(by);
    }

    pub fn run_out_of_money(&self, length: Duration) {
        self.lock().no_money_until = Instant::now() + length;
    }

    pub fn answer_no_posts(&self, length: Duration) {
        self.lock().no_posts_until = Instant::now() + length;
    }

    pub fn heal(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        (state.delay, state.no_money_until, state.no_posts_until) = (None, now, now);
    }

    pub fn has_posts_under_way(&self) -> bool {
        self.lock().under_way > 0
    }

    /// The tasks that were charged for this job.
    pub fn tasks_of(&self, job: usize) -> Vec<Task> {
        let job = name(job);
        let of_job = |task: &&Task| task.job == job;
        self.lock().tasks.values().filter(of_job).cloned().collect()
    }

    /// The most images that were made at a time. A task that never ends counts as given up after a while.
    pub fn running_max(&self) -> u32 {
        self.lock().running_max
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A life that panics here is reported by its seed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `makes`: whether it makes a task while no POST is answered.
    fn receive(&self, post: &Post, in_time: bool, makes: bool) -> SubmitOutcome {
        let Post { external, job: named } = post;
        let mut state = self.lock();
        let (message, provider_code) = ("as drawn".to_owned(), None);
        if state.no_money_until > Instant::now() {
            return SubmitOutcome::Account(AccountFault { kind: AccountFaultKind::Money, message });
        }
        let unanswered = state.no_posts_until > Instant::now();
        let bad_gateway = || LinkedProvider::unknown(BAD_GATEWAY);
        if unanswered && !makes {
            return bad_gateway();
        }
        let exists = state.tasks.values().any(|task| task.external_task_id == *external);
        let job = state.jobs.get_mut(named).expect("a POST is for one of the jobs");
        let images = match job.fate {
            Fate::Refused => {
                return SubmitOutcome::Refused(Refusal {
                    content_policy: false,
                    no_model: false,
                    message,
                    provider_code,
                });
            }
            Fate::Invalid => panic!("a job that can't be submitted was submitted: {external}"),
            _ if job.later > 0 => {
                job.later -= 1;
                return SubmitOutcome::Later(Later {
                    message,
                    provider_code,
                    after: None,
                    this_job_only: false,
                });
            }
            Fate::Succeeds { images } => images,
            Fate::Fails | Fate::Never => 0,
        };
        if exists && self.kind == Kind::Refuses {
            let message = "this external_task_id exists".to_owned();
            return SubmitOutcome::Unknown { message, provider_code, exists: true };
        }
        let id = format!("task-{}", state.tasks.len() + 1);
        let made = Instant::now();
        let task = Task { external_task_id: external.clone(), job: named.clone(), in_time, images, made };
        state.tasks.insert(id.clone(), task);
        state.running_max = state.running_max.max(state.running());
        if unanswered { bad_gateway() } else { SubmitOutcome::Accepted(TaskId::new(&id).unwrap()) }
    }

    /// Finds any of several tasks under one id.
    fn find(&self, under: &SentUnder, dice: &mut Rng) -> Lookup {
        let state = self.lock();
        let is_found = |(_, task): &(&String, &Task)| {
            let found_after = state.jobs.get(&task.job).map_or(Duration::ZERO, |job| job.found_after);
            task.external_task_id == under.id.as_str() && task.made.elapsed() >= found_after
        };
        let found: Vec<_> = state.tasks.iter().filter(is_found).collect();
        if self.kind == Kind::Neither || found.is_empty() {
            return Lookup::NotFound { message: "task_not_exist".to_owned() };
        }
        let (id, task) = found[dice.usize(0..found.len())];
        // The other fleet's was made before all of ours.
        let made_ms = if task.job == OTHERS { 0 } else { self.clock_ms(task.made) };
        if under.takes(Some(made_ms)) {
            Lookup::Found(TaskId::new(id).unwrap())
        } else {
            Lookup::Another { message: "not this job's".to_owned() }
        }
    }

    /// Milliseconds since long ago.
    fn clock_ms(&self, at: Instant) -> i64 {
        let hour_ms = 3_600_000;
        hour_ms + i64::try_from(at.duration_since(self.start).as_millis()).unwrap()
    }

    fn look(&self, id: &TaskId) -> TaskStatus {
        let mut state = self.lock();
        state.queries += 1;
        let fresh = state.queries;
        let task = state.tasks.get(id.as_str()).expect("only what was made is looked at");
        let job = state.jobs.get(&task.job).expect("no job looks at another's task");
        let units = Some("8".to_owned());
        if task.made.elapsed() < job.generation || job.fate == Fate::Never {
            TaskStatus::Running
        } else if job.fate == Fate::Fails {
            TaskStatus::Failed { message: "no picture".to_owned(), why: Failed::Technical, units }
        } else {
            let url = |index| format!("https://cdn.example/{id}/{index}.png?signed={fresh}");
            let image = |index| ResultFile { kind: FileKind::Image, index, url: url(index).parse().unwrap() };
            TaskStatus::Succeeded { files: (0..task.images).map(image).collect(), units }
        }
    }
}

impl State {
    /// A task that came later than a POST can isn't counted.
    fn running(&self) -> u32 {
        let runs = |task: &&Task| {
            let Some(job) = self.jobs.get(&task.job) else { return false };
            let length = if job.fate == Fate::Never { TIMEOUT } else { job.generation };
            task.in_time && task.made.elapsed() < length
        };
        self.tasks.values().filter(runs).map(|task| task.images.max(1)).sum()
    }
}

impl Task {
    /// Another fleet's task, under the id that our job of that number is going to name.
    fn of_others(job: usize) -> Self {
        let external_task_id = own_id(job);
        Self { external_task_id, job: OTHERS.to_owned(), in_time: true, images: 1, made: Instant::now() }
    }
}

/// A POST, by its body.
struct Post {
    external: String,
    job: String,
}

/// One process's way to it.
pub struct LinkedProvider {
    pub link: Link,
    pub provider: Arc<SharedProvider>,
}

impl LinkedProvider {
    fn unknown(message: &str) -> SubmitOutcome {
        SubmitOutcome::Unknown { message: message.to_owned(), provider_code: None, exists: false }
    }

    fn unreachable() -> AccountFault {
        AccountFault { kind: AccountFaultKind::Unreachable, message: "cut off".to_owned() }
    }

    /// Sends the POST, which will arrive.
    fn send(
        &self,
        post: Post,
        takes: Duration,
        back: Duration,
        makes: bool,
    ) -> oneshot::Receiver<SubmitOutcome> {
        let (sender, receiver) = oneshot::channel();
        let (provider, link) = (Arc::clone(&self.provider), self.link.clone());
        provider.lock().under_way += 1;
        tokio::spawn(async move {
            sleep(takes).await;
            let answer = provider.receive(&post, takes <= LATEST_POST, makes);
            let external = &post.external;
            let came_to = match &answer {
                SubmitOutcome::Accepted(task) => format!("accepted {task} {external}"),
                SubmitOutcome::Later(_) => "later".to_owned(),
                SubmitOutcome::Account(_) => "no money".to_owned(),
                SubmitOutcome::Refused(_) => "refused".to_owned(),
                SubmitOutcome::Unknown { message, .. } => message.clone(),
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
    /// Nothing is awaited before it leaves, because the caller has just read the clock.
    async fn submit(&self, submission: &Submission) -> SubmitOutcome {
        let body: serde_json::Value =
            serde_json::from_slice(&submission.body().concat()).expect("a POST has a JSON body");
        let external = body["external_task_id"].as_str().expect("a POST has our id").to_owned();
        let job = body["prompt"].as_str().expect("its prompt names the job").to_owned();
        let mut dice = self.link.dice("POST", &external);
        self.link.net.note(self.link.process, "POST leaves", &external);
        if self.link.is_cut() {
            match dice.u64(0..3) {
                // No connection, so it can't have left.
                0 => return SubmitOutcome::Account(Self::unreachable()),
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
        let (back, makes) = (Duration::from_millis(dice.u64(20..=300)), percent(&mut dice, 50));
        let answered = self.send(Post { external, job }, takes, back, makes);
        match timeout(SUBMIT_TIMEOUT, answered).await {
            Ok(Ok(_)) if self.link.loses_answer() => Self::unknown("the answer was lost"),
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Self::unknown("no answer in time"),
        }
    }

    async fn query(&self, _: &Route, task: &TaskId) -> TaskStatus {
        let (provider, id) = (Arc::clone(&self.provider), task.clone());
        let answer = self.link.call("query", task.as_str(), async move { provider.look(&id) }).await;
        answer.unwrap_or_else(|_| TaskStatus::Unavailable {
            message: "no answer".to_owned(),
            fault: None,
            after: None,
        })
    }

    async fn lookup(&self, _: &Route, under: &SentUnder) -> Lookup {
        let (provider, of) = (Arc::clone(&self.provider), under.clone());
        let mut dice = self.link.dice("which of several", under.id.as_str());
        match self.link.call("look up", under.id.as_str(), async move { provider.find(&of, &mut dice) }).await
        {
            Ok(found) => found,
            Err(_) => Lookup::Unavailable { message: "no answer".to_owned(), fault: None, after: None },
        }
    }

    async fn clock_ms(&self) -> Option<i64> {
        let now = self.provider.clock_ms(Instant::now());
        self.link.call("ask for the time", "", async move { now }).await.ok()
    }

    async fn probe(&self) -> Result<(), AccountFault> {
        self.link.call("probe provider", "", async {}).await.map_err(|_| Self::unreachable())
    }
}
