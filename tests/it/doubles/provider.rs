//! The provider: a model with state. It finds nothing by our external id unless told to, and refuses no repetition.
//! So a job that is posted twice is paid for twice, and [`FakeProvider::charges`] shows it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use comet_worker::job::answers::{
    AccountFault, AccountFaultKind, Failed, Later, Lookup, Refusal, ResultFile, SubmitOutcome, TaskStatus,
};
use comet_worker::job::route::{Route, RouteName};
use comet_worker::job::submission::Submission;
use comet_worker::job::{FileKind::Image, SentUnder, TaskId};
use comet_worker::provider::Provider;
use tokio::sync::watch;
use tokio::time::Instant;

use super::effects::Effects;

/// The result of one POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Accept,
    Later(Option<Duration>),
    /// No channel has this job's model, so this job alone waits this long.
    NoChannel(Duration),
    Account(AccountFaultKind),
    Refuse {
        content_policy: bool,
    },
    /// The answer says that a task with this external id exists.
    Exists,
    /// The answer is lost; `made` says whether the task exists.
    Lost {
        made: bool,
    },
}

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Succeeds,
    Fails,
    /// It succeeds without images.
    Empty,
    /// It never ends.
    Never,
}

/// A task, as the provider has it.
#[derive(Debug, Clone)]
pub struct Task {
    pub external_task_id: String,
    /// It is known at no other route.
    route: RouteName,
    pub polls: Vec<Instant>,
    images: u32,
    pub made: Instant,
    end: End,
}

/// A POST, as it came in.
#[derive(Debug, Clone)]
pub struct Post {
    pub external_task_id: String,
    pub at: Instant,
    pub body: serde_json::Value,
}

type Program = Box<dyn FnMut(&str) -> (Reply, End) + Send>;

pub struct FakeProvider {
    state: Mutex<State>,
    effects: Effects,
    posts_held: watch::Sender<bool>,
}

struct State {
    program: Program,
    replies: VecDeque<Reply>,
    views: VecDeque<TaskStatus>,
    standing_fault: Option<AccountFaultKind>,
    probes: Vec<Instant>,
    posts: Vec<Post>,
    tasks: BTreeMap<String, Task>,
    generation: Duration,
    /// The durations of tasks that differ from the default, by external id.
    others: BTreeMap<String, Duration>,
    /// How many polls of a task make the worker panic, by external id.
    panics: BTreeMap<String, u32>,
    queries: u32,
    cut_off: bool,
    /// Tasks are found by their external id this long after they were made.
    finds_after: Option<Duration>,
    lookups: Vec<Instant>,
    tells_its_clock: bool,
    fails: Failed,
}

/// From the arrival of a POST to its answer.
const POST_TIME: Duration = Duration::from_millis(240);

/// The provider's clock: milliseconds since a time long ago.
fn since_start(at: Instant) -> i64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let hour_ms = 3_600_000;
    hour_ms + i64::try_from(at.saturating_duration_since(*START).as_millis()).unwrap()
}

impl FakeProvider {
    pub fn new(effects: Effects) -> Self {
        let state = State {
            program: Box::new(|_| (Reply::Accept, End::Succeeds)),
            replies: VecDeque::new(),
            views: VecDeque::new(),
            standing_fault: None,
            probes: Vec::new(),
            posts: Vec::new(),
            tasks: BTreeMap::new(),
            generation: Duration::from_secs(20),
            others: BTreeMap::new(),
            panics: BTreeMap::new(),
            queries: 0,
            cut_off: false,
            finds_after: None,
            lookups: Vec::new(),
            tells_its_clock: true,
            fails: Failed::Technical,
        };
        Self { state: Mutex::new(state), effects, posts_held: watch::Sender::new(false) }
    }

