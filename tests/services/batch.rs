//! `comet-worker batch`, as a process: no RabbitMQ and no Redis, a file in and a folder out.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::tool::{Said, tool};
use crate::support::{Sim, wait_for};
use crate::videos::files;

/// A folder with a file of jobs, and the stand-in.
pub struct Bench {
    pub folder: TempDir,
    pub sim: Sim,
    pub file: String,
    pub out: String,
}

impl Bench {
    pub async fn new(file: &str, jobs: &str, sim: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::write(&path, jobs).unwrap();
        let out = folder.path().join("out").display().to_string();
        Self { sim: Sim::start(sim).await, file: path.display().to_string(), out, folder }
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        // Where nothing listens: neither is needed.
        [
            ("AMQP__URL", "amqp://127.0.0.1:1"),
            ("REDIS__URL", "redis://127.0.0.1:1"),
            ("API__BASE_URL", &self.sim.url),
            ("API__KEY", "sk-sim"),
            ("DOWNLOAD__ALLOW_PRIVATE_HOSTS", "true"),
            ("GENERATION__QUIET_S", "3"),
            ("API__SUBMIT_TIMEOUT_S", "2"),
        ]
        .map(|(key, value)| (format!("COMET_WORKER__{key}"), value.to_owned()))
        .to_vec()
    }

    pub async fn batch(&self, more: &[&str]) -> Said {
        let arguments = [&["batch", &self.file, "--out", &self.out], more].concat();
        tool(&self.environment(), &arguments).await
    }

    /// The same command, to be killed.
    pub fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_comet-worker"))
            .args(["batch", &self.file, "--out", &self.out])
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Starts it, and kills it once the provider has accepted so many tasks, or at the end of `patience`.
    pub async fn killed_at(&self, tasks: u64, patience: Duration) {
        let mut child = self.start();
        let accepted = wait_for("so many tasks", async || {
            (self.sim.report().await.number("accepted") >= tasks).then_some(())
        });
        let _ = tokio::time::timeout(patience, accepted).await;
        child.kill().await.unwrap();
    }

    pub fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(Path::new(&self.out).join("events.jsonl")).unwrap_or_default();
        // A line that is still being written has no end.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Each job has one end, and what it names is there, whole.
    pub fn all_have_ended(&self, jobs: usize) -> Vec<Value> {
        let events = self.events();
        let mut names: Vec<_> = events.iter().map(|event| event["subject"].as_str().unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), events.len()), (jobs, jobs), "one end each");
        for event in &events {
            for file in event["data"]["images"].as_array().into_iter().flatten() {
                let path = file["location"].as_str().unwrap().strip_prefix("file://").unwrap();
                let bytes = std::fs::read(path).unwrap();
                comet_worker::job::image::Image::of(bytes.into()).unwrap();
            }
        }
        events
    }
}

pub fn prompts(number: usize) -> String {
    let row = |row| format!("p-{row},image_generation,a boat of {row} boards\n");
    (0..number).fold("job_id,operation,prompt\n".to_owned(), |table, number| table + &row(number))
}

