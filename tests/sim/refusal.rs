//! How the provider refuses: every refusal with its HTTP status and its body (docs/provider.md, "Errors of the
//! gateway" and "Kling's codes").
//!
//! There are three families of replies: Kling (`code`, `message`, `request_id`), the gateway (`error`), and the
//! gateway's task routes (`code`, `message`, `data: null`). Proxies in front answer in HTML.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::said::Said;

/// How an account without money is told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NoMoneyAs {
    /// the gateway's 403 with insufficient_user_quota
    Quota,
    /// Kling's 429 with code 1102
    #[value(name = "1102")]
    Kling1102,
}

/// Why a request got no for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    WrongKey,
    AccountClosed,
    NoMoney(NoMoneyAs),
    RateLimited,
    Busy,
    Saturated,
    ServerError,
    ServerErrorAfter,
    BadGateway,
    ContentPolicy,
    NotJson(String),
    Invalid(String),
    TooLarge,
    /// The client went away in the middle of its body, so this reply is never read.
    BrokenOff,
    AlreadyExists(String),
    TaskNotExist,
    PollError,
    NoSuchPath(String),
    Said(&'static Said),
}

/// What goes over the wire, less the headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Json(String),
    Html(&'static str),
}

impl Refusal {
    /// The name that it is counted under in the report. Those that a fault can cause are named like the fault.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::WrongKey => "wrong-key",
            Self::AccountClosed => "account-closed",
            Self::NoMoney(_) => "no-money",
            Self::RateLimited => "rate-limited",
            Self::Busy => "busy",
            Self::Saturated => "saturated",
            Self::ServerError => "server-error",
            Self::ServerErrorAfter => "server-error-after",
            Self::BadGateway => "bad-gateway",
            Self::ContentPolicy => "content-policy",
            Self::NotJson(_) => "not-json",
            Self::Invalid(_) => "invalid",
            Self::TooLarge => "too-large",
            Self::BrokenOff => "broken-off",
            Self::AlreadyExists(_) => "already-exists",
            Self::TaskNotExist => "task-not-exist",
            Self::PollError => "poll-error",
            Self::NoSuchPath(_) => "no-such-path",
            Self::Said(said) => said.name,
        }
    }

    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NotJson(_)
            | Self::BrokenOff
            | Self::Invalid(_)
            | Self::AlreadyExists(_)
            | Self::ContentPolicy
            | Self::TaskNotExist => 400,
            Self::WrongKey | Self::AccountClosed => 401,
            Self::NoMoney(NoMoneyAs::Quota) => 403,
            Self::NoSuchPath(_) => 404,
            Self::TooLarge => 413,
            Self::NoMoney(NoMoneyAs::Kling1102) | Self::RateLimited | Self::Busy | Self::Saturated => 429,
            Self::ServerError | Self::ServerErrorAfter | Self::PollError => 500,
            Self::BadGateway => 502,
            Self::Said(said) => said.status,
        }
    }

    pub(crate) fn header(&self) -> Option<(&'static str, &'static str)> {
        if let Self::Said(said) = self { said.header } else { None }
    }

    pub(crate) fn body(&self, request_id: &str) -> Body {
        let json = match self {
            Self::WrongKey => gateway("无效的令牌", "", request_id),
            Self::AccountClosed => gateway("该令牌状态不可用", "", request_id),
            Self::NoMoney(NoMoneyAs::Quota) => no_quota(),
            Self::NoMoney(NoMoneyAs::Kling1102) => kling(1102, "Account balance not enough", request_id),
            Self::RateLimited => kling(1302, "your requests are too frequent", request_id),
            Self::Busy => kling(1303, "parallel task over resource pack limit", request_id),
            Self::Saturated => task_route("fail_to_fetch_task", "当前分组上游负载已饱和，请稍后再试"),
            Self::ServerError | Self::PollError => kling(5000, "Internal server error", request_id),
            Self::ServerErrorAfter => task_route("do_request_failed", "do request failed: timeout"),
            Self::BadGateway => return Body::Html(BAD_GATEWAY),
            Self::Said(said) if said.body.starts_with('<') => return Body::Html(said.body),
            Self::Said(said) => return Body::Json(said.body.to_owned()),
            Self::ContentPolicy => kling(1301, "Triggered content risk control", request_id),
            Self::BrokenOff => gateway("unexpected EOF", "invalid_request", request_id),
            Self::NotJson(words) => gateway(words, "invalid_request", request_id),
            Self::Invalid(words) => kling(1201, words, request_id),
            Self::TooLarge => gateway("request body too large", "invalid_request", request_id),
            Self::AlreadyExists(id) => {
                kling(1201, &format!("external_task_id {id} already exists"), request_id)
            }
            Self::TaskNotExist => task_route("task_not_exist", "task_not_exist"),
            Self::NoSuchPath(path) => json!({"error": {
                "message": format!("Invalid URL ({path})"), "type": "invalid_request_error", "param": "", "code": ""
            }}),
        };
        Body::Json(json.to_string())
    }
}

fn kling(code: u16, message: &str, request_id: &str) -> Value {
    json!({"code": code, "message": message, "request_id": request_id})
}

fn gateway(message: &str, code: &str, request_id: &str) -> Value {
    let message = format!("{message} (request id: {request_id})");
    json!({"error": {"message": message, "type": "comet_api_error", "param": "", "code": code}})
}

fn task_route(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message, "data": null})
}

fn no_quota() -> Value {
    json!({"error": {
        "message": "user [1] quota [0] preConsumedQuota [1] is not enough",
        "localized_message": "Insufficient user quota",
        "type": "shell_api_error", "param": "", "code": "insufficient_user_quota"
    }})
}

const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn body(refusal: &Refusal) -> Value {
        match refusal.body("r") {
            Body::Json(text) => serde_json::from_str(&text).unwrap(),
            Body::Html(text) => panic!("{text}"),
        }
    }

    #[test]
    fn kling_refuses_without_data() {
        let busy =
            json!({"code": 1303, "message": "parallel task over resource pack limit", "request_id": "r"});
        assert_eq!((Refusal::Busy.status(), body(&Refusal::Busy)), (429, busy));
        let duplicate = Refusal::AlreadyExists("a".to_owned());
        assert_eq!((duplicate.status(), &body(&duplicate)["code"]), (400, &json!(1201)));
        let broke = Refusal::NoMoney(NoMoneyAs::Kling1102);
        assert_eq!((broke.status(), &body(&broke)["code"]), (429, &json!(1102)));
    }

    #[test]
    fn the_gateway_refuses_with_an_error_object() {
        let broke = Refusal::NoMoney(NoMoneyAs::Quota);
        assert_eq!(
            (broke.status(), &body(&broke)["error"]["code"]),
            (403, &json!("insufficient_user_quota"))
        );
        let words = body(&Refusal::WrongKey)["error"]["message"].as_str().unwrap().to_owned();
        assert!(words.ends_with("(request id: r)"), "{words}");
    }

    #[test]
    fn an_unknown_task_is_told_in_the_task_routes_words() {
        let expected = json!({"code": "task_not_exist", "message": "task_not_exist", "data": null});
        let refusal = Refusal::TaskNotExist;
        assert_eq!((refusal.status(), body(&refusal)), (400, expected));
    }

    #[test]
    fn a_proxy_answers_in_html() {
        assert!(matches!(Refusal::BadGateway.body("r"), Body::Html(_)));
        assert_eq!(Refusal::BadGateway.status(), 502);
    }
}
