//! One paid generation, as it is posted.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::route::{Route, RouteName};
use super::{ExternalTaskId, JobId};

/// What is posted, by its parts. The user's fields may be megabytes of images, so a submission is cheap to clone, and
/// another external id leaves them as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    pub job: JobId,
    pub route: Arc<Route>,
    /// The model that makes the result; empty for a route without models.
    pub model: String,
    /// Our name for the generation. All attempts at one generation have the same.
    pub external_id: ExternalTaskId,
    /// Where the provider calls back: at the producer's URL or at ours.
    pub callback_url: Option<String>,
    /// The other fields of the body, as a JSON object.
    pub fields: Bytes,
}

impl Submission {
    /// The members of the body that are not among `fields`.
    pub const OWN_MEMBERS: [&'static str; 3] = ["model_name", "callback_url", "external_task_id"];

    /// The same for another generation of the job.
    #[must_use]
    pub fn under(self, external_id: ExternalTaskId) -> Self {
        Self { external_id, ..self }
    }

    /// The JSON to post, in two parts: the second one shares its memory with `fields`.
    #[must_use]
    pub fn body(&self) -> [Bytes; 2] {
        #[derive(Serialize)]
        struct Members<'a> {
            #[serde(skip_serializing_if = "str::is_empty")]
            model_name: &'a str,
            external_task_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            callback_url: Option<&'a str>,
        }

        let members = Members {
            model_name: &self.model,
            external_task_id: self.external_id.as_str(),
            callback_url: self.callback_url.as_deref(),
        };
        let mut first = serde_json::to_vec(&members).expect("texts are JSON");
        // Both are objects, so they become one if the brackets between them become a comma.
        let rest = self.fields.slice(1..);
        first.pop();
        if rest.as_ref() != b"}" {
            first.push(b',');
        }
        [first.into(), rest]
    }

    /// Tells it from every other one. A producer may give two jobs one external id.
    #[must_use]
    pub fn key(&self) -> (JobId, ExternalTaskId) {
        (self.job.clone(), self.external_id.clone())
    }

    /// Whether it has the model that `api.model` sets, which is the default route's.
    #[must_use]
    pub fn has_api_model(&self) -> bool {
        self.route.name == *RouteName::default_route() && self.model == self.route.default_model
    }

    /// About how many bytes the body has: those of the user's fields.
    #[must_use]
    pub fn size(&self) -> usize {
        self.fields.len()
    }
}

#[cfg(test)]
impl Submission {
    /// A submission to the default route, for tests.
    pub(crate) fn sample(external_id: &str, model: &str) -> Self {
        Self {
            job: "a".parse().unwrap(),
            route: Arc::new(Route::page()),
            model: model.to_owned(),
            external_id: ExternalTaskId::new(external_id).unwrap(),
            callback_url: None,
            fields: Bytes::from_static(b"{\"n\":1}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(submission: &Submission) -> Value {
        serde_json::from_slice(&submission.body().concat()).unwrap()
    }

    #[test]
    fn the_parts_make_one_object_and_another_generation_differs_in_its_id_alone() {
        let id = |text| ExternalTaskId::new(text).unwrap();
        let submission = Submission {
            callback_url: Some("https://a/\"b".to_owned()),
            fields: Bytes::from_static(br#"{"n":2,"prompt":"x"}"#),
            ..Submission::sample("cw-1", "kling-v2")
        };
        let mut expected = json!({
            "model_name": "kling-v2", "external_task_id": "cw-1", "callback_url": "https://a/\"b", "n": 2, "prompt": "x",
        });
        assert_eq!(body(&submission), expected);

        let again = submission.clone().under(id("cw-2"));
        expected["external_task_id"] = "cw-2".into();
        assert_eq!(body(&again), expected);
        assert_eq!(again.body()[1].as_ptr(), submission.body()[1].as_ptr(), "the fields are not copied");

        let least = Submission {
            model: String::new(),
            callback_url: None,
            fields: Bytes::from_static(b"{}"),
            ..submission
        };
        assert_eq!(body(&least), json!({"external_task_id": "cw-1"}));
    }
}
