//! Reads a reply's body into the few fields that all families of replies have.
//!
//! There are three envelopes (docs/provider.md, "How a reply is read"): Kling's own `{code: 0, message, data}`, the
//! gateway's task wrapper `{code: "success", message, data}` with another one inside, and the gateway's
//! `{error: {message, type, code}}`.

use serde_json::{Map, Value};

use super::{CODE_CHARS_MAX, Reply};
use crate::job::TaskId;
use crate::redact::bounded;

pub(super) type Object = Map<String, Value>;

pub(super) enum Body {
    /// A web page: it comes from a proxy or a wrong path, and not from the API (docs/provider.md, "How a reply is
    /// read", step 1).
    Html,
    /// The body is empty, cut off, nested too deep, or JSON that isn't an object.
    Unreadable,
    Json(ReplyEnvelope),
}

pub(super) struct ReplyEnvelope {
    root: Object,
}

/// The `code` of a reply, normalised (docs/provider.md, "How a reply is read", step 3).
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Code {
    /// `0`, `"0"`, `0.0`, `200`, `"success"`, `"succeed"`: the call worked, and nothing more.
    Ok,
    /// Missing, null or empty: it says nothing.
    Absent,
    Number {
        value: i64,
        verbatim: String,
    },
    /// `value` is in lower case.
    Word {
        value: String,
        verbatim: String,
    },
}

/// The error in a reply, if there is one.
pub(super) struct ApiError {
    pub(super) code: Code,
    pub(super) message: Option<String>,
    /// Whether there is an `error`, with any code.
    pub(super) is_error: bool,
    /// Whether the status is the upstream's, forwarded by the gateway: a 401 is then not about our key.
    pub(super) relayed: bool,
    /// Whether the reply is `{"code":null,"message":"404"}`: a route that is documented but not live
    /// (docs/provider.md, "Other shapes").
    pub(super) route_is_dead: bool,
}

pub(super) fn read(reply: &Reply<'_>) -> Body {
    let body = reply.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(reply.body).trim_ascii();
    let said_html = reply.content_type.is_some_and(|text| {
        text.trim_start().get(..9).is_some_and(|start| start.eq_ignore_ascii_case("text/html"))
    });
    match serde_json::from_slice(body) {
        Ok(Value::Object(root)) => Body::Json(ReplyEnvelope { root }),
        Ok(_) | Err(_) if said_html || body.starts_with(b"<") => Body::Html,
        Ok(_) | Err(_) => Body::Unreadable,
    }
}

impl ReplyEnvelope {
    pub(super) fn root(&self) -> &Object {
        &self.root
    }

    /// Kling's own request id, which its support asks for.
    pub(super) fn request_id(&self) -> Option<&str> {
        text_of(self.root.get("request_id"))
    }

    pub(super) fn data(&self) -> Option<&Value> {
        self.root.get("data")
    }

    /// The reply's own code, outside of any `error`.
    pub(super) fn code(&self) -> Code {
        Code::of(self.root.get("code"))
    }

    /// Code and message. If the reply contains an upstream body, they are taken from there: the gateway forwards
    /// Kling's refusals as a text in `message` (docs/provider.md, "Errors of the gateway").
    pub(super) fn complaint(&self) -> ApiError {
        let outer = complaint_of(&self.root);
        if !outer.relays() {
            return outer;
        }
        match outer.relayed_body().map(|body| complaint_of(&body.root)) {
            None => ApiError { relayed: true, ..outer },
            Some(inner) => ApiError {
                code: if inner.code == Code::Absent { outer.code } else { inner.code },
                message: inner.message.or(outer.message),
                is_error: true,
                relayed: true,
                route_is_dead: false,
            },
        }
    }

    /// The task id, searched for in the order of docs/provider.md, "Task ids".
    pub(super) fn task_id(&self) -> Option<TaskId> {
        let data = self.data();
        let in_data = |key| data.and_then(Value::as_object).and_then(|data| data.get(key));
        [
            in_data("task_id"),
            data.filter(|data| data.is_string()),
            self.root.get("task_id"),
            in_data("id"),
            self.root.get("id"),
        ]
        .into_iter()
        .flatten()
        .find_map(id_of)
    }