#[tokio::test]
async fn a_table_becomes_pictures_and_a_second_run_pays_for_nothing() {
    let table = "operation,prompt,subject_images,n\n\
                 ,a table,https://example.com/a.png;https://example.com/b.png,2\n\
                 image_generation,a hall,,\n\
                 text_to_video,a boat,,\n\
                 text_to_audio,rain,,\n";
    let table = table.replace("subject_images,n\n", "subject_images,n,duration\n").replace(",2\n", ",2,\n");
    let table = table.replace("a hall,,\n", "a hall,,,\n").replace("a boat,,\n", "a boat,,,10\n");
    let table = table.replace("rain,,\n", "rain,,,5\n");
    let bench = Bench::new("prompts.csv", &table, &["--durations", "fixed:200ms"]).await;
    let said = bench.batch(&[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.words.contains("succeeded       4"), "{said:?}");
    assert_eq!(said.data.lines().count(), 4, "{said:?}");
    bench.all_have_ended(4);
    let found = files(Path::new(&bench.out));
    let number = |extension: &str| {
        found.iter().filter(|file| file.extension().is_some_and(|is| is == extension)).count()
    };
    assert_eq!([number("png"), number("mp4"), number("mp3"), number("wav")], [3, 1, 1, 1], "{found:?}");

    let results = std::fs::read_to_string(Path::new(&bench.out).join("results.csv")).unwrap();
    let rows: Vec<&str> = results.lines().collect();
    assert!(rows[2].contains(",image_generation,a hall,succeeded,,8,images/"), "{results}");
    assert!(rows[4].contains(",text_to_audio,rain,succeeded,,8,audios/"), "{results}");

    let again = bench.batch(&["--json"]).await;
    assert_eq!((again.code, again.data.as_str()), (Some(0), ""), "{again:?}");
    assert!(again.words.contains("4 of 4 have ended before"), "{again:?}");
    assert_eq!(bench.sim.report().await.number("accepted"), 4);
}

#[tokio::test]
async fn killed_again_and_again_it_goes_on_and_pays_for_each_job_once() {
    let bench = Bench::new(
        "p.csv",
        &prompts(60),
        &["--durations", "uniform:300ms-1500ms", "--lookup", "--image-px", "64"],
    )
    .await;
    bench
        .sim
        .faults(json!({"failed": 0.05, "reply-lost": 0.05, "image-error": 0.05, "poll-error": 0.05}))
        .await;
    for kill in 1..=4 {
        // Each time somewhere else: while nothing, something or much is under way.
        bench.killed_at(kill * 10, Duration::from_secs(20)).await;
    }
    let said = bench.batch(&[]).await;
    let events = bench.all_have_ended(60);
    bench.sim.report().await.nothing_was_paid_for_twice();
    let failed = events.iter().filter(|event| event["type"] != "comet.job.succeeded").count();
    assert_eq!(said.code, Some(i32::from(failed > 0)), "{said:?}");
    assert!(failed < 20, "{failed}");
}

#[tokio::test]
async fn a_signal_stops_it_within_seconds_and_the_same_command_goes_on() {
    let bench = Bench::new("p.csv", &prompts(8), &["--durations", "fixed:6s"]).await;
    let child = bench.start();
    wait_for("tasks", async || (bench.sim.report().await.number("accepted") >= 4).then_some(())).await;
    let stopped =
        Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status().await.unwrap();
    assert!(stopped.success());
    let ended =
        tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{words}");
    assert!(words.contains("the same command goes on from here"), "{words}");
    assert!(bench.events().is_empty(), "{words}");
    assert_eq!(bench.batch(&[]).await.code, Some(0));
    bench.all_have_ended(8);
    assert_eq!(bench.sim.report().await.number("accepted"), 8);
}

#[tokio::test]
async fn what_failed_is_tried_again_on_demand_under_a_name_of_its_own() {
    let bench = Bench::new("p.csv", &prompts(4), &["--durations", "fixed:100ms", "--fault", "failed"]).await;
    let said = bench.batch(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.words.contains("content_policy          4") && said.words.contains("--retry-failed"),
        "{said:?}"
    );
    let untouched = bench.batch(&[]).await;
    assert!(untouched.words.contains("4 of 4 have ended before"), "{untouched:?}");
    assert_eq!(untouched.code, Some(1), "they have still failed: {untouched:?}");
    bench.sim.faults(json!({})).await;
    let retried = bench.batch(&["--retry-failed"]).await;
    assert_eq!(retried.code, Some(0), "{retried:?}");
    let results = std::fs::read_to_string(Path::new(&bench.out).join("results.csv")).unwrap();
    assert_eq!(results.matches(",succeeded,").count(), 4, "{results}");
    let events = bench.all_have_ended(8);
    assert_eq!(events.iter().filter(|event| event["subject"] == "p-0:try-2").count(), 1);
    assert_eq!(bench.sim.report().await.number("accepted"), 8);
}

#[tokio::test]
async fn wrong_use_says_what_to_do_and_costs_nothing() {
    let bench = Bench::new("jobs.jsonl", "", &[]).await;
    let file = |jobs: &[Value]| {
        let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
        std::fs::write(&bench.file, lines).unwrap();
    };
    let job = |id: &str, input: Value| json!({"job_id": id, "operation": "image_generation", "input": input});
    file(&[job("a", json!({"prompt": "x"})), job("b", json!({"prompt": "x", "n": 10}))]);
    let said = bench.batch(&[]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.words.contains("job 2 (line 2, b): /input/n") && said.words.contains("nothing was begun"),
        "{said:?}"
    );

    file(&[job("a", json!({"prompt": "x"}))]);
    let unknown = bench.batch(&["--confirm-above", "5"]).await;
    assert!(unknown.code == Some(2) && unknown.words.contains("spend.units_per_job"), "{unknown:?}");
    let mut environment = bench.environment();
    environment.push(("COMET_WORKER__SPEND__UNITS_PER_JOB".to_owned(), "8".to_owned()));
    let arguments = ["batch", &bench.file, "--out", &bench.out, "--confirm-above", "5"];
    let unasked = tool(&environment, &arguments).await;
    assert!(unasked.code == Some(2) && unasked.words.contains("will cost about 8 units"), "{unasked:?}");
    assert!(unasked.words.contains("give --yes"), "{unasked:?}");
    assert_eq!(bench.sim.report().await.number("accepted"), 0);
    let agreed = tool(&environment, &[&arguments[..], &["--yes"]].concat()).await;
    assert_eq!(agreed.code, Some(0), "{agreed:?}");

    file(&[job("a", json!({"prompt": "another"}))]);
    let other = bench.batch(&[]).await;
    assert!(other.code == Some(2) && other.words.contains("begun in"), "{other:?}");
    std::fs::write(&bench.file, "prompt,n").unwrap();
    let table = format!("{}.csv", bench.file);
    std::fs::write(&table, "operation,promt\nimage_generation,x\n").unwrap();
    let misspelt = tool(&bench.environment(), &["batch", &table, "--out", &bench.out]).await;
    assert!(misspelt.code == Some(2) && misspelt.words.contains("did you mean prompt?"), "{misspelt:?}");
    let none = bench.batch(&["--max-running", "0"]).await;
    assert_eq!(none.code, Some(2), "{none:?}");
    assert_eq!(bench.sim.report().await.number("accepted"), 1);
    drop(bench.folder);
}

#[tokio::test]
async fn a_route_of_the_configuration_is_generated_like_the_others() {
    let job = json!({"job_id": "a", "operation": "clip", "input": {"prompt": "a boat", "unknown": 7}});
    let bench = Bench::new("jobs.json", &job.to_string(), &["--durations", "fixed:100ms"]).await;
    let config = bench.folder.path().join("comet-worker.toml");
    let path = "/kling/v1/videos/text2video";
    let route = format!(
        "[routes.clip]\nsubmit_path = \"{path}\"\nquery_path = \"{path}/{{task_id}}\"\nmakes = \"videos\"\n\
         required = \"prompt\"\n"
    );
    std::fs::write(&config, route).unwrap();
    let said = bench.batch(&["--config", config.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let events = bench.all_have_ended(1);
    assert_eq!(events[0]["data"]["operation"], "clip");
    assert_eq!(events[0]["data"]["videos"].as_array().unwrap().len(), 1);
    let listed = tool(&bench.environment(), &["routes", "--config", config.to_str().unwrap()]).await;
    assert!(listed.data.contains("clip") && listed.data.contains("configured"), "{listed:?}");
    let without = bench.batch(&[]).await;
    assert!(without.code == Some(2) && without.words.contains("/operation"), "{without:?}");
}

#[tokio::test]
async fn it_waits_while_the_account_has_no_money_and_says_so() {
    let bench =
        Bench::new("p.csv", &prompts(3), &["--durations", "fixed:100ms", "--fault", "no-money"]).await;
    let mut child = bench.start();
    let mut words = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let said = tokio::time::timeout(Duration::from_secs(60), async {
        let mut line = String::new();
        while !line.contains("account") {
            line.clear();
            tokio::io::AsyncBufReadExt::read_line(&mut words, &mut line).await.unwrap();
        }
        line
    });
    let said = said.await.unwrap();
    assert!(said.contains("top the account up"), "what to do: {said}");
    bench.sim.faults(json!({})).await;
    tokio::spawn(async move { tokio::io::copy(&mut words, &mut tokio::io::sink()).await });
    let ended = tokio::time::timeout(Duration::from_secs(120), child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
    bench.all_have_ended(3);
}
