//! How long tasks take is learned from the polls and shared with other workers, and it changes the polls.

use std::sync::Arc;
use std::time::Duration;

use comet_worker::job::answers::{Failed, TaskStatus};
use comet_worker::job::pace::{Ended, Pace, Schedule};
use comet_worker::job::route::{Route, RouteName};
use comet_worker::job::{Digest, Envelope, ExternalIds, Job, JobId, request};
use tokio::time::{Instant, sleep};

use crate::doubles::broker::Settled;
use crate::doubles::durations::MemoryDurations;
use crate::workbench::{Workbench, input, job, message, until};

const TOOK: Duration = Duration::from_millis(15_200);

/// Runs enough jobs for a schedule, all with the same duration.
async fn run(bench: &Workbench, name: &str, jobs: usize) {
    let deliveries: Vec<_> =
        (0..jobs).map(|number| bench.deliver(job(&format!("{name}-{number}")))).collect();
    for delivery in deliveries {
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
    }
}

fn polls_of_the_last(bench: &Workbench, jobs: usize) -> Vec<usize> {
    let mut tasks = bench.provider.tasks();
    tasks.sort_by_key(|task| task.made);
    tasks[tasks.len() - jobs..].iter().map(|task| task.polls.len()).collect()
}

fn of_model(model: &str, calls_back: bool) -> Job {
    let id: JobId = "a".parse().unwrap();
    Job {
        external_ids: ExternalIds::new(None, "", &id, &Digest::new(String::new())),
        id,
        digest: Digest::new(String::new()),
        operation: Some(RouteName::default_route().clone()),
        route: Some(Arc::new(Route::page())),
        slots: 1,
        model: model.to_owned(),
        calls_back,
        timeout_s: None,
        metadata: None,
        envelope: Envelope::default(),
    }
}

/// Whether anything is known of how long a job like this one takes.
fn knows_of(bench: &Workbench, job: &Job) -> bool {
    bench.shared.learning.schedule(job).is_some_and(|schedule| *schedule != Schedule::default())
}

fn ended(after_s: u64, until_s: u64) -> Ended {
    Ended { after: Duration::from_secs(after_s), until: Duration::from_secs(until_s) }
}

