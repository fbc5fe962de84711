//! The outcome that each scenario of the stand-in must have.

pub const SUCCEEDED: &str = "succeeded";
/// With one image of the two.
pub const ONE_IMAGE: &str = "succeeded, one image";
/// The jobs wait while the scenario is played, and succeed after it.
pub const HELD: &str = "held";

/// The outcome of a job: the scenario, the scenarios that must be played with it to show it, and the outcome.
pub const EXPECTED: &[(&str, &str, &str)] = &[
    ("rate-limited", "", HELD),
    ("busy", "", HELD),
    ("saturated", "", HELD),
    ("server-error", "", HELD),
    ("bad-gateway", "", HELD),
    ("content-policy", "", "content_policy"),
    ("no-money", "", HELD),
    ("gateway-limit", "", HELD),
    ("retry-after", "", HELD),
    ("ip-refused", "", HELD),
    ("no-channel", "", HELD),
    ("no-channel-zh", "", HELD),
    ("no-channel-as500", "", HELD),
    ("no-quota-zh", "", HELD),
    ("saturated-as500", "", HELD),
    ("content-policy-zh", "", "content_policy"),
    ("no-such-route", "", HELD),
    ("redirected", "", HELD),
    ("body-too-large", "", "rejected"),
    ("invalid-request", "", "rejected"),
    ("invalid-request-as500", "", "rejected"),
    // The model in the worker's configuration is gone, so no job is to blame.
    ("discontinued", "", HELD),
    ("policy-as200", "", "content_policy"),
    ("exists-falsely", "", "outcome_unknown"),
    ("hangs-up", "", HELD),
    ("do-request-failed-after", "", SUCCEEDED),
    ("bad-gateway-after", "", SUCCEEDED),
    ("exists-after", "", SUCCEEDED),
    ("gateway-timeout-after", "", SUCCEEDED),
    ("origin-timeout-after", "", SUCCEEDED),
    ("no-id-after", "", SUCCEEDED),
    ("null-data-after", "", SUCCEEDED),
    ("cut-short-after", "", SUCCEEDED),
    ("lost-reply", "", SUCCEEDED),
    ("hang-after", "", SUCCEEDED),
    ("drips-on-after", "", SUCCEEDED),
    ("slow-reply", "", SUCCEEDED),
    ("arrives-late", "", SUCCEEDED),
    ("reply-a2", "", SUCCEEDED),
    ("reply-a3", "", SUCCEEDED),
    ("reply-b-text", "", SUCCEEDED),
    ("reply-b-object", "", SUCCEEDED),
    ("reply-c", "", SUCCEEDED),
    ("reply-number-id", "", SUCCEEDED),
    ("reply-drips", "", SUCCEEDED),
    ("wrong-key", "", HELD),
    ("failed", "", "content_policy"),
    ("failed-internal", "", "generation_failed"),
    ("failed-policy-zh", "", "content_policy"),
    ("failed-sensitive-words", "", "content_policy"),
    ("failed-foreign-words", "", "generation_failed"),
    ("failed-null-message", "", "generation_failed"),
    ("failed-empty-message", "", "generation_failed"),
    ("never-finishes", "", "timed_out"),
    ("task-not-exist-at-first", "", SUCCEEDED),
    ("task-not-exist", "", "timed_out"),
    ("poll-html", "", HELD),
    ("poll-rate-limited", "", HELD),
    ("poll-drips", "", SUCCEEDED),
    ("query-path-gone", "", SUCCEEDED),
    ("look-wrapper", "", SUCCEEDED),
    ("look-wrapper-envelope", "", SUCCEEDED),
    ("look-url-in-fail-reason", "", SUCCEEDED),
    ("look-swept", "", "generation_failed"),
    ("look-flat", "", ONE_IMAGE),
    ("look-completed", "", ONE_IMAGE),
    ("look-fewer", "", ONE_IMAGE),
    ("look-seconds", "", SUCCEEDED),
    ("look-no-index", "", SUCCEEDED),
    ("look-text-index", "", SUCCEEDED),
    ("look-out-of-order", "", SUCCEEDED),
    ("look-duplicates", "", SUCCEEDED),
    ("look-succeeded", "", SUCCEEDED),
    ("look-uppercase", "", SUCCEEDED),
    ("look-empty-status", "", SUCCEEDED),
    ("look-unknown-status", "", SUCCEEDED),
    ("look-filled-late", "", SUCCEEDED),
    ("look-null-result", "", "result_invalid"),
    ("look-outputs", "", SUCCEEDED),
    ("look-foreign-shape", "", "result_invalid"),
    ("look-regress", "", SUCCEEDED),
    ("lookup-late", "lost-reply", SUCCEEDED),
    ("lookup-unsupported", "lost-reply", "outcome_unknown"),
    ("poll-error", "", HELD),
    ("file-500-twice", "", SUCCEEDED),
    // If no download works, no job is to blame: see `BESIDE_OTHERS`.
    ("file-403", "", HELD),
    ("file-403-then-fresh", "", SUCCEEDED),
    ("file-short", "", HELD),
    ("file-redirects", "", SUCCEEDED),
    ("file-redirect-inside", "", HELD),
    ("file-html", "", HELD),
    ("file-slow", "", SUCCEEDED),
    ("file-oversize", "", "result_invalid"),
    ("file-half", "", HELD),
    ("file-half-chunked", "", HELD),
    ("file-stalls", "", HELD),
    ("file-trailing", "", SUCCEEDED),
    ("file-fill-byte", "", SUCCEEDED),
    ("file-partial", "", SUCCEEDED),
    ("file-missing-at-first", "", SUCCEEDED),
    ("file-refuses-agent", "", HELD),
    ("file-xml", "", HELD),
    ("file-gif", "", "result_invalid"),
    ("file-gzip", "", HELD),
    ("file-redirect-loop", "", HELD),
    ("file-hangs-up", "", HELD),
    ("callback-lost", "", SUCCEEDED),
    ("callback-garbage", "", SUCCEEDED),
    ("callback-wrong-id", "", SUCCEEDED),
    ("callback-upstream-id", "", SUCCEEDED),
    ("callback-early", "", SUCCEEDED),
    ("callback-duplicate", "", SUCCEEDED),
    ("callback-out-of-order", "", SUCCEEDED),
];

