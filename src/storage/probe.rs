//! Probes the store with the same act that failed.
//!
//! A nearly full store accepts a small object but no image, so the probe is as large as the largest object that was
//! refused. A worker doesn't need to delete, so a probe that stays in the store has not failed. Each process
//! overwrites its own probe, which bounds what stays.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use object_store::{Error, ObjectStoreExt};
use uuid::Uuid;

use super::{Storage, StoreError, StoreErrorKind, bounded, unless_absent};

/// What this process knows about its puts.
#[derive(Debug)]
pub(super) struct Probing {
    /// The name of this process's probe.
    name: String,
    /// Bytes of the largest object that was refused since one of that size was accepted; 0 if there is none.
    refused: AtomicUsize,
}

/// A probe that worked.
#[derive(Debug)]
pub struct Probed {
    /// `Err`: the probe stays in the store, and so would what `comet-worker sweep` tries to remove.
    pub deleted: Result<(), StoreError>,
}

impl Default for Probing {
    fn default() -> Self {
        Self { name: format!("probe-{}", Uuid::new_v4()), refused: AtomicUsize::new(0) }
    }
}

impl Probing {
    /// Learns from the result of a put of this many bytes.
    pub(super) fn put(&self, bytes: usize, error: Option<&StoreError>) {
        match error.map(StoreError::kind) {
            None => {
                let is_as_large = |refused| (refused <= bytes).then_some(0);
                // An error here means that the refused object was larger.
                let _ = self.refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_as_large);
            }
            // A smaller object, or another one, says nothing about that.
            Some(StoreErrorKind::TooLarge) => {}
            Some(_) => {
                self.refused.fetch_max(bytes, Ordering::Relaxed);
            }
        }
    }
}

impl Storage {
    /// Bytes of the largest object that was refused since one of that size was accepted; 0 if there is none.
    #[must_use]
    pub fn refused_bytes(&self) -> usize {
        self.probing.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn note_put(&self, bytes: usize, error: Option<&StoreError>) {
        self.probing.put(bytes, error);
    }

    /// Reads an absent object, writes one as large as the largest that was refused, reads it back, and deletes it if
    /// it may.
    ///
    /// # Errors
    ///
    /// The first read or write that fails.
    pub async fn probe(&self) -> Result<Probed, StoreError> {
        self.probe_absent().await?;
        let key = self.key([self.probing.name.as_str()]);
        let words = Uuid::new_v4().to_string();
        let large = self.refused_bytes();
        if large > words.len() {
            let body = Bytes::from(vec![b'.'; large]);
            let what = format!("can't write {large} bytes, as many as were refused before");
            bounded(&what, self.objects.put(&key, body.into())).await?;
            self.probing.put(large, None);
        }
        // This overwrites the large object, so that it takes no space if it can't be deleted.
        bounded("can't write", self.objects.put(&key, words.clone().into())).await?;
        let found = self.get("can't read back what was written", &key).await?;
        if found != words.as_bytes() {
            return Err(StoreError::plain("the store gives back other bytes than were written".to_owned()));
        }
        let deleting = async { unless_absent(self.objects.delete(&key).await).map(drop) };
        Ok(Probed { deleted: bounded("can't delete", deleting).await })
    }

    /// Checks that an absent object is reported as absent. An absent receipt means that nothing was paid, and that
    /// can't be relied on if the store doesn't say so.
    async fn probe_absent(&self) -> Result<(), StoreError> {
        let key = self.key([format!("{}-absent", self.probing.name).as_str()]);
        let what = "can't see that an object is absent";
        let looking = tokio::time::timeout(super::OPERATION_TIMEOUT, self.objects.get(&key));
        match looking.await {
            Ok(Ok(_) | Err(Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => {
                let found = StoreError::of(what, &error);
                if found.kind() != StoreErrorKind::Forbidden {
                    return Err(found);
                }
                let words = super::error::meaning(&error).1;
                Err(StoreError::of_kind(StoreErrorKind::MayNotList, what, &words))
            }
            Err(_) => Err(StoreError::late(what, super::OPERATION_TIMEOUT)),
        }
    }
}
