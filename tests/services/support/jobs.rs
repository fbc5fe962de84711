//! Jobs to publish.

use std::path::Path;

use comet_worker::job::request::{Properties, Rules, parse};
use serde_json::{Value, json};

/// A valid job of two subject images.
pub fn job(id: &str) -> Value {
    json!({
        "job_id": id,
        "input": {
            "prompt": "the two of them at a sunlit kitchen table",
            "subject_image_list": [
                {"subject_image": "https://pictures.example/a.png"},
                {"subject_image": "https://pictures.example/b.png"}
            ]
        },
        "metadata": {"of": id}
    })
}

/// `jobs("a", 3)`: a-0, a-1, a-2.
pub fn jobs(prefix: &str, count: usize) -> Vec<Value> {
    (0..count).map(|number| job(&format!("{prefix}-{number}"))).collect()
}

/// The external id of a job's first generation, on workers whose store is this folder.
pub fn external(store: &Path, job: &Value) -> String {
    let rules = Rules::page();
    rules.store.set(&std::fs::read_to_string(store.join("receipts").join("store-id")).unwrap());
    let request = parse(job.to_string().as_bytes(), &Properties::default(), &rules).unwrap();
    request.job.external_ids.of_generation(1).as_str().to_owned()
}
