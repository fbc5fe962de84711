//! The provider's file server: it serves small real images, or what a test has scripted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use comet_worker::images::{Body, Images};
use comet_worker::job::FileKind;
use comet_worker::job::image::{FetchError, Image};
use url::Url;

#[derive(Debug, Default)]
pub struct FakeImages {
    faults: Mutex<VecDeque<FetchError>>,
    /// The fault of one task's images, until `mend`.
    lasting: Mutex<BTreeMap<String, FetchError>>,
    fetched: Mutex<Vec<Url>>,
    hangs: AtomicBool,
    /// How long a server takes to answer.
    answers_after: Mutex<Duration>,
}

/// A body of one chunk, which hangs after it if `hangs`.
pub struct FakeBody {
    pub image: Image,
    pub chunks: usize,
    pub hangs: bool,
}

impl FakeBody {
    /// It is there at once.
    pub fn whole(image: Image) -> Box<dyn Body> {
        Box::new(Self { image, chunks: 0, hangs: false })
    }
}

#[async_trait]
impl Body for FakeBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        match self.chunks.checked_sub(1) {
            Some(left) => self.chunks = left,
            None if self.hangs => std::future::pending().await,
            None => return Ok(None),
        }
        Ok(Some(Bytes::new()))
    }

    fn identity(&self) -> String {
        self.image.sha256.clone()
    }

    fn take(&mut self, _: Bytes) {}

    fn image(self: Box<Self>) -> Result<Image, FetchError> {
        Ok(self.image)
    }
}

impl FakeImages {
    /// Makes the next fetches fail like this; later ones get their image.
    pub fn fail(&self, faults: impl IntoIterator<Item = FetchError>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Makes all fetches fail like this whose URL contains `part`.
    pub fn fail_where(&self, part: &str, fault: FetchError) {
        self.lasting.lock().unwrap().insert(part.to_owned(), fault);
    }

    /// Everything works again.
    pub fn mend(&self) {
        self.faults.lock().unwrap().clear();
        self.lasting.lock().unwrap().clear();
    }

    /// From now on no fetch ends, as if the file killed the process; or fetches end again.
    pub fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Relaxed);
    }

    /// From now on servers take this long to answer.
    pub fn answer_after(&self, time: Duration) {
        *self.answers_after.lock().unwrap() = time;
    }

    /// All URLs that were fetched, in order.
    pub fn fetched(&self) -> Vec<Url> {
        self.fetched.lock().unwrap().clone()
    }
}

/// The same URL path gives the same picture, and another path another one.
fn picture(url: &Url) -> Image {
    let shade = url.path().bytes().fold(0_u8, u8::wrapping_add);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[shade, 0]).unwrap();
    writer.finish().unwrap();
    Image::of(bytes.into()).unwrap()
}

#[async_trait]
impl Images for FakeImages {
    async fn open(&self, url: &Url, _: FileKind) -> Result<Box<dyn Body>, FetchError> {
        tokio::task::yield_now().await;
        self.fetched.lock().unwrap().push(url.clone());
        let answers_after = *self.answers_after.lock().unwrap();
        if !answers_after.is_zero() {
            tokio::time::sleep(answers_after).await;
        }
        let lasting = self.lasting.lock().unwrap();
        if let Some((_, fault)) = lasting.iter().find(|(part, _)| url.as_str().contains(part.as_str())) {
            return Err(fault.clone());
        }
        drop(lasting);
        let hangs = self.hangs.load(Ordering::Relaxed);
        match self.faults.lock().unwrap().pop_front().filter(|_| !hangs) {
            Some(fault) => Err(fault),
            None => Ok(Box::new(FakeBody { image: picture(url), chunks: 1, hangs })),
        }
    }
}
