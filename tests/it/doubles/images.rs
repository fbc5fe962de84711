//! The provider's file server: it serves small real images, or what a test has scripted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use comet_worker::images::Images;
use comet_worker::job::image::{FetchError, Image};
use url::Url;

#[derive(Debug, Default)]
pub struct FakeImages {
    faults: Mutex<VecDeque<FetchError>>,
    /// The fault of one task's images, until `mend`.
    lasting: Mutex<BTreeMap<String, FetchError>>,
    fetched: Mutex<Vec<Url>>,
    hangs: AtomicBool,
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
    async fn fetch(&self, url: &Url) -> Result<Image, FetchError> {
        tokio::task::yield_now().await;
        self.fetched.lock().unwrap().push(url.clone());
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let lasting = self.lasting.lock().unwrap();
        if let Some((_, fault)) = lasting.iter().find(|(part, _)| url.as_str().contains(part.as_str())) {
            return Err(fault.clone());
        }
        drop(lasting);
        match self.faults.lock().unwrap().pop_front() {
            Some(fault) => Err(fault),
            None => Ok(picture(url)),
        }
    }
}