/// The outcome of a job if only its files are hit, and the downloads of other jobs work.
pub const BESIDE_OTHERS: &[(&str, &str)] = &[
    ("file-403", "result_expired"),
    ("file-short", "result_expired"),
    ("file-redirect-inside", "result_expired"),
    ("file-html", "result_invalid"),
    ("file-half", "result_expired"),
    ("file-half-chunked", "result_expired"),
    ("file-stalls", "result_expired"),
    ("file-refuses-agent", "result_expired"),
    ("file-xml", "result_invalid"),
    ("file-gzip", "result_invalid"),
    ("file-redirect-loop", "result_expired"),
    ("file-hangs-up", "result_expired"),
];

/// The scenarios that stop the intake and are reported by `/readyz`, with the words that it must contain.
pub const STOPS: &[(&str, &str)] = &[
    ("no-money", "top the account up"),
    ("wrong-key", "api.key"),
    ("ip-refused", "IP addresses"),
    ("no-such-route", "api.base_url"),
    ("redirected", "api.base_url"),
    ("no-channel", "no channel has the model kling-v2"),
    ("no-channel-zh", "no channel has the model kling-v2"),
    ("no-channel-as500", "no channel has the model kling-v2"),
    ("no-quota-zh", "top the account up"),
    ("discontinued", "api.model"),
    ("file-refuses-agent", "download.user_agent"),
    ("file-html", "download: "),
];

pub fn expected(name: &str) -> &'static str {
    EXPECTED.iter().find(|(scenario, _, _)| *scenario == name).map(|(_, _, expected)| *expected).unwrap()
}

/// Whether a job that these scenarios have hit may end like this.
pub fn fits(struck: &[String], outcome: &str) -> bool {
    let has = |names: &[&str]| struck.iter().any(|name| names.contains(&name.as_str()));
    // This shows only in a look-up by external id, which is rare.
    let may_be_lost = has(&["lookup-unsupported", "task-not-exist"]) && outcome == "outcome_unknown";
    let of = |name: &String| {
        let beside = BESIDE_OTHERS.iter().find(|(file, _)| file == name);
        beside.map_or_else(|| expected(name), |(_, end)| end)
    };
    let ends = struck.iter().filter(|name| *name != "lookup-unsupported").map(of);
    let ends: Vec<_> = ends.filter(|end| ![HELD, SUCCEEDED, ONE_IMAGE].contains(end)).collect();
    // These shapes have no place for the words that identify a content refusal.
    let wordless = has(&["look-flat", "look-completed"]) && ends.contains(&"content_policy");
    if !ends.is_empty() {
        return ends.contains(&outcome) || may_be_lost || (wordless && outcome == "generation_failed");
    }
    let images = if struck.iter().any(|name| expected(name) == ONE_IMAGE) { ONE_IMAGE } else { SUCCEEDED };
    outcome == images || may_be_lost
}
