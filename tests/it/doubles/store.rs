//! The store as one process sees it: each create and each read is an effect of the process, and those of one kind of
//! object can be made to fail.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use sha2::{Digest, Sha256};

use super::effects::Effects;
use super::ledger::Trouble;

/// The kinds of objects; creating one is the effect with that name.
const KINDS: [&str; 13] = [
    "intent-1",
    "intent-2",
    "intent-3",
    "refused-1",
    "refused-2",
    "refused-3",
    "task-1",
    "task-2",
    "task-3",
    "result",
    "resolved",
    "image",
    "other",
];

/// The effect of a read, whatever object is read.
pub const LOOK: &str = "look";

#[derive(Debug)]
pub struct ObservedStore {
    objects: InMemory,
    effects: Effects,
    /// By the kind of the object that is created.
    troubles: Mutex<Vec<(&'static str, Trouble)>>,
    down: AtomicBool,
    /// Whether it accepts everything except images.
    full: AtomicBool,
    images_put: AtomicUsize,
}

impl ObservedStore {
    pub fn new(effects: Effects) -> Self {
        let (down, full) = (AtomicBool::new(false), AtomicBool::new(false));
        let (troubles, images_put) = (Mutex::default(), AtomicUsize::new(0));
        Self { objects: InMemory::new(), effects, troubles, down, full, images_put }
    }

    /// Makes the next creates of this kind fail like this, one after the other.
    pub fn trouble(&self, kind: &'static str, troubles: &[Trouble]) {
        assert!(KINDS.contains(&kind), "{kind}");
        self.troubles.lock().unwrap().extend(troubles.iter().map(|trouble| (kind, *trouble)));
    }

    /// Sets whether every operation fails.
    pub fn down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// Sets whether it refuses images and accepts everything else.
    pub fn full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// How often a put of an image was tried.
    pub fn images_put(&self) -> usize {
        self.images_put.load(Ordering::Relaxed)
    }

    /// The kinds of the receipts that a job has, in the order of their names.
    pub async fn receipts(&self, job: &str) -> Vec<String> {
        let all: Vec<ObjectMeta> = self.objects.list(None).try_collect().await.unwrap();
        let start = format!("{job}.");
        let names = all.iter().filter(|object| object.location.as_ref().starts_with("receipts/"));
        let mut kinds: Vec<String> = names
            .filter_map(|object| object.location.filename()?.strip_prefix(&start).map(str::to_owned))
            .collect();
        kinds.sort();
        kinds
    }

    /// Returns a receipt without an effect.
    pub async fn receipt(&self, job: &str, kind: &str) -> Option<Bytes> {
        let found = self.objects.get(&key(job, kind)).await.ok()?;
        Some(found.bytes().await.unwrap())
    }

    /// Writes a receipt without an effect.
    pub async fn plant(&self, job: &str, kind: &str, body: impl Into<PutPayload>) {
        self.objects.put(&key(job, kind), body.into()).await.unwrap();
    }

    /// Deletes all receipts of a job without an effect.
    pub async fn forget(&self, job: &str) {
        for kind in self.receipts(job).await {
            self.objects.delete(&key(job, &kind)).await.unwrap();
        }
    }

    fn is_down(&self) -> Result<()> {
        if self.down.load(Ordering::Relaxed) { Err(failed("down")) } else { Ok(()) }
    }
}

/// The key that the receipts' module documents.
fn key(job: &str, kind: &str) -> Path {
    let folder = Sha256::digest(job.as_bytes())[0];
    Path::from(format!("receipts/{folder:02x}/{job}.{kind}"))
}

fn kind(key: &Path) -> &'static str {
    let text = key.as_ref();
    let last = if text.starts_with("images/") { "image" } else { text.rsplit('.').next().unwrap() };
    KINDS.into_iter().find(|kind| *kind == last).unwrap_or("other")
}

fn failed(message: &str) -> object_store::Error {
    object_store::Error::Generic { store: "observed", source: message.to_owned().into() }
}

#[async_trait]
impl ObjectStore for ObservedStore {
    async fn put_opts(&self, key: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        let kind = kind(key);
        let putting = async {
            tokio::task::yield_now().await;
            self.is_down()?;
            if kind == "image" {
                self.images_put.fetch_add(1, Ordering::Relaxed);
                if self.full.load(Ordering::Relaxed) {
                    return Err(failed("no space left"));
                }
            }
            let trouble = {
                let mut troubles = self.troubles.lock().unwrap();
                let at = troubles.iter().position(|(troubled, _)| *troubled == kind);
                at.map(|at| troubles.remove(at).1)
            };
            if trouble == Some(Trouble::Before) {
                return Err(failed("cut off"));
            }
            let put = self.objects.put_opts(key, body, options).await;
            if trouble == Some(Trouble::After) { Err(failed("no answer")) } else { put }
        };
        self.effects.act(kind, putting).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let getting = async {
            tokio::task::yield_now().await;
            self.is_down()?;
            self.objects.get_opts(key, options).await
        };
        self.effects.act_unlisted(LOOK, getting).await
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

impl fmt::Display for ObservedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("observed")
    }
}
