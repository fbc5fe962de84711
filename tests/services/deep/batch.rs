//! A thousand prompts in a file, with ten kills.

use std::time::Duration;

use serde_json::json;

use crate::batch::{Bench, prompts};

#[tokio::test]
async fn a_thousand_prompts_with_ten_kills_are_paid_once_each_and_end_once_each() {
    let sim = ["--durations", "uniform:300ms-2s", "--lookup", "--image-px", "64"];
    let bench = Bench::new("p.csv", &prompts(1000), &sim).await;
    bench
        .sim
        .faults(json!({
            "failed": 0.02, "content-policy": 0.02, "reply-lost": 0.02, "image-error": 0.05, "poll-error": 0.05,
            "server-error": 0.02, "busy": 0.02, "image-expired-once": 0.02, "file-half": 0
        }))
        .await;
    for kill in 1..=10 {
        bench.killed_at(kill * 90, Duration::from_secs(60)).await;
    }
    let said = bench.batch(&[]).await;
    let events = bench.all_have_ended(1000);
    bench.sim.report().await.nothing_was_paid_for_twice();
    let succeeded = events.iter().filter(|event| event["type"] == "comet.job.succeeded").count();
    println!(
        "1000 prompts, 10 kills: {succeeded} succeeded, none paid for twice; {}",
        said.words.replace('\n', "; ")
    );
    assert!(succeeded > 850, "{succeeded}");
}
