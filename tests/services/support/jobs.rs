//! Jobs to publish.

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