    /// Sets the results of the next POSTs; later ones follow the program.
    pub fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.lock().replies.extend(replies);
    }

    /// `program` decides, by external id, the result of each POST and the end of its task.
    pub fn program(&self, program: impl FnMut(&str) -> (Reply, End) + Send + 'static) {
        self.lock().program = Box::new(program);
    }

    /// Sets how all tasks end.
    pub fn tasks_end(&self, end: End) {
        self.program(move |_| (Reply::Accept, end));
    }

    /// How long a task runs.
    pub fn tasks_take(&self, generation: Duration) {
        self.lock().generation = generation;
    }

    /// How long the task of that external id runs.
    pub fn task_takes(&self, external_task_id: &str, generation: Duration) {
        self.lock().others.insert(external_task_id.to_owned(), generation);
    }

    /// Makes the next polls of the task with this external id panic, like a fault of the worker.
    pub fn panic_at_looks(&self, external_task_id: &str, times: u32) {
        self.lock().panics.insert(external_task_id.to_owned(), times);
    }

    /// Sets what the next queries return; later ones return the truth.
    pub fn show(&self, views: impl IntoIterator<Item = TaskStatus>) {
        self.lock().views.extend(views);
    }

    /// Sets whether queries get no answer.
    pub fn cut_off(&self, cut_off: bool) {
        self.lock().cut_off = cut_off;
    }

    /// Sets whether tasks are found by their external id from now on.
    pub fn find_by_external_id(&self, finds: bool) {
        self.lock().finds_after = finds.then_some(Duration::ZERO);
    }

    /// Lets tasks be found by their external id this long after they were made.
    pub fn find_late(&self, after: Duration) {
        self.lock().finds_after = Some(after);
    }

    /// Sets why tasks fail.
    pub fn tasks_fail(&self, why: Failed) {
        self.lock().fails = why;
    }

    /// Leaves the date out of its replies.
    pub fn hide_its_clock(&self) {
        self.lock().tells_its_clock = false;
    }

    /// The times of the look-ups by external id.
    pub fn lookups(&self) -> Vec<Instant> {
        self.lock().lookups.clone()
    }

    /// Sets what [`Provider::probe`] returns from now on.
    pub fn stand(&self, fault: Option<AccountFaultKind>) {
        self.lock().standing_fault = fault;
    }

    /// From now on POSTs arrive and are not answered, until [`Self::release_posts`].
    pub fn hold_posts(&self) {
        self.posts_held.send_replace(true);
    }

    pub fn release_posts(&self) {
        self.posts_held.send_replace(false);
    }

    /// How often all tasks together have been polled.
    pub fn polls(&self) -> usize {
        self.lock().tasks.values().map(|task| task.polls.len()).sum()
    }

    pub fn posts(&self) -> Vec<Post> {
        self.lock().posts.clone()
    }

    /// The tasks, in no particular order.
    pub fn tasks(&self) -> Vec<Task> {
        self.lock().tasks.values().cloned().collect()
    }

    pub fn probes(&self) -> Vec<Instant> {
        self.lock().probes.clone()
    }

    /// How many generations were made and paid for, by external id.
    pub fn charges(&self) -> BTreeMap<String, u32> {
        let mut charges = BTreeMap::new();
        for task in self.lock().tasks.values() {
            *charges.entry(task.external_task_id.clone()).or_default() += 1;
        }
        charges
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, submission: &Submission) -> SubmitOutcome {
        let answer = self.lock().receive(submission);
        tokio::time::sleep(POST_TIME).await;
        // `self` holds the sender, so this wait can't end early.
        let _ = self.posts_held.subscribe().wait_for(|held| !held).await;
        answer
    }
}

impl State {
    fn find(&mut self, route: &RouteName, under: &SentUnder) -> Lookup {
        self.lookups.push(Instant::now());
        if self.cut_off {
            return Lookup::Unavailable { message: "cut off".to_owned(), fault: None, after: None };
        }
        let finds_after = self.finds_after.unwrap_or(Duration::MAX);
        let found = self.tasks.iter().find(|(_, task)| {
            task.external_task_id == under.id.as_str()
                && task.route == *route
                && task.made.elapsed() >= finds_after
        });
        match found {
            Some((_, task)) if !under.takes(Some(since_start(task.made))) => {
                Lookup::Another { message: "not this job's".to_owned() }
            }
            Some((id, _)) => Lookup::Found(TaskId::new(id).unwrap()),
            None => Lookup::NotFound { message: "task_not_exist".to_owned() },
        }
    }

