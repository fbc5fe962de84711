//! A job is submitted and polled at the route that it names, and at no other.

use std::sync::Arc;
use std::time::Duration;

use comet_worker::job::event::EventKind;
use comet_worker::job::route::{Certainty, Check, Edition, Field, PictureRules, Route, RouteData, RouteName};
use comet_worker::job::{FileKind, request};
use comet_worker::queue::consume::Message;
use comet_worker::worker::Settings;
use serde_json::{Value, json};

use crate::doubles::broker::Settled;
use crate::doubles::effects::Side;
use crate::doubles::provider::Reply;
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

/// A route that only some workers know.
static PORTRAIT: RouteData = RouteData {
    name: "portrait",
    about: "One picture of one subject.",
    submit_path: "/kling/v1/images/portraits",
    query_path: "/kling/v1/images/portraits/{task_id}",
    other_query_path: None,
    editions: &[&Edition { profile: "", models: &["p-1"], default_model: "p-1", subject_images: 0..=0 }],
    fields: &[
        Field::required("image", Check::Picture, ""),
        Field::optional("model_name", Check::Model, ""),
        Field::optional("external_task_id", Check::ExternalTaskId, ""),
    ],
    scene_names: &[],
    together: &[],
    picture: PictureRules { url_bytes_max: 8192, bytes_max: 1024, side_px_min: 1, ratio_tenths_max: 25 },
    makes: &[FileKind::Image],
    slots: 1,
    certainty: Certainty::Guessed,
};

fn portrait(id: &str) -> Message {
    let input = json!({"image": "https://example.com/a.png"});
    message(&json!({"job_id": id, "operation": "portrait", "input": input}))
}

/// Workers that know the route; [`older`] ones don't.
fn newer() -> Workbench {
    Workbench::with(|options| {
        let routes = options.settings.request_rules.routes.clone();
        let route = Route::of(&PORTRAIT, PORTRAIT.edition("page"));
        options.settings.request_rules.routes = routes.and(route);
    })
}

fn older(bench: &Workbench) -> Workbench {
    let mut older = bench.another();
    let settings = (*older.shared.settings).clone();
    older.shared.settings = Arc::new(Settings { request_rules: request::Rules::page(), ..settings });
    older
}

/// How many generations were paid for.
fn paid(bench: &Workbench) -> u32 {
    bench.provider.charges().values().sum()
}

async fn goes_back(bench: &Workbench) {
    let posts = bench.provider.posts().len();
    let older = older(bench);
    assert_eq!(older.run(portrait("a")).await, Some(Settled::HandedBack));
    assert!(older.measures("comet_handed_back_total{why=\"unknown_route\"} 1"));
    assert_eq!(bench.provider.posts().len(), posts);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_posted_looked_up_and_polled_at_its_route_which_is_noted_everywhere() {
    for lost in [false, true] {
        let bench = newer();
        if lost {
            bench.provider.reply([Reply::Lost { made: true }]);
            bench.provider.find_late(Duration::from_secs(1));
        }
        let delivery = bench.deliver(portrait("a"));
        bench.until_polled(1).await;
        assert_eq!(bench.record("a").await.unwrap().route, RouteName::new("portrait"));
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert_eq!((paid(&bench), bench.provider.posts().len()), (1, 1));
        assert_eq!(bench.provider.posts()[0].body["model_name"], "p-1");

        let intent = bench.store.receipt("a", "intent-1").await.unwrap();
        let intent: Value = serde_json::from_slice(&intent).unwrap();
        let event: Value = serde_json::from_slice(&bench.broker.ends("a")[0]).unwrap();
        assert_eq!((&intent["route"], &event["data"]["operation"]), (&json!("portrait"), &json!("portrait")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_input_at_another_route_is_another_job() {
    let bench = newer();
    bench.run(portrait("a")).await;
    let input = json!({"image": "https://example.com/a.png"});
    assert_eq!(bench.run(message(&json!({"job_id": "a", "input": input}))).await, Some(Settled::Acked));
    assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 1, "a conflict");
    assert_eq!(bench.broker.ends("a").len(), 1);
}

/// An older worker polls its task nowhere else, and gives the job no outcome.
#[tokio::test(start_paused = true)]
async fn a_job_of_a_route_that_this_worker_does_not_know_goes_back_to_the_queue_while_another_may_be_at_it() {
    for flushed in [false, true] {
        let bench = newer();
        // Its POST is under way.
        let mut accepting = bench.effects.hold("post", Side::After);
        let delivery = bench.deliver(portrait("a"));
        accepting.reached().await;
        goes_back(&bench).await;
        drop(accepting);
        // Its task runs.
        bench.until_polled(1).await;
        if flushed {
            bench.flush();
        }
        goes_back(&bench).await;
        assert!(bench.broker.ends("a").is_empty());
        assert_eq!(delivery.ended().await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").kind(), Some(EventKind::Succeeded));
        assert_eq!(paid(&bench), 1);
        // It has ended, which any worker can say again.
        assert_eq!(older(&bench).run(portrait("a")).await, Some(Settled::Acked));
        assert_eq!(bench.broker.ends("a").len(), 2);
        assert_eq!(bench.broker.ends("a")[0], bench.broker.ends("a")[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_task_is_left_to_a_worker_that_knows_its_route() {
    let bench = newer();
    let mut accepting = bench.effects.hold("post", Side::After);
    let frozen = bench.deliver(portrait("a"));
    accepting.reached().await;
    assert_eq!(bench.another().run(portrait("a")).await, Some(Settled::Acked));
    assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
    bench.lost.cancel();
    drop(accepting);
    assert_eq!(frozen.ended().await, None);
    goes_back(&bench).await;
    assert!(bench.broker.corrections("a").is_empty());
    assert_eq!(bench.another().run(portrait("a")).await, Some(Settled::Acked));
    let [correction] = bench.broker.corrections("a").try_into().unwrap();
    let correction: Value = serde_json::from_slice(&correction).unwrap();
    assert_eq!((&correction["type"], paid(&bench)), (&json!("comet.job.succeeded"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_route_that_there_is_not_under_the_id_of_another_job_is_a_conflict_also_when_redis_has_lost_it() {
    for flushed in [false, true] {
        let bench = Workbench::new();
        bench.run(job("a")).await;
        if flushed {
            bench.flush();
        }
        assert_eq!(
            bench.run(of_operation(&json!("dance"))).await,
            Some(Settled::Acked),
            "flushed: {flushed}"
        );
        assert_eq!(bench.broker.queue("comet.jobs.dead").len(), 1, "flushed: {flushed}");
        assert_eq!(bench.broker.ends("a").len(), 1);
    }
}