#[tokio::test(start_paused = true)]
async fn a_worker_learns_from_its_own_jobs_and_another_from_it() {
    let shared = MemoryDurations::default();
    let bench = Workbench::new();
    bench.provider.tasks_take(TOOK);
    run(&bench, "first", 40).await;
    let unlearned = polls_of_the_last(&bench, 1)[0];
    assert!(unlearned >= 6, "{unlearned} polls while nothing is known");
    for round in 0..5 {
        run(&bench, &format!("more-{round}"), 40).await;
    }
    let learned = polls_of_the_last(&bench, 40);
    assert!(learned.iter().sum::<usize>() <= 90, "without a word from Redis: {learned:?}");

    let other = bench.another();
    run(&other, "unheard", 1).await;
    let unheard = polls_of_the_last(&other, 1)[0];
    assert!(unheard >= 6, "{unheard} polls: what is known is the process's until it is told");
    bench.shared.learning.exchange(&shared).await;
    other.shared.learning.exchange(&shared).await;
    run(&other, "heard", 10).await;
    let heard = polls_of_the_last(&other, 10);
    assert!(heard.iter().sum::<usize>() <= 23, "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_its_post_is_looked_at_by_what_is_known_when_it_was_accepted() {
    let shared = MemoryDurations::default();
    let bench = Workbench::with(|options| options.submits_at_once = 1);
    bench.provider.tasks_take(TOOK);
    let place = bench.shared.submits.place().await;
    let delivery = bench.deliver(job("a"));
    sleep(Duration::from_secs(10)).await;
    let like_it = of_model("kling-v2", false);
    for _ in 0..100 {
        bench.shared.learning.saw(&like_it, ended(15, 15), false);
    }
    bench.shared.learning.exchange(&shared).await;
    drop(place);
    assert_eq!(delivery.ended().await, Some(Settled::Acked));
    let looks = polls_of_the_last(&bench, 1)[0];
    assert!(looks <= 2, "{looks}");
}

#[tokio::test(start_paused = true)]
async fn without_redis_a_worker_learns_alone_and_hears_of_the_others_later() {
    let shared = MemoryDurations::default();
    let bench = Workbench::new();
    let (learning, like_it) = (&bench.shared.learning, of_model("kling-v2", false));
    shared.go_away(true);
    for _ in 0..40 {
        learning.saw(&like_it, ended(15, 16), false);
    }
    learning.exchange(&shared).await;
    assert!(knows_of(&bench, &like_it), "its own jobs are enough");
    let alone = learning.schedule(&like_it);
    learning.exchange(&shared).await;
    assert_eq!(learning.schedule(&like_it), alone, "and nothing is lost while nothing is heard");

    shared.go_away(false);
    let other = Workbench::new();
    for _ in 0..400 {
        other.shared.learning.saw(&like_it, ended(40, 41), false);
    }
    other.shared.learning.exchange(&shared).await;
    learning.exchange(&shared).await;
    assert_eq!(learning.schedule(&like_it), other.shared.learning.schedule(&like_it));
}

#[tokio::test(start_paused = true)]
async fn models_are_learned_apart_and_only_those_in_use_are_asked_about() {
    let shared = MemoryDurations::default();
    let bench = Workbench::new();
    let learning = &bench.shared.learning;
    learning.exchange(&shared).await;
    assert_eq!(shared.calls(), 0, "nothing to do");
    for _ in 0..40 {
        learning.saw(&of_model("one", false), ended(15, 16), false);
    }
    assert!(!knows_of(&bench, &of_model("other", false)));
    learning.exchange(&shared).await;
    assert_eq!(shared.calls(), 2);
    assert!(knows_of(&bench, &of_model("one", false)));
    assert!(!knows_of(&bench, &of_model("other", false)));
    learning.exchange(&shared).await;
    learning.exchange(&shared).await;
    assert_eq!(shared.calls(), 4, "idle models are left alone");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_wrong_is_no_model_to_learn_of() {
    let shared = MemoryDurations::default();
    let bench = Workbench::new();
    for number in 0..50 {
        let input = serde_json::json!({"model_name": format!("made-up-{number}")});
        let wrong = serde_json::json!({"job_id": format!("wrong-{number}"), "input": input});
        bench.run(message(&wrong)).await;
    }
    bench.shared.learning.exchange(&shared).await;
    assert!(shared.calls() <= 1, "{}", shared.calls());
}

#[tokio::test(start_paused = true)]
async fn a_job_with_less_time_than_its_like_take_is_looked_at_when_that_is_over() {
    let bench = Workbench::new();
    bench.provider.tasks_take(TOOK);
    for _ in 0..100 {
        bench.shared.learning.saw(&of_model("kling-v2", false), ended(15, 15), false);
    }
    bench.shared.learning.exchange(&MemoryDurations::default()).await;
    let hasty = serde_json::json!({"job_id": "a", "timeout_s": 6, "input": input()});
    bench.run(message(&hasty)).await;
    let task = &bench.provider.tasks()[0];
    let looks: Vec<u64> = task.polls.iter().map(|at| (*at - task.made).as_secs()).collect();
    assert_eq!(looks, [6]);
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("timed_out"));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_pace_stays_fixed_whatever_is_known() {
    let second = Duration::from_secs(2);
    let bench = Workbench::with(|options| {
        options.settings.rules.pace = Pace { first: Duration::ZERO, min: second, max: second };
    });
    bench.provider.tasks_take(TOOK);
    let like_it = of_model("kling-v2", false);
    for _ in 0..100 {
        bench.shared.learning.saw(&like_it, ended(15, 15), false);
    }
    bench.shared.learning.exchange(&MemoryDurations::default()).await;
    bench.run(job("a")).await;
    let task = &bench.provider.tasks()[0];
    let looks: Vec<u64> = task.polls.iter().map(|at| (*at - task.made).as_secs()).collect();
    assert_eq!(looks, [0, 2, 4, 6, 8, 10, 12, 14, 16]);
}

#[tokio::test(start_paused = true)]
async fn looks_are_few_where_callbacks_come_and_come_back_when_those_stop() {
    let shared = MemoryDurations::default();
    let bench = Workbench::new();
    let learning = &bench.shared.learning;
    let (told, untold) = (of_model("kling-v2", true), of_model("kling-v2", false));
    let first = |job: &Job| {
        let schedule = learning.schedule(job).expect("the pace is not fixed");
        let pace = bench.shared.settings.rules.pace;
        schedule.wait(0, Duration::ZERO, &pace, comet_worker::job::pace::Seed::from_text("a"))
    };
    let see = async |called| {
        for number in 0..60 {
            // Between 10 and 20 s, by callbacks or by the looks alone.
            let at = 10 + number % 10;
            learning.saw(&told, ended(at, at + 1), called);
        }
        learning.exchange(&shared).await;
    };
    see(true).await;
    let (safety_net, alone) = (first(&told), first(&untold));
    assert!(safety_net > Duration::from_secs(17), "{safety_net:?}");
    assert!(alone < Duration::from_secs(14), "a job with a URL of its own: {alone:?}");
    see(false).await;
    see(false).await;
    assert!(first(&told) < Duration::from_secs(14), "{:?}", first(&told));
}

#[tokio::test(start_paused = true)]
async fn with_callbacks_a_job_takes_one_look() {
    let shared = MemoryDurations::default();
    let bench = Workbench::with(|options| {
        let callbacks = comet_worker::job::callback::Callbacks::new(
            &"https://hooks.example.com".parse().unwrap(),
            &"0123456789abcdef0123456789abcdef".to_owned().into(),
            "comet",
        );
        options.settings.request_rules =
            request::Rules { callbacks: Some(callbacks), ..options.settings.request_rules.clone() };
    });
    bench.provider.tasks_take(TOOK);
    for round in 0..6 {
        let names: Vec<String> = (0..20).map(|number| format!("{round}-{number}")).collect();
        let deliveries: Vec<_> = names.iter().map(|name| bench.deliver(job(name))).collect();
        bench.until_posted((round + 1) * 20).await;
        sleep(TOOK + Duration::from_millis(50)).await;
        for name in &names {
            bench.shared.hints.poll(name);
        }
        for delivery in deliveries {
            assert_eq!(delivery.ended().await, Some(Settled::Acked));
        }
        bench.shared.learning.exchange(&shared).await;
    }
    let polls = polls_of_the_last(&bench, 20);
    assert!(polls.iter().sum::<usize>() <= 30, "{polls:?}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_running_task_over_learns_nothing_from_an_end_that_it_finds() {
    let shared = MemoryDurations::default();
    let bench = Workbench::new();
    bench.provider.tasks_take(Duration::from_secs(30));
    for number in 0..30 {
        let name = format!("a-{number}");
        let delivery = bench.deliver(job(&name));
        bench.until_posted(number + 1).await;
        delivery.kill().await;
        sleep(Duration::from_secs(300)).await;
        let next = bench.another();
        next.run(job(&name)).await;
        next.shared.learning.exchange(&shared).await;
    }
    bench.shared.learning.exchange(&shared).await;
    assert!(!knows_of(&bench, &of_model("kling-v2", false)), "300 s are no duration");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_an_end_too() {
    let shared = MemoryDurations::default();
    let bench = Workbench::new();
    for number in 0..40 {
        let failed = TaskStatus::Failed { message: "no".to_owned(), why: Failed::Technical, units: None };
        bench.provider.show([TaskStatus::Running, failed]);
        bench.run(job(&format!("a-{number}"))).await;
    }
    bench.shared.learning.exchange(&shared).await;
    assert!(knows_of(&bench, &of_model("kling-v2", false)));
}

#[tokio::test(start_paused = true)]
async fn the_exchange_goes_on_beside_the_jobs_until_the_stop() {
    let shared = Arc::new(MemoryDurations::default());
    let bench = Workbench::new();
    let (learning, stop) = (bench.shared.learning.clone(), bench.stop.clone());
    let sharing = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move {
            let heartbeat =
                comet_worker::heartbeat::Heartbeats::new().register("learning", Duration::from_secs(60));
            learning.share(shared.as_ref(), &heartbeat, &stop).await;
        }
    });
    assert!(!knows_of(&bench, &of_model("kling-v2", false)));
    let met = Instant::now();
    until("the first question", || shared.calls() == 1).await;
    assert!(met.elapsed() < Duration::from_secs(1), "before the first look: {:?}", met.elapsed());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(shared.calls(), 1, "an idle worker asks nothing");
    bench.shared.learning.saw(&of_model("kling-v2", false), ended(15, 16), false);
    until("the news are told", || shared.calls() == 2).await;
    bench.stop.cancel();
    sharing.await.unwrap();
}
