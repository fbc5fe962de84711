//! Checks that the store accepts what a worker writes, and that its receipts can be a gate.

use super::Finding;
use crate::cli::parts;
use crate::config::Config;
use crate::receipts::Receipts;
use crate::storage::{Storage, StoreError};

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    // It can't contain a secret (the configuration refuses a login), and a path is shown as it was written.
    let url = &config.storage.url;
    // The error says what to do.
    let fail = |error: &StoreError| Finding::fail(format!("{url}: {error}"));
    let storage = match Storage::open(&parts::storage_options(config)) {
        Ok(storage) => storage,
        Err(error) => return vec![Finding::fail(error.to_string())],
    };
    let mut findings: Vec<_> = storage.warnings().iter().map(Finding::warning).collect();
    match storage.probe().await {
        Ok(probed) => findings.extend(works(url, probed.deleted)),
        Err(error) => {
            findings.push(fail(&error));
            return findings;
        }
    }
    if config.generation.receipts {
        findings.push(match Receipts::new(storage).creates_only_once().await {
            Ok(true) => Finding::ok(
                "of many that create the same object at once one succeeds, so its receipts are a gate".to_owned(),
            ),
            Ok(false) => Finding::warning(
                "several that create the same object at once succeed, so its receipts are no gate: two workers with the \
                 same job may both pay for it; use a store with atomic conditional writes (S3, Google Cloud, Azure, a \
                 local folder)"
                    .to_owned(),
            ),
            Err(error) => fail(&error),
        });
    }
    findings
}

fn works(url: &str, deleted: Result<(), StoreError>) -> Vec<Finding> {
    match deleted {
        Ok(()) => vec![Finding::ok(format!("{url}: written, read back and deleted"))],
        Err(error) => vec![
            Finding::ok(format!("{url}: written and read back")),
            Finding::warning(format!(
                "it doesn't let objects be deleted, so each worker leaves some small ones behind (probe-…), and \
                 \"comet-worker sweep\" can't remove receipts: allow s3:DeleteObject if it is to ({error})"
            )),
        ],
    }
}
