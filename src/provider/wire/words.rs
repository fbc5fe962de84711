//! What the provider's messages mean if there is no code, or a code that stands for many things.
//!
//! The gateways of the one-api and new-api family answer in Chinese or English, and many forks have codes and types
//! of their own. So their sentences are recognized by a few words each. Sources: `middleware/distributor.go`,
//! `middleware/auth.go`, `model/token.go`, `controller/relay.go` and `types/error.go` of
//! [songquanpeng/one-api](https://github.com/songquanpeng/one-api) and
//! [QuantumNous/new-api](https://github.com/QuantumNous/new-api).
//!
//! Quotations in a sentence are removed first, since they may be the job's own prompt. A long text is not one of
//! their sentences either.

use super::meaning::ReplyClass;

/// Without quotations their sentences are shorter than this.
const SENTENCE_CHARS_MAX: usize = 300;

/// The opening and the closing character of each kind of quotation.
const QUOTES: [(char, char); 7] =
    [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('「', '」'), ('『', '』')];

/// If a channel fails, the gateway tries another one by itself. If it then finds none, it uses these words, and the
/// result of the first try is unknown.
const ANOTHER_TRY: &[&str] = &["retry", "重试", "重試"];

/// The gateway found no channel for the model before it forwarded anything.
const NO_CHANNEL: &[&str] = &[
    "无可用渠道",
    "無可用渠道",
    "无可用的渠道",
    "无可用通道",
    "没有可用渠道",
    "没有可用的渠道",
    "沒有可用的渠道",
    "可用渠道失败",
    "可用渠道不存在",
    "渠道不存在",
    "no available channel",
    "no channel available",
    "no channels available",
    "failed to get available channel",
    "no available upstream",
    "没有配置支持该请求格式的渠道",
    "数据库一致性已被破坏",
    "价格未配置",
    "倍率未配置",
    "倍率或价格未配置",
];

/// The account or its key has no money left. It is charged before anything is forwarded.
const NO_MONEY: &[&str] = &[
    "额度不足",
    "額度不足",
    "额度已用尽",
    "額度已用盡",
    "余额不足",
    "餘額不足",
    "预扣费额度失败",
    "欠费",
    "quota is not enough",
    "quota not enough",
    "quota exhausted",
    "quota is exhausted",
    "insufficient quota",
    "insufficient user quota",
    "insufficient balance",
    "balance is not enough",
    "balance not enough",
    "insufficient credit",
    "exceeded your current quota",
];

/// The key is refused.
const NO_KEY: &[&str] = &[
    "无效的令牌",
    "無效的令牌",
    "令牌已过期",
    "令牌已過期",
    "令牌状态不可用",
    "令牌验证失败",
    "未提供令牌",
    "invalid token",
    "token has expired",
    "token expired",
    "token is expired",
    "token status is unavailable",
    "invalid api key",
    "incorrect api key",
];

/// The key or the account has no right to this.
const NOT_ALLOWED: &[&str] = &[
    "用户已被封禁",
    "用戶已被封禁",
    "用户已被禁用",
    "无权访问",
    "無權訪問",
    "令牌无权",
    "分组已被禁用",
    "已被弃用",
    "只能在指定网段使用",
    "不在令牌允许访问的列表中",
    "user has been banned",
    "has no access to model",
    "no permission to access",
    "group has been disabled",
    "group is disabled",
];

/// There are too many requests now; no task was made.
const TOO_MUCH: &[&str] = &[
    "负载已饱和",
    "負載已飽和",
    "负载饱和",
    "达到请求数限制",
    "达到总请求数限制",
    "请求过于频繁",
    "请求太频繁",
];

/// The gateway itself searches the request for such words before it forwards anything.
const SENSITIVE_WORDS: &[&str] = &["敏感词", "敏感詞", "sensitive word"];

