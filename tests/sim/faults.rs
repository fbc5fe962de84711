//! The switches that make the stand-in misbehave: each fault of the provider that a client must survive, by name.
//!
//! `switches.rs` says how often each strikes. The list separates the faults before the charge from the faults after
//! it: a client may repeat a POST after the first kind, and must never repeat it after the second.

use clap::ValueEnum;

/// What can go wrong. The line above each is what `--list-faults` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// submit: 429 with code 1302, requests too frequent; no task
    RateLimited,
    /// submit: 429 with code 1303, too many tasks at once; no task
    Busy,
    /// submit: 429 of the gateway, all channels saturated; no task
    Saturated,
    /// submit: 500 before the task is made
    ServerError,
    /// submit: 502 with HTML before the task is made
    BadGateway,
    /// submit: 400 with code 1301, content policy; no task
    ContentPolicy,
    /// submit: the account is out of money, as --no-money-as says; no task
    NoMoney,
    /// submit: 429 of the gateway, too many requests; no task
    GatewayLimit,
    /// submit: the same with Retry-After; no task
    RetryAfter,
    /// submit: 429 with code 1304, IP whitelist; no task
    IpRefused,
    /// submit: 503 model_not_found; no task
    NoChannel,
    /// submit: 503 of the gateway in Chinese and without a code, no channel; no task
    NoChannelZh,
    /// submit: 500 of the gateway without a code, no available channel; no task
    NoChannelAs500,
    /// submit: 403 of the gateway in Chinese and without a code, no quota; no task
    NoQuotaZh,
    /// submit: 500 of the gateway in Chinese and without a code, all channels saturated; no task
    SaturatedAs500,
    /// submit: 400 in Chinese and without a code, content policy; no task
    ContentPolicyZh,
    /// submit: 404 with JSON; no task
    NoSuchRoute,
    /// submit: 301 with HTML; no task
    Redirected,
    /// submit: 413; no task
    BodyTooLarge,
    /// submit: 400 with an error object; no task
    InvalidRequest,
    /// submit: 500 with invalid_request; no task
    InvalidRequestAs500,
    /// submit: 400 with code 1201, the model has been discontinued; no task
    Discontinued,
    /// submit: 200 with code 1301; no task
    PolicyAs200,
    /// submit: 400 with code 1201, already exists, which is not so; no task
    ExistsFalsely,
    /// submit: the connection is closed before the body is read; no task
    HangsUp,
    /// submit: the task is made and charged, the reply is a 500
    ServerErrorAfter,
    /// submit: the task is made and charged, the reply is a 502 with HTML
    BadGatewayAfter,
    /// submit: the task is made and charged, the reply says that it already exists
    ExistsAfter,
    /// submit: the task is made and charged, the reply is a 504
    GatewayTimeoutAfter,
    /// submit: the task is made and charged, the reply is Cloudflare's 524 with HTML
    OriginTimeoutAfter,
    /// submit: the task is made and charged, the reply has no id
    NoIdAfter,
    /// submit: the task is made and charged, the reply has null for data
    NullDataAfter,
    /// submit: the task is made and charged, the JSON of the reply is cut short
    CutShortAfter,
    /// submit: the task is made and charged, the connection is closed without a reply
    ReplyLost,
    /// submit: the task is made and charged, no reply ever comes
    Hang,
    /// submit: the task is made and charged, the reply comes byte by byte for longer than anyone waits
    DripsOnAfter,
    /// submit: the task is made and charged at once, the reply takes --slow-for
    Slow,
    /// submit: the task is made only after --slow-for, also when the client has gone away meanwhile
    MadeLate,
    /// submit: made, told without request_id
    ReplyA2,
    /// submit: made, told with nulls everywhere
    ReplyA3,
    /// submit: made, told by a wrapper whose data is the id
    ReplyBText,
    /// submit: made, told by a wrapper around the id
    ReplyBObject,
    /// submit: made, told as a video
    ReplyC,
    /// submit: made, told with a number for an id
    ReplyNumberId,
    /// submit: made, and told byte by byte over --slow-for
    ReplyDrips,
    /// submit and poll: 401, the key is closed
    AccountClosed,
    /// task: ends failed, "Failure to pass the risk control system"; not charged
    Failed,
    /// task: ends failed, "Internal generation error"; not charged
    FailedInternal,
    /// task: ends failed, "内容安全审核未通过"; not charged
    FailedPolicyZh,
    /// task: ends failed, "The prompt contains sensitive words"; not charged
    FailedSensitiveWords,
    /// task: ends failed, "E1234"; not charged
    FailedForeignWords,
    /// task: ends failed with null for a message; not charged
    FailedNullMessage,
    /// task: ends failed with an empty message; not charged
    FailedEmptyMessage,
    /// task: stays in processing for ever
    NeverEnds,
    /// poll: the first three polls of the task say task_not_exist
    TaskNotExistAtFirst,
    /// poll: task_not_exist, for ever, by either id
    TaskNotExist,
    /// poll: 502 with HTML
    PollHtml,
    /// poll: 429 of the gateway
    PollRateLimited,
    /// poll: the reply comes byte by byte over --slow-for
    PollDrips,
    /// poll: 404 with JSON on images/generations, as ever on images/multi-image2image
    QueryPathGone,
    /// poll: a wrapper around the data
    LookWrapper,
    /// poll: a wrapper around the whole reply
    LookWrapperEnvelope,
    /// poll: a wrapper with the URL in fail_reason
    LookUrlInFailReason,
    /// poll: a wrapper that says FAILURE at the end, around a stale processing
    LookSwept,
    /// poll: status and one URL side by side
    LookFlat,
    /// poll: as of a video, completed with one video_url
    LookCompleted,
    /// poll: one image fewer than was asked for
    LookFewer,
    /// poll: times in seconds
    LookSeconds,
    /// poll: images without an index
    LookNoIndex,
    /// poll: images with texts for indices
    LookTextIndex,
    /// poll: images from the last to the first
    LookOutOfOrder,
    /// poll: each image twice
    LookDuplicates,
    /// poll: succeeded in place of succeed
    LookSucceeded,
    /// poll: statuses in capitals
    LookUppercase,
    /// poll: an empty status until the end
    LookEmptyStatus,
    /// poll: an unknown status until the end
    LookUnknownStatus,
    /// poll: succeed without images twice, and then with them
    LookFilledLate,
    /// poll: succeed with null for a result
    LookNullResult,
    /// poll: Kling's newer form, outputs in place of task_result
    LookOutputs,
    /// poll: succeeded with the images in an unknown shape
    LookForeignShape,
    /// poll: succeed without images, processing, and then succeed with them
    LookRegress,
    /// lookup: found by its external id only from the third look on
    LookupLate,
    /// lookup: never found by its external id
    LookupUnsupported,
    /// poll: 500
    PollError,
    /// download: the first two downloads of each image of the task are a 500
    ImageError,
    /// download: 403, whatever the client does
    ImageExpired,
    /// download: 403 until the task was polled again, which gives a fresh URL
    ImageExpiredOnce,
    /// download: the body ends at half of its length
    FileShort,
    /// download: two redirects, and then the file
    FileRedirects,
    /// download: a redirect to 127.0.0.1
    FileRedirectInside,
    /// download: 200 with HTML
    FileHtml,
    /// download: the body takes --slow-for
    FileSlow,
    /// download: 4 GiB
    FileOversize,
    /// download: half of the file, with the length of that half
    FileHalf,
    /// download: half of the file, in chunks without a length
    FileHalfChunked,
    /// download: half of the file, and then nothing more for ever
    FileStalls,
    /// download: the whole file, and bytes behind its end
    FileTrailing,
    /// download: a JPEG has a fill byte before its second marker
    FileFillByte,
    /// download: 206 with the whole file, though no part was asked for
    FilePartial,
    /// download: 404 for the six seconds after the first one of the image
    FileMissingAtFirst,
    /// download: 403 for a client that calls itself comet-worker
    FileRefusesAgent,
    /// download: 200 with an error in XML
    FileXml,
    /// download: 200 with a GIF
    FileGif,
    /// download: the file under gzip, though that was not asked for
    FileGzip,
    /// download: redirects without end
    FileRedirectLoop,
    /// download: the connection is closed without a reply
    FileHangsUp,
    /// callback: none is ever sent
    CallbackLost,
    /// callback: the body is not JSON
    CallbackGarbage,
    /// callback: both ids are another task's
    CallbackWrongId,
    /// callback: the task id is one that the client never saw, the external id is right
    CallbackUpstreamId,
    /// callback: the first comes before the reply to the submit
    CallbackEarly,
    /// callback: each comes twice
    CallbackDuplicate,
    /// callback: the end comes first, and then what was before it
    CallbackOutOfOrder,
}

impl Fault {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// One line on what it does.
    pub(crate) fn words(self) -> String {
        self.to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        Self::from_str(name, false)
            .map_err(|_| format!("«{name}» is no fault; comet-sim --list-faults names them all"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_and_a_line() {
        for fault in Fault::value_variants() {
            assert!(!fault.words().is_empty(), "{fault:?}");
            assert_eq!(Fault::named(&fault.name()), Ok(*fault));
        }
    }
}
