//! A job is submitted and polled at the route that it names, and at no other.

use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::record::{Nonce, Stage};
use comet_worker::job::request::{self, Properties};
use comet_worker::job::route::RouteName;
use comet_worker::job::step::BeginPrecondition;
use comet_worker::job::{FailedTasks, Job, TaskId};
use comet_worker::ledger::slots::Slots;
use comet_worker::ledger::{JobRef, Ledger as _};
use comet_worker::queue::consume::Message;
use serde_json::{Value, json};

use crate::doubles::broker::Settled;
use crate::workbench::{Workbench, input, job, message};

fn of_operation(operation: &Value) -> Message {
    message(&json!({"job_id": "a", "operation": operation, "input": input()}))
}

#[tokio::test(start_paused = true)]
async fn the_default_route_may_be_named_and_is_the_same_job() {
    let bench = Workbench::new();
    bench.run(job("a")).await;
    for same in [of_operation(&json!("multi_image_to_image")), of_operation(&Value::Null)] {
        assert_eq!(bench.run(same).await, Some(Settled::Acked));
    }
    assert_eq!(bench.provider.posts().len(), 1);
    assert!(bench.broker.queue("comet.jobs.dead").is_empty());
    let event: Value = serde_json::from_slice(&bench.broker.ends("a")[0]).unwrap();
    assert_eq!(event["data"]["operation"], "multi_image_to_image");
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_route_that_there_is_not_hears_so_and_is_never_posted() {
    for operation in [json!("dance"), json!(7), json!("")] {
        let bench = Workbench::new();
        assert_eq!(bench.run(of_operation(&operation)).await, Some(Settled::Acked));
        let end = bench.broker.end("a");
        assert_eq!((end.kind(), end.reason.as_deref()), (Some(EventKind::Failed), Some("invalid_request")));
        assert_eq!(end.faults.len(), 1, "{:?}", end.faults);
        assert_eq!(end.faults[0].path, "/operation");
        assert!(end.faults[0].message.contains("multi_image_to_image"), "{:?}", end.faults);
        assert!(bench.provider.posts().is_empty());
        // The same input for a route that there is takes its place, since nothing was paid.
        assert_eq!(bench.run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.charges("a"), 1, "{operation}");
    }
}

/// A newer worker knows more routes. Its running task is polled nowhere else, and the job gets no outcome here.
#[tokio::test(start_paused = true)]
async fn a_job_that_runs_at_a_route_that_this_worker_does_not_know_goes_back_to_the_queue() {
    let newer = of_operation(&json!("dance"));
    let rules = request::Rules::page();
    let known: Job = request::parse(&newer.body, &Properties::default(), &rules).unwrap().job;
    for runs in [false, true] {
        let bench = Workbench::new();
        let route = RouteName::new("dance");
        let entry = JobRef {
            job: &known.id,
            digest: &known.digest,
            route: &route,
            round: 1,
            failed: FailedTasks::none(),
            under: None,
            slots: Slots { count: 1, keep: Duration::from_secs(900) },
        };
        let nonce = Nonce::new("n".to_owned());
        bench.memory.begin(entry, 1, &nonce, &BeginPrecondition::Read).await.unwrap();
        if runs {
            bench.memory.accept(entry, 1, &TaskId::new("t-1").unwrap()).await.unwrap();
        }
        let before = bench.stage("a").await;
        assert_eq!(bench.run(of_operation(&json!("dance"))).await, Some(Settled::HandedBack));
        assert!(bench.measures("comet_handed_back_total{why=\"unknown_route\"} 1"));
        assert!(bench.broker.ends("a").is_empty() && bench.provider.posts().is_empty());
        assert!(bench.provider.lookups().is_empty());
        match (bench.stage("a").await, before) {
            (Some(Stage::Generating { task, .. }), Some(Stage::Generating { .. })) => {
                assert_eq!(task.as_str(), "t-1");
            }
            (now, before) => assert_eq!(now, before),
        }
    }
}