/// Kling and the gateways before it refuse the content of a picture or a prompt.
const POLICY: &[&str] = &[
    "risk control",
    "content risk",
    "content policy",
    "content filter",
    "content_filter",
    "content moderation",
    "content safety",
    "safety policy",
    "safety policies",
    "safety system",
    "safety filter",
    "safety check",
    "safety guideline",
    "safety review",
    "usage policy",
    "usage policies",
    "community guideline",
    "content guideline",
    "terms of service",
    "violate",
    "violation",
    "violating",
    "sensitive",
    "moderation",
    "moderated",
    "nsfw",
    "nudity",
    "sexual",
    "pornograph",
    "inappropriate",
    "prohibited",
    "disallowed content",
    "unsafe",
    "harmful",
    "offensive",
    "flagged",
    "copyright",
    "infring",
    "public figure",
    "celebrit",
    "风控",
    "風控",
    "风险",
    "審核",
    "审核",
    "审查",
    "敏感",
    "违规",
    "違規",
    "违法",
    "违禁",
    "违反",
    "違反",
    "不合规",
    "合规",
    "内容安全",
    "內容安全",
    "安全策略",
    "安全政策",
    "不安全",
    "涉黄",
    "涉政",
    "色情",
    "低俗",
    "暴力",
    "侵权",
    "侵權",
    "版权",
    "名人",
    "公众人物",
    "不当内容",
    "不良信息",
    "使用政策",
    "社区准则",
];

/// The provider says that the failure was its own, and not because of the request.
const TECHNICAL: &[&str] = &[
    "internal generation error",
    "internal error",
    "internal server error",
    "server error",
    "system error",
    "service unavailable",
    "service is unavailable",
    "service busy",
    "server is busy",
    "system is busy",
    "system busy",
    "overloaded",
    "timeout",
    "timed out",
    "time out",
    "try again later",
    "out of memory",
    "network error",
    "connection reset",
    "bad gateway",
    "内部错误",
    "內部錯誤",
    "服务器错误",
    "系统错误",
    "系统异常",
    "系统繁忙",
    "服务繁忙",
    "服务异常",
    "服务不可用",
    "服务器繁忙",
    "超时",
    "超時",
    "网络错误",
    "请稍后重试",
    "请稍后再试",
];

/// A sentence in lower case without its quotations; `None` if it is too long.
fn sentence(said: &str) -> Option<String> {
    let mut closes = None;
    let mut kept = String::new();
    for c in said.chars() {
        match closes {
            Some(closing) if c == closing => closes = None,
            Some(_) => {}
            None => match QUOTES.iter().find(|(opening, _)| *opening == c) {
                // An apostrophe inside a word opens no quotation.
                Some((opening, _)) if *opening == '\'' && kept.ends_with(char::is_alphanumeric) => {
                    kept.push(c)
                }
                Some((_, closing)) => closes = Some(*closing),
                None => kept.extend(c.to_lowercase()),
            },
        }
    }
    (kept.chars().count() <= SENTENCE_CHARS_MAX).then_some(kept)
}

fn has(sentence: &str, words: &[&str]) -> bool {
    words.iter().any(|word| sentence.contains(word))
}

/// The meaning of a refusal by the gateway itself; `None` if the words don't show it.
pub(super) fn refusal(said: &str) -> Option<ReplyClass> {
    let said = sentence(said)?;
    let table = [
        (NO_MONEY, ReplyClass::Money),
        (NO_KEY, ReplyClass::Key),
        (NOT_ALLOWED, ReplyClass::Forbidden),
        (SENSITIVE_WORDS, ReplyClass::Policy),
        (TOO_MUCH, ReplyClass::Busy),
        (NO_CHANNEL, ReplyClass::NoChannel),
    ];
    if said.contains("quota") && said.contains("is not enough") {
        return Some(ReplyClass::Money);
    }
    let (_, meaning) = table.into_iter().find(|(words, _)| has(&said, words))?;
    // The words of [`ANOTHER_TRY`] also come with a plain "saturated" ("try again later"), where they don't mean an
    // earlier try.
    let tells_of_a_try = meaning == ReplyClass::NoChannel && has(&said, ANOTHER_TRY);
    Some(if tells_of_a_try { ReplyClass::Unknown } else { meaning })
}

/// Whether the words say that the content is against a policy.
pub(super) fn is_policy(said: &str) -> bool {
    sentence(said).is_some_and(|said| has(&said, POLICY))
}

