//! Videos with a real store and a real host: cut off, given up, killed in the middle, copied, fetched late.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker, wait_for};

pub fn video(id: &str) -> Value {
    json!({"job_id": id, "operation": "text_to_video", "input": {"prompt": "a boat in the rain"}})
}

/// The files below a folder, whatever they are.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

fn whole(files: &[PathBuf]) -> Vec<&PathBuf> {
    // The folder's own name for a file that isn't whole yet.
    files.iter().filter(|file| !file.to_string_lossy().contains('#')).collect()
}

#[tokio::test]
async fn a_worker_that_is_killed_in_the_middle_of_a_video_leaves_no_half_one_and_the_next_stores_it() {
    Place::run("videokill", async |place| {
        let sim =
            Sim::start(&["--durations", "fixed:100ms", "--video-bytes", "20000000", "--slow-for", "8s"])
                .await;
        sim.faults(json!({"file-slow": 1})).await;
        let mut first = Worker::start(place, &sim, &[]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        broker.publish(place, &video("order-1")).await;
        let folder = place.images().join("videos");
        wait_for("a part of the video in the store", async || (!files(&folder).is_empty()).then_some(()))
            .await;
        first.kill().await;
        assert!(whole(&files(&folder)).is_empty(), "{:?}", files(&folder));

        sim.faults(json!({})).await;
        let _second = Worker::start(place, &sim, &[]);
        let ends = broker.ends(place, 1).await;
        let event = ends["order-1"][0].json();
        assert_eq!(event["type"], "comet.job.succeeded", "{event}");
        let stored = files(&folder);
        let [video] = whole(&stored)[..] else { panic!("{stored:?}") };
        assert_eq!(event["data"]["videos"][0]["location"], format!("file://{}", video.display()));
        assert_eq!(event["data"]["videos"][0]["bytes"], std::fs::metadata(video).unwrap().len());
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn a_video_with_troubles_on_its_way_is_stored_whole_and_once() {
    Place::run("videotrouble", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms", "--video-bytes", "12000000"]).await;
        let _worker = Worker::start(place, &sim, &[("POLL__MAX_MS", "1000")]);
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        for (name, fault) in [
            ("errors", "image-error"),
            ("spoilt", "image-expired-once"),
            ("redirects", "file-redirects"),
            ("partial", "file-partial"),
            ("trailing", "file-trailing"),
        ] {
            sim.faults(json!({fault: 1})).await;
            broker.publish(place, &video(name)).await;
            let event = broker.ends(place, 1).await[name][0].json();
            assert_eq!(event["type"], "comet.job.succeeded", "{event}");
            let stored = files(&place.images().join("videos").join(name));
            assert_eq!(stored.len(), 1, "{stored:?}");
            assert_eq!(event["data"]["videos"][0]["bytes"], std::fs::metadata(&stored[0]).unwrap().len());
        }
        // These are tried for a while, and a fresh file comes when the host is well again.
        for (name, fault) in [("half", "file-half"), ("short", "file-short"), ("hangs-up", "file-hangs-up")] {
            sim.faults(json!({fault: 1})).await;
            broker.publish(place, &video(name)).await;
            wait_for("a try", async || (sim.report().await.number("downloads") > 0).then_some(())).await;
            assert!(whole(&files(&place.images().join("videos").join(name))).is_empty(), "{name}");
            sim.faults(json!({})).await;
            // What is drawn of a task's files stays as it was drawn.
            let cancelled = tool(&environment(place, &sim.url), &["cancel", name]).await;
            assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
            assert_eq!(broker.ends(place, 1).await[name][0].json()["type"], "comet.job.cancelled");
        }
        sim.report().await.nothing_was_paid_for_twice();
    })
    .await;
}

#[tokio::test]
async fn submit_copies_videos_and_sounds_too() {
    Place::run("videoout", async |place| {
        let sim = Sim::start(&["--durations", "fixed:100ms"]).await;
        let _worker = Worker::start(place, &sim, &[]);
        let folder = tempfile::tempdir().unwrap();
        let (jobs, out) = (folder.path().join("jobs.jsonl"), folder.path().join("out"));
        let both = json!({"job_id": "b", "operation": "video_to_audio", "input": {"video_id": "v"}});
        std::fs::write(&jobs, format!("{}\n{both}\n", video("a"))).unwrap();
        let arguments = ["submit", "--wait", "--out", out.to_str().unwrap(), jobs.to_str().unwrap()];
        let said = tool(&environment(place, &sim.url), &arguments).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.data.contains("b  succeeded  1 video, 2 sounds"), "{said:?}");
        let mut names: Vec<_> =
            files(&out).iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        assert_eq!(names, ["a-0.mp4", "b-0.mp3", "b-0.mp4", "b-1.wav"]);
        let status = tool(&environment(place, &sim.url), &["status", "b"]).await;
        assert!(status.data.contains("video ") && status.data.contains("sound "), "{status:?}");
    })
    .await;
}

#[tokio::test]
async fn the_late_video_of_a_job_that_timed_out_is_fetched() {
    Place::run("videolate", async |place| {
        let sim = Sim::start(&["--durations", "fixed:4s", "--video-bytes", "8000000"]).await;
        let worker = Worker::start(place, &sim, &[]);
        worker.says("taking jobs").await;
        let broker = Broker::connect(place).await;
        broker.listen(place).await;
        let mut late = video("late");
        late["timeout_s"] = json!(1);
        broker.publish(place, &late).await;
        assert_eq!(broker.ends(place, 1).await["late"][0].json()["data"]["reason"], "timed_out");
        let environment = environment(place, &sim.url);
        let said = wait_for("the end of the task", async || {
            let said = tool(&environment, &["resolve", "late", "--fetch", "--json"]).await;
            (said.code == Some(0)).then_some(said)
        })
        .await;
        let event = said.json();
        assert_eq!(event["id"], "late/resolved", "{event}");
        let [stored] = &files(&place.images().join("videos"))[..] else { panic!("{event}") };
        assert_eq!(event["data"]["videos"][0]["location"], format!("file://{}", stored.display()));
    })
    .await;
}
