//! Fixed replies to a POST and to a query, word for word.

use crate::faults::Fault;

/// A reply that is always the same.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) fault: Fault,
    /// The name of the fault, for the report.
    pub(crate) name: &'static str,
    pub(crate) status: u16,
    pub(crate) body: &'static str,
    pub(crate) header: Option<(&'static str, &'static str)>,
}

const fn said(fault: Fault, name: &'static str, status: u16, body: &'static str) -> Said {
    Said { fault, name, status, body, header: None }
}

macro_rules! reply {
    ($file:literal) => {
        include_str!(concat!("../fixtures/replies/", $file))
    };
}

/// Instead of making a task.
pub(crate) static BEFORE: &[Said] = &[
    said(Fault::GatewayLimit, "gateway-limit", 429, reply!("4.1-rate-limit.429.json")),
    Said {
        header: Some(("retry-after", "1")),
        ..said(Fault::RetryAfter, "retry-after", 429, reply!("4.1-rate-limit.429.json"))
    },
    said(Fault::IpRefused, "ip-refused", 429, reply!("4.2-1304.429.json")),
    said(Fault::NoChannel, "no-channel", 503, reply!("4.1-no-channel.503.json")),
    said(Fault::NoChannelZh, "no-channel-zh", 503, reply!("4.1-words-no-channel-zh.503.json")),
    said(Fault::NoChannelAs500, "no-channel-as500", 500, reply!("4.1-words-no-channel-en.500.json")),
    said(Fault::NoQuotaZh, "no-quota-zh", 403, reply!("4.1-words-no-quota-zh.403.json")),
    said(Fault::SaturatedAs500, "saturated-as500", 500, reply!("4.1-words-saturated-zh.500.json")),
    said(Fault::ContentPolicyZh, "content-policy-zh", 400, reply!("4.1-words-policy-zh.400.json")),
    said(Fault::NoSuchRoute, "no-such-route", 404, reply!("4.1-invalid-url.404.json")),
    Said {
        header: Some(("location", "/")),
        ..said(Fault::Redirected, "redirected", 301, reply!("4.1-redirect.301.html"))
    },
    said(Fault::BodyTooLarge, "body-too-large", 413, reply!("4.1-too-large.413.html")),
    said(Fault::InvalidRequest, "invalid-request", 400, reply!("4.1-invalid-request.400.json")),
    said(
        Fault::InvalidRequestAs500,
        "invalid-request-as500",
        500,
        reply!("4.1-client-error-as-500.500.json"),
    ),
    said(Fault::Discontinued, "discontinued", 400, reply!("4.2-1201-discontinued.400.json")),
    said(Fault::PolicyAs200, "policy-as200", 200, reply!("4.2-1301-with-200.200.json")),
    said(Fault::ExistsFalsely, "exists-falsely", 400, reply!("4.2-1201-already-exists.400.json")),
];

/// About a task that was made.
pub(crate) static AFTER: &[Said] = &[
    said(Fault::ExistsAfter, "exists-after", 400, reply!("4.2-1201-already-exists.400.json")),
    said(Fault::GatewayTimeoutAfter, "gateway-timeout-after", 504, reply!("4.1-html.504.html")),
    said(Fault::OriginTimeoutAfter, "origin-timeout-after", 524, reply!("4.1-html.524.html")),
    said(Fault::NoIdAfter, "no-id-after", 200, reply!("2.2-no-id.200.json")),
    said(Fault::NullDataAfter, "null-data-after", 200, reply!("2.2-data-is-null.200.json")),
    said(Fault::CutShortAfter, "cut-short-after", 200, r#"{"code":0,"message":"SUCCEED","data":{"task_"#),
];

/// To a query.
pub(crate) static POLLS: &[Said] = &[
    said(Fault::PollHtml, "poll-html", 502, reply!("4.1-proxy.502.html")),
    said(Fault::PollRateLimited, "poll-rate-limited", 429, reply!("4.1-rate-limit.429.json")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_under_the_names_of_their_faults() {
        for said in BEFORE.iter().chain(AFTER).chain(POLLS) {
            assert_eq!(said.name, said.fault.name());
        }
    }
}
