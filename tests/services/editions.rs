//! Both editions of the provider's contract, and local images, from `comet-worker submit` to the stored image.

use serde_json::{Value, json};

use crate::support::process::environment;
use crate::support::tool::tool;
use crate::support::{Broker, Place, Sim, Worker};

/// A PNG's head with these dimensions, which is all that is read before a generation.
fn png(side: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
    bytes.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// Submits a job with these settings for worker and tool, waits for its end, and returns which of its fields had no
/// effect at the provider.
async fn ignored(place: &'static Place, rules: &str, settings: &[(&str, &str)], job: &Value) -> Value {
    let sim = Sim::start(&["--rules", rules, "--check-pixels", "--durations", "fixed:100ms"]).await;
    let mut environment = environment(place, &sim.url);
    environment
        .extend(settings.iter().map(|(key, value)| (format!("COMET_WORKER__{key}"), (*value).to_owned())));
    let mut worker = Worker::start(place, &sim, settings);
    worker.says("taking jobs").await;
    let file = place.folder.path().join("job.json");
    std::fs::write(&file, job.to_string()).unwrap();
    let said = tool(&environment, &["submit", "--wait", "--json", &file.display().to_string()]).await;
    assert_eq!(said.json()["type"], "comet.job.succeeded", "{said:?}\n{}", worker.log());
    assert!(worker.stop().await.success());
    let report = sim.report().await;
    assert_eq!((report.number("submits"), report.number("accepted")), (1, 1));
    report.0["ignored_fields"].clone()
}

#[tokio::test]
async fn a_job_of_one_local_file_is_generated_under_the_current_edition() {
    Place::run("current", async |place| {
        std::fs::create_dir(place.folder.path().join("pictures")).unwrap();
        std::fs::write(place.folder.path().join("pictures/a.png"), png(640)).unwrap();
        let job = json!({"job_id": "local", "input": {
            "subject_image_list": [{"subject_image": "file:pictures/a.png"}],
            "style_image": "file:./pictures/a.png", "scence_image": "https://pictures.example/scene.png",
            "negative_prompt": "blur", "watermark_info": {"enabled": false}, "n": 2
        }});
        let settings = [("API__PROFILE", "current")];
        let ignored = ignored(place, "current", &settings, &job).await;
        assert_eq!(ignored, json!({"scence_image": 1}), "the scene went out under both names");
    })
    .await;
}

#[tokio::test]
async fn the_scene_arrives_under_the_page_s_name_and_on_demand_under_no_other() {
    Place::run("page", async |place| {
        let job = |id: &str| {
            let mut job = crate::support::jobs::job(id);
            job["input"]["scene_image"] = json!("https://pictures.example/scene.png");
            job
        };
        assert_eq!(ignored(place, "page", &[], &job("both")).await, json!({"scene_image": 1}));
        let name = |name| [("API__SCENE_FIELD", name)];
        let one = ignored(place, "page", &name("scence_image"), &job("one")).await;
        assert_eq!(one, json!({}), "only the name that the page has");
        let other = ignored(place, "page", &name("scene_image"), &job("other")).await;
        assert_eq!(other, json!({"scene_image": 1}), "only the name that the page doesn't have");
    })
    .await;
}

#[tokio::test]
async fn a_worker_reads_no_file_and_a_tool_none_that_is_no_image() {
    Place::run("nofile", async |place| {
        let sim = Sim::start(&[]).await;
        let broker = Broker::connect(place).await;
        let image = place.folder.path().join("a.png");
        std::fs::write(&image, png(640)).unwrap();
        let mut job = crate::support::jobs::job("named");
        job["input"]["style_image"] = json!(format!("file:{}", image.display()));

        let worker = Worker::start(place, &sim, &[]);
        worker.says("taking jobs").await;
        broker.listen(place).await;
        broker.publish(place, &job).await;
        let end = broker.ends(place, 1).await["named"][0].json();
        assert_eq!(end["data"]["reason"], "invalid_request", "{end}");
        assert_eq!(end["data"]["faults"][0]["path"], "/input/style_image");
        assert!(!end.to_string().contains(&place.folder.path().display().to_string()), "{end}");

        std::fs::write(&image, "no image").unwrap();
        let file = place.folder.path().join("job.json");
        std::fs::write(&file, job.to_string()).unwrap();
        let arguments = ["submit", &file.display().to_string()];
        let said = tool(&environment(place, &sim.url), &arguments).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.words.contains("a.png: expected a PNG or JPEG image"), "{said:?}");
        assert_eq!(sim.report().await.number("submits"), 0);
    })
    .await;
}