/// Whether the words say that the failure was the provider's own. An empty or unknown message doesn't say so.
pub(super) fn is_technical(said: &str) -> bool {
    sentence(said).is_some_and(|said| has(&said, TECHNICAL) && !has(&said, POLICY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_written_as_it_is_looked_for() {
        let lists = [
            NO_CHANNEL,
            NO_MONEY,
            NO_KEY,
            NOT_ALLOWED,
            TOO_MUCH,
            SENSITIVE_WORDS,
            POLICY,
            TECHNICAL,
            ANOTHER_TRY,
        ];
        for word in lists.into_iter().flatten() {
            assert_eq!(sentence(word).as_deref(), Some(*word));
        }
    }

    #[test]
    fn the_gateways_sentences_mean_what_their_source_does_behind_them() {
        for (said, meaning) in [
            ("当前分组 default 下对于模型 kling-v2 无可用渠道 (request id: 1)", Some(ReplyClass::NoChannel)),
            ("分组 vip 下模型 kling-v2 无可用渠道（distributor）", Some(ReplyClass::NoChannel)),
            (
                "获取分组 default 下模型 kling-v2 的可用渠道失败（distributor）: x",
                Some(ReplyClass::NoChannel),
            ),
            (
                "No available channel for model kling-v2 under group default (distributor)",
                Some(ReplyClass::NoChannel),
            ),
            ("there is no channel available for model kling-v2", Some(ReplyClass::NoChannel)),
            ("数据库一致性已被破坏，请联系管理员", Some(ReplyClass::NoChannel)),
            // Another channel was tried before.
            ("获取分组 default 下模型 kling-v2 的可用渠道失败（retry）: x", Some(ReplyClass::Unknown)),
            ("分组 default 下模型 kling-v2 的可用渠道不存在（retry）", Some(ReplyClass::Unknown)),
            (
                "No available channel for model kling-v2 under group default (retry)",
                Some(ReplyClass::Unknown),
            ),
            ("用户额度不足, 剩余额度: ＄0.01", Some(ReplyClass::Money)),
            ("该令牌额度已用尽", Some(ReplyClass::Money)),
            ("user [1] quota [5] preConsumedQuota [9] is not enough", Some(ReplyClass::Money)),
            ("user quota is not enough", Some(ReplyClass::Money)),
            ("You exceeded your current quota, please check your plan", Some(ReplyClass::Money)),
            ("无效的令牌 (request id: 1)", Some(ReplyClass::Key)),
            ("该令牌已过期", Some(ReplyClass::Key)),
            ("该令牌状态不可用", Some(ReplyClass::Key)),
            ("用户已被封禁", Some(ReplyClass::Forbidden)),
            ("该令牌无权使用模型：kling-v2", Some(ReplyClass::Forbidden)),
            ("该令牌只能在指定网段使用：10.0.0.0/8，当前 ip：1.2.3.4", Some(ReplyClass::Forbidden)),
            ("当前分组上游负载已饱和，请稍后再试", Some(ReplyClass::Busy)),
            ("您已达到请求数限制：1分钟内最多请求60次", Some(ReplyClass::Busy)),
            ("user sensitive words detected", Some(ReplyClass::Policy)),
            ("do request failed: timeout", None),
            ("", None),
            // Quotations of the job's own words.
            ("can't parse the prompt \"no available channel\"", None),
            ("the prompt “无可用渠道” was not understood", None),
        ] {
            assert_eq!(refusal(said), meaning, "{said}");
        }
        assert_eq!(refusal(&format!("{} 无可用渠道", "x".repeat(400))), None);
    }

    #[test]
    fn a_failure_is_technical_only_where_the_words_say_so() {
        for said in
            ["Internal generation error", "task failed, reason: Timeout", "系统繁忙，请稍后再试", "内部错误"]
        {
            assert!(is_technical(said) && !is_policy(said), "{said}");
        }
        for said in [
            "Failure to pass the risk control system",
            "Triggered content risk control",
            "内容安全审核未通过",
            "The prompt contains sensitive words",
            "Your request violates our usage policy",
            "This image was flagged by our safety system. Try again later",
            "生成内容违规",
            "內容安全審核未通過",
            "内部错误：内容审核",
        ] {
            assert!(is_policy(said) && !is_technical(said), "{said}");
        }
        for said in
            ["", "Image pixel is invalid", "the provider gave no reason", "E1234", "我们无法处理您的请求"]
        {
            assert!(!is_policy(said) && !is_technical(said), "{said}");
        }
    }
}
