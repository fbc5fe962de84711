//! The store, and the provider's file server, as one process reaches them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use comet_worker::images::{Body, Images};
use comet_worker::job::FileKind;
use comet_worker::job::image::FetchError;
use comet_worker::job::image::trouble::Trouble;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

use super::net::{Link, NoAnswer};
use crate::doubles::images::{FakeBody, FakeImages};

/// One process's way to the store.
#[derive(Debug)]
pub struct LinkedStore {
    pub link: Link,
    pub objects: Arc<InMemory>,
    /// The safeguard is removed: an existing object is created again.
    pub creates_always: bool,
}

/// One process's way to the images.
pub struct LinkedImages {
    pub link: Link,
    pub images: Arc<FakeImages>,
}

/// Probes have random names that our seed doesn't draw.
fn about(key: &Path) -> &str {
    if key.as_ref().starts_with("probe-") { "probe" } else { key.as_ref() }
}

fn no_answer(_: NoAnswer) -> Error {
    Error::Generic { store: "linked", source: "no answer".into() }
}

#[async_trait]
impl ObjectStore for LinkedStore {
    async fn put_opts(&self, key: &Path, body: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.creates_always {
            options.mode = PutMode::Overwrite;
        }
        let (objects, owned) = (Arc::clone(&self.objects), key.clone());
        let putting = async move { objects.put_opts(&owned, body, options).await };
        self.link.call("put", about(key), putting).await.map_err(no_answer)?
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let (objects, owned) = (Arc::clone(&self.objects), key.clone());
        let getting = async move { objects.get_opts(&owned, options).await };
        self.link.call("get", about(key), getting).await.map_err(no_answer)?
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
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

impl fmt::Display for LinkedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("linked")
    }
}

#[async_trait]
impl Images for LinkedImages {
    async fn open(&self, url: &Url, _: FileKind) -> std::result::Result<Box<dyn Body>, FetchError> {
        let (images, owned) = (Arc::clone(&self.images), url.clone());
        let fetching = async move { images.fetch(&owned).await };
        let answer = self.link.call("fetch", url.path(), fetching).await;
        let image = answer.unwrap_or_else(|_| Err(FetchError::new(Trouble::Silent, "no answer")))?;
        Ok(FakeBody::whole(image))
    }
}
