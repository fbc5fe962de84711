//! A ledger that loses every first answer.

use std::sync::Arc;

use async_trait::async_trait;
use comet_worker::ledger::{Ledger, LedgerError};

use crate::around::{Around, Asked, Call, Through};

/// Makes every call twice and returns the second answer.
pub struct EachTwice(Arc<dyn Ledger>);

pub type Twice = Through<EachTwice>;

pub fn twice(ledger: Arc<dyn Ledger>) -> Twice {
    Through(EachTwice(ledger))
}

#[async_trait]
impl Around for EachTwice {
    async fn around<T: Send + 'static>(&self, _: Asked, call: Call<T>) -> Result<T, LedgerError> {
        call(Arc::clone(&self.0)).await?;
        call(Arc::clone(&self.0)).await
    }
}
