//! The key of the API, as it is sent.

use std::sync::{PoisonError, RwLock};

use reqwest::header::HeaderValue;

use crate::secret::Secret;

pub(super) struct Key {
    secret: Secret,
    header: RwLock<HeaderValue>,
}

impl Key {
    /// `None` if the key can't be sent in a header.
    pub(super) fn new(secret: Secret) -> Option<Self> {
        let header = RwLock::new(bearer(&secret)?);
        Some(Self { secret, header })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the key again, since the key in a file may have been replaced.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_changed_in_its_file_goes_out_once_it_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "before").unwrap();
        let key =
            Key::new(Secret::from_file("before".into(), file.clone(), |text| Ok(text.to_owned()))).unwrap();
        std::fs::write(&file, "after\n").unwrap();
        assert_eq!(key.header().to_str().unwrap(), "Bearer before", "not with each request");
        key.read_again();
        assert_eq!(key.header().to_str().unwrap(), "Bearer after");
        assert!(key.header().is_sensitive());
        std::fs::remove_file(&file).unwrap();
        key.read_again();
        assert_eq!(key.header().to_str().unwrap(), "Bearer after");
    }
}
