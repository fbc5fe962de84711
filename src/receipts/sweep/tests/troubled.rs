//! A store with one trouble, which affects the objects whose keys have a given end.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    pub(super) on: &'static str,
    pub(super) is: Troubles,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Troubles {
    /// The object can't be deleted.
    Refused,
    /// The object is listed, but is gone.
    Gone,
}

#[derive(Debug)]
pub(super) struct Troubled {
    objects: Arc<InMemory>,
    trouble: Trouble,
}

impl Trouble {
    pub(super) fn of(self, objects: Arc<InMemory>) -> Troubled {
        Troubled { objects, trouble: self }
    }

    fn hits(self, is: Troubles, key: &Path) -> bool {
        self.is == is && key.as_ref().ends_with(self.on)
    }
}

#[async_trait]
impl ObjectStore for Troubled {
    async fn put_opts(&self, key: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.objects.put_opts(key, body, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        if self.trouble.hits(Troubles::Gone, key) {
            return Err(Error::NotFound { path: key.to_string(), source: "gone".into() });
        }
        self.objects.get_opts(key, options).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (objects, trouble) = (Arc::clone(&self.objects), self.trouble);
        keys.then(move |key| {
            let objects = Arc::clone(&objects);
            async move {
                let key = key?;
                if trouble.hits(Troubles::Refused, &key) {
                    return Err(Error::Generic { store: "troubled", source: "refused".into() });
                }
                objects.delete(&key).await?;
                Ok(key)
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Troubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("troubled")
    }
}
