//! From the provider's host into the store, for the worker and for `resolve --fetch`.

use crate::images::Body;
use crate::job::StoredMedia;
use crate::storage::{MediaFault, MediaUpload};

/// Lets a video or a sound pass through into the store, part by part.
///
/// # Errors
///
/// The bytes don't come, are no such file, or the store fails; nothing is stored then.
pub async fn stream(body: &mut dyn Body, mut upload: MediaUpload) -> Result<StoredMedia, MediaFault> {
    let of = |body: &dyn Body, fault: MediaFault| match fault {
        MediaFault::File(error) => MediaFault::File(body.located(error)),
        MediaFault::Store(error) => MediaFault::Store(error),
    };
    while let Some(chunk) = body.chunk().await? {
        upload.write(&chunk).await.map_err(|fault| of(body, fault))?;
    }
    upload.finish().await.map_err(|fault| of(body, fault))
}
