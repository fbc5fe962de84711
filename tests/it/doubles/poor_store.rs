//! A store that lacks something that the worker could take for granted.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Debug, Default)]
pub struct PoorStore {
    pub objects: InMemory,
    /// Create-if-absent first checks and then writes.
    pub looks_first: bool,
    /// An absent object is forbidden: the right to list is missing.
    pub hides_absent: bool,
    /// Nothing can be deleted.
    pub keeps_all: bool,
    /// It can't create only if absent.
    pub creates_never: bool,
    /// Bytes of the largest object that it accepts; 0 for any.
    pub room: AtomicUsize,
}

fn forbidden(key: &Path) -> Error {
    let source =
        "Server returned non-2xx status code: 403 Forbidden: <Error><Code>AccessDenied</Code></Error>".into();
    Error::PermissionDenied { path: key.to_string(), source }
}

#[async_trait]
impl ObjectStore for PoorStore {
    async fn put_opts(&self, key: &Path, body: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let room = self.room.load(Ordering::Relaxed);
        if room > 0 && body.content_length() > room {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(Error::Generic { store: "poor", source: Box::new(source) });
        }
        if options.mode == PutMode::Create {
            if self.creates_never {
                let source = "Server returned non-2xx status code: 501 Not Implemented: ".into();
                return Err(Error::Generic { store: "poor", source });
            }
            if self.looks_first {
                if self.objects.head(key).await.is_ok() {
                    return Err(Error::AlreadyExists { path: key.to_string(), source: "there".into() });
                }
                tokio::task::yield_now().await;
                options.mode = PutMode::Overwrite;
            }
        }
        self.objects.put_opts(key, body, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        match self.objects.get_opts(key, options).await {
            Err(Error::NotFound { .. }) if self.hides_absent => Err(forbidden(key)),
            answer => answer,
        }
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.keeps_all {
            return keys.map(|key| key.and_then(|key| Err(forbidden(&key)))).boxed();
        }
        self.objects.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

impl fmt::Display for PoorStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("poor")
    }
}
