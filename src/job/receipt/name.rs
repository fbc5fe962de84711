//! The names of the receipts. This is the only place where they are written and read.
//!
//! | name | says |
//! |---|---|
//! | `intent-n` | the gate of attempt n: a life has passed it and may post, or it is shut |
//! | `task-n` | attempt n was accepted as this task |
//! | `refused-n` | attempt n was certainly not accepted, or never sent |
//! | `failed-n` | the task of attempt n failed, and another generation may follow |
//! | `resolve-n` | a person's decision about a job that was given up and whose gate n is shut |
//! | `result` | the bytes of the job's terminal event |
//! | `resolved` | the bytes of the event that corrects it |

use std::fmt;

/// Which of a job's receipts it is. The numbers are those of the attempts, from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptName {
    Intent(u32),
    Task(u32),
    Refused(u32),
    Failed(u32),
    Decision(u32),
    Result,
    Correction,
}

impl ReceiptName {
    /// `None` for a name that this version doesn't know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((word, number)) = text.rsplit_once('-') else {
            return [Self::Result, Self::Correction].into_iter().find(|name| name.to_string() == text);
        };
        let number = number.parse().ok()?;
        let numbered = [Self::Intent, Self::Task, Self::Refused, Self::Failed, Self::Decision];
        let name = numbered.map(|name| name(number)).into_iter().find(|name| name.word() == word)?;
        // `intent-01` and `intent-+1` are not ours.
        (name.to_string() == text).then_some(name)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Intent(_) => "intent",
            Self::Task(_) => "task",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Decision(_) => "resolve",
            Self::Result => "result",
            Self::Correction => "resolved",
        }
    }
}

impl fmt::Display for ReceiptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intent(number)
            | Self::Task(number)
            | Self::Refused(number)
            | Self::Failed(number)
            | Self::Decision(number) => write!(f, "{}-{number}", self.word()),
            Self::Result | Self::Correction => f.write_str(self.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_was_written_and_no_other_text_is_a_name() {
        let (one, many) = (1, u32::MAX);
        for (name, text) in [
            (ReceiptName::Intent(one), "intent-1"),
            (ReceiptName::Task(one), "task-1"),
            (ReceiptName::Refused(2), "refused-2"),
            (ReceiptName::Failed(10), "failed-10"),
            (ReceiptName::Decision(many), "resolve-4294967295"),
            (ReceiptName::Result, "result"),
            (ReceiptName::Correction, "resolved"),
        ] {
            assert_eq!(name.to_string(), text);
            assert_eq!(ReceiptName::parse(text), Some(name));
        }
        for other in
            ["", "-", "intent", "intent-", "intent-01", "intent-+1", "intent--1", "intent-4294967296"]
        {
            assert_eq!(ReceiptName::parse(other), None, "{other}");
        }
        for other in ["Result", "result-1", "resolved-1", "resolve", "intent-1.bak", "invoice-1"] {
            assert_eq!(ReceiptName::parse(other), None, "{other}");
        }
    }
}