    fn receive(&mut self, submission: &Submission) -> SubmitOutcome {
        let body = submission.body().concat();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("a POST has a JSON body");
        let route = &submission.route.name;
        let external_task_id = body["external_task_id"].as_str().expect("a POST has our id").to_owned();
        let post =
            Post { external_task_id: external_task_id.clone(), at: Instant::now(), body: body.clone() };
        self.posts.push(post);
        let (programmed, end) = (self.program)(&external_task_id);
        let reply = self.replies.pop_front().unwrap_or(programmed);
        let images = u32::try_from(body["n"].as_u64().unwrap_or(1)).unwrap();
        let (message, provider_code) = ("as scripted".to_owned(), None);
        match reply {
            Reply::Accept => SubmitOutcome::Accepted(self.make(&external_task_id, route, images, end)),
            Reply::Later(after) => {
                SubmitOutcome::Later(Later { message, provider_code, after, this_job_only: false })
            }
            Reply::NoChannel(after) => SubmitOutcome::Later(Later {
                message,
                provider_code,
                after: Some(after),
                this_job_only: true,
            }),
            Reply::Account(kind) => SubmitOutcome::Account(AccountFault { kind, message }),
            Reply::Refuse { content_policy } => {
                SubmitOutcome::Refused(Refusal { content_policy, no_model: false, message, provider_code })
            }
            Reply::Exists => SubmitOutcome::Unknown { message, provider_code, exists: true },
            Reply::Lost { made } => {
                if made {
                    self.make(&external_task_id, route, images, end);
                }
                SubmitOutcome::Unknown { message, provider_code, exists: false }
            }
        }
    }

    fn make(&mut self, external_task_id: &str, route: &RouteName, images: u32, end: End) -> TaskId {
        let id = format!("task-{}", self.tasks.len() + 1);
        let (external_task_id, route) = (external_task_id.to_owned(), route.clone());
        let task = Task { external_task_id, route, polls: Vec::new(), images, made: Instant::now(), end };
        self.tasks.insert(id.clone(), task);
        TaskId::new(&id).unwrap()
    }

    fn panics_at(&mut self, id: &TaskId) -> bool {
        let Some(task) = self.tasks.get(id.as_str()) else { return false };
        let Some(left) = self.panics.get_mut(&task.external_task_id) else { return false };
        let panics = *left > 0;
        *left = left.saturating_sub(1);
        panics
    }

    fn look(&mut self, route: &RouteName, id: &TaskId) -> TaskStatus {
        self.queries += 1;
        let fresh = self.queries;
        let cut_off = self.cut_off;
        let no_answer =
            || TaskStatus::Unavailable { message: "no answer".to_owned(), fault: None, after: None };
        let Some(task) = self.tasks.get_mut(id.as_str()).filter(|task| task.route == *route) else {
            return if cut_off {
                no_answer()
            } else {
                TaskStatus::NotFound { message: "never made".to_owned() }
            };
        };
        task.polls.push(Instant::now());
        if cut_off {
            return no_answer();
        }
        if let Some(view) = self.views.pop_front() {
            return view;
        }
        let generation = self.others.get(&task.external_task_id).unwrap_or(&self.generation);
        if task.made.elapsed() < *generation {
            return TaskStatus::Running;
        }
        let units = Some("8".to_owned());
        match task.end {
            End::Never => TaskStatus::Running,
            End::Fails => TaskStatus::Failed { message: "no picture".to_owned(), why: self.fails, units },
            End::Empty => TaskStatus::Succeeded { files: Vec::new(), units },
            End::Succeeds => {
                // Each poll returns freshly signed URLs.
                let url = |index| format!("https://cdn.example/{id}/{index}.png?signed={fresh}");
                let image = |index| ResultFile { kind: Image, index, url: url(index).parse().unwrap() };
                TaskStatus::Succeeded { files: (0..task.images).map(image).collect(), units }
            }
        }
    }
}

#[async_trait]
impl Provider for FakeProvider {
    async fn submit(&self, submission: &Submission) -> SubmitOutcome {
        self.effects.act("post", self.answer(submission)).await
    }

    async fn query(&self, route: &Route, task: &TaskId) -> TaskStatus {
        tokio::time::sleep(Duration::from_millis(80)).await;
        let panics = self.lock().panics_at(task);
        assert!(!panics, "as scripted for {task}");
        self.lock().look(&route.name, task)
    }

    async fn lookup(&self, route: &Route, under: &SentUnder) -> Lookup {
        self.effects
            .act_unlisted("look up", async {
                tokio::time::sleep(Duration::from_millis(80)).await;
                self.lock().find(&route.name, under)
            })
            .await
    }

    async fn clock_ms(&self) -> Option<i64> {
        self.lock().tells_its_clock.then(|| since_start(Instant::now()))
    }

    async fn probe(&self) -> Result<(), AccountFault> {
        let mut state = self.lock();
        state.probes.push(Instant::now());
        match state.standing_fault {
            None => Ok(()),
            Some(kind) => Err(AccountFault { kind, message: "it still stands".to_owned() }),
        }
    }
}
