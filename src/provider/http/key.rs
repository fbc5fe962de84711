//! The key of the API, as it goes out.

use std::sync::{PoisonError, RwLock};

use reqwest::header::HeaderValue;

use crate::secret::Secret;

pub(super) struct Key {
    secret: Secret,
    header: RwLock<HeaderValue>,
}

impl Key {
    /// `None` if it can't go into a header.
    pub(super) fn new(secret: Secret) -> Option<Self> {
        let header = RwLock::new(bearer(&secret)?);
        Some(Self { secret, header })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One that comes from a file may be another by now.
    pub(super) fn read_again(&self) {
        if let Some(header) = bearer(&self.secret) {
            *self.header.write().unwrap_or_else(PoisonError::into_inner) = header;
        }
    }
}

fn bearer(secret: &Secret) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", secret.now())).ok()?;
    header.set_sensitive(true);
    Some(header)
}
