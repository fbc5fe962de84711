//! Stores that lack something: how the start and the probes handle them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use comet_worker::heartbeat::Heartbeats;
use comet_worker::job::JobId;
use comet_worker::job::image::Image;
use comet_worker::receipts::Receipts;
use comet_worker::storage::{Storage, StoreErrorKind};
use comet_worker::worker::preflight::preflight;
use comet_worker::worker::{Shared, store_watch};
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio_util::sync::CancellationToken;

use crate::doubles::poor_store::PoorStore;
use crate::workbench::{Workbench, until};

fn around(store: PoorStore) -> (Arc<PoorStore>, Storage) {
    let store = Arc::new(store);
    (Arc::clone(&store), Storage::around(store))
}

/// A worker on this store.
fn on(store: PoorStore) -> Shared {
    let (_, storage) = around(store);
    Shared { receipts: Receipts::new(storage.clone()), storage, ..Workbench::new().shared }
}

fn image(side: u32) -> Image {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::NoCompression);
    let size = usize::try_from(side * side * 3).unwrap();
    encoder.write_header().unwrap().write_image_data(&vec![7; size]).unwrap();
    Image::of(Bytes::from(bytes)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_looks_first_and_writes_then_is_no_gate() {
    let (_, sound) = around(PoorStore::default());
    assert!(Receipts::new(sound).creates_only_once().await.unwrap());
    let shared = on(PoorStore { looks_first: true, ..PoorStore::default() });
    assert!(!shared.receipts.creates_only_once().await.unwrap());

    preflight(&shared, &CancellationToken::new()).await.unwrap();
    let weaknesses = shared.weaknesses.all();
    assert!(weaknesses.len() == 1 && weaknesses[0].contains("no gate"), "{weaknesses:?}");
    assert_eq!(shared.breaker.faults(), Vec::<String>::new(), "it takes jobs all the same");
    let sound = on(PoorStore::default());
    preflight(&sound, &CancellationToken::new()).await.unwrap();
    assert_eq!(sound.weaknesses.all(), Vec::<String>::new());
}

/// Checks that the worker never becomes ready at the start, and logs one line.
async fn never_ready(store: PoorStore, words: &[&str]) {
    let shared = on(store);
    let (stop, started) = (CancellationToken::new(), shared.clone());
    let begun = tokio::spawn({
        let stop = stop.clone();
        async move { preflight(&started, &stop).await }
    });
    until("a fault", || !shared.breaker.faults().is_empty()).await;
    let faults = shared.breaker.faults();
    assert!(faults.len() == 1 && words.iter().all(|words| faults[0].contains(words)), "{faults:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!begun.is_finished(), "no job is taken");
    stop.cancel();
    begun.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_list_no_job_is_taken_and_the_right_is_named() {
    let store = || PoorStore { hides_absent: true, ..PoorStore::default() };
    let (_, storage) = around(store());
    assert_eq!(storage.probe().await.unwrap_err().kind(), StoreErrorKind::MayNotList);
    never_ready(store(), &["s3:ListBucket", "403 AccessDenied"]).await;
}

#[tokio::test(start_paused = true)]
async fn without_create_if_absent_the_two_ways_out_are_named() {
    let store = PoorStore { creates_never: true, ..PoorStore::default() };
    never_ready(store, &["If-None-Match", "use a store that can", "generation.receipts = false"]).await;
}

#[tokio::test(start_paused = true)]
async fn deleting_is_no_part_of_what_must_work_and_leaves_one_probe() {
    let (store, storage) = around(PoorStore { keeps_all: true, ..PoorStore::default() });
    for _ in 0..10 {
        let probed = storage.probe().await.unwrap();
        assert_eq!(probed.deleted.unwrap_err().kind(), StoreErrorKind::Forbidden);
    }
    let left: Vec<_> = store.objects.list(None).try_collect().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    let shared = on(PoorStore { keeps_all: true, ..PoorStore::default() });
    preflight(&shared, &CancellationToken::new()).await.unwrap();
    assert_eq!(shared.breaker.faults(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_nearly_full_is_probed_with_what_it_refused() {
    let (store, storage) = around(PoorStore { room: AtomicUsize::new(4000), ..PoorStore::default() });
    let job: JobId = "a".parse().unwrap();
    let (small, large) = (image(10), image(60));
    storage.probe().await.unwrap();
    assert_eq!(storage.put_image(&job, 0, &large).await.unwrap_err().kind(), StoreErrorKind::Full);
    for _ in 0..2 {
        let refused = storage.probe().await.unwrap_err();
        let size = large.bytes.len().to_string();
        assert!(refused.kind() == StoreErrorKind::Full && refused.to_string().contains(&size), "{refused}");
        // It fits, but says nothing about the large one.
        storage.put_image(&job, 1, &small).await.unwrap();
    }
    store.room.store(0, Ordering::Relaxed);
    storage.probe().await.unwrap();
    assert_eq!(storage.refused_bytes(), 0);
    let objects: Vec<_> = store.objects.list(None).try_collect().await.unwrap();
    assert_eq!(objects.len(), 1, "the probe is gone: {objects:?}");
}

/// The bucket was exchanged, or a lifecycle rule deleted the id.
#[tokio::test(start_paused = true)]
async fn a_store_that_loses_its_id_closes_the_intake_until_it_is_back() {
    let (store, storage) = around(PoorStore::default());
    let shared = Shared { receipts: Receipts::new(storage.clone()), storage, ..Workbench::new().shared };
    preflight(&shared, &CancellationToken::new()).await.unwrap();
    let watched = shared.clone();
    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let stop = stop.clone();
        async move {
            let heartbeat = Heartbeats::new().register("store", Duration::from_secs(60));
            store_watch::watch(&watched, &heartbeat, &stop).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(shared.breaker.faults(), Vec::<String>::new());

    let key = "receipts/store-id".into();
    let id = store.objects.get(&key).await.unwrap().bytes().await.unwrap();
    for other in [None, Some("another's")] {
        store.objects.delete(&key).await.unwrap();
        if let Some(other) = other {
            store.objects.put(&key, other.into()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(31)).await;
        let faults = shared.breaker.faults();
        assert!(faults.len() == 1 && faults[0].contains("receipts/store-id"), "{faults:?}");
        assert!(store_watch::probe(&shared).await.is_err(), "a small object that is taken opens nothing");
        let now = store.objects.get(&key).await.ok().map(|found| found.meta.size);
        assert_eq!(now, other.map(|other| other.len() as u64), "no id is given anew");
        store.objects.put(&key, id.clone().into()).await.unwrap();
        store_watch::probe(&shared).await.unwrap();
        shared.breaker.worked(comet_worker::worker::breaker::Cause::Storage);
    }
    stop.cancel();
    watching.await.unwrap();
}