    /// [`Self::task_id`], or else the one in a forwarded upstream body.
    pub(super) fn any_task_id(&self) -> Option<TaskId> {
        self.task_id().or_else(|| complaint_of(&self.root).relayed_body()?.task_id())
    }

    /// Whether there is an `error` with a content.
    pub(super) fn complains(&self) -> bool {
        complaint_of(&self.root).is_error
    }
}

impl ApiError {
    /// Whether the code is one with which the gateway forwards an upstream's refusal.
    fn relays(&self) -> bool {
        match &self.code {
            Code::Word { value, .. } => value == "fail_to_fetch_task" || value == "task_failed",
            Code::Ok | Code::Absent | Code::Number { .. } => false,
        }
    }

    fn relayed_body(&self) -> Option<ReplyEnvelope> {
        let text = self.message.as_deref().filter(|_| self.relays())?;
        serde_json::from_str(text).ok().map(|root| ReplyEnvelope { root })
    }
}

/// An id is a text or a whole number. A float loses digits of an id of 18 digits, so a number that was read as a
/// float is not an id.
pub(super) fn id_of(value: &Value) -> Option<TaskId> {
    match value {
        Value::String(text) => TaskId::new(text),
        Value::Number(number) => {
            number.as_u64().filter(|id| *id != 0).and_then(|id| TaskId::new(&id.to_string()))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text that is not empty after trimming.
pub(super) fn text_of(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

fn complaint_of(object: &Object) -> ApiError {
    let error = object.get("error").filter(|error| match error {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(error) => *error,
        Value::Number(_) | Value::Array(_) => true,
    });
    let fields = error.and_then(Value::as_object);
    let inside = |key| text_of(fields.and_then(|fields| fields.get(key)));
    let inner_code = Code::of(fields.and_then(|fields| fields.get("code")));
    let code = match inner_code {
        // An error with the code "success" says nothing.
        Code::Ok | Code::Absent => Code::of(object.get("code")),
        Code::Number { .. } | Code::Word { .. } => inner_code,
    };
    let own_message = text_of(object.get("message"));
    let message = inside("message")
        .or_else(|| inside("localized_message"))
        .or_else(|| text_of(error))
        .or(own_message)
        .or_else(|| text_of(object.get("msg")));
    let route_is_dead = code == Code::Absent && own_message == Some("404");
    ApiError {
        code,
        message: message.map(str::to_owned),
        is_error: error.is_some(),
        relayed: false,
        route_is_dead,
    }
}

impl Code {
    fn of(value: Option<&Value>) -> Self {
        match value {
            Some(Value::Number(number)) => {
                let whole = number.as_i64().or_else(|| whole_of(number.as_f64()?));
                Self::of_number(whole, number.to_string())
            }
            Some(Value::String(text)) => match text.trim().parse() {
                Ok(number) => Self::of_number(Some(number), text.trim().to_owned()),
                Err(_) => Self::of_word(text.trim()),
            },
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => Self::Absent,
        }
    }

    fn of_number(whole: Option<i64>, verbatim: String) -> Self {
        match whole {
            Some(0 | 200) => Self::Ok,
            Some(value) => Self::Number { value, verbatim },
            None => Self::Word { value: verbatim.clone(), verbatim },
        }
    }

    fn of_word(text: &str) -> Self {
        let value = text.to_ascii_lowercase();
        match value.as_str() {
            "" => Self::Absent,
            "success" | "succeed" | "succeeded" | "ok" => Self::Ok,
            _ => Self::Word { value, verbatim: text.to_owned() },
        }
    }

    /// As the provider wrote it, for people; `None` if it says nothing.
    pub(super) fn verbatim(&self) -> Option<String> {
        match self {
            Self::Ok | Self::Absent => None,
            Self::Number { verbatim, .. } | Self::Word { verbatim, .. } => {
                Some(bounded(verbatim, CODE_CHARS_MAX))
            }
        }
    }
}

/// `1303.0` is 1303. Codes are small, and no digit is lost below a billion.
fn whole_of(float: f64) -> Option<i64> {
    (float.fract() == 0.0 && float.abs() < 1e9).then_some(float as i64)
}
