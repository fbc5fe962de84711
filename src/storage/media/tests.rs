use object_store::memory::InMemory;
use tempfile::TempDir;

use super::*;
use crate::storage::StorageOptions;

/// An MP4 of about so many bytes, index first.
fn video(bytes: usize) -> Vec<u8> {
    use mp4_atom::{Encode as _, FourCC, Ftyp, Mdat, Moov, Mvhd};
    let brand = FourCC::new(b"isom");
    let mut file = Vec::new();
    Ftyp { major_brand: brand, minor_version: 0, compatible_brands: vec![brand] }.encode(&mut file).unwrap();
    Moov { mvhd: Mvhd { timescale: 1000, duration: 5000, ..Mvhd::default() }, ..Moov::default() }
        .encode(&mut file)
        .unwrap();
    Mdat { data: (0..bytes).map(|place| u8::try_from(place % 251).unwrap()).collect() }
        .encode(&mut file)
        .unwrap();
    file
}

fn job() -> JobId {
    "a".parse().unwrap()
}

async fn store(storage: &Storage, bytes: &[u8], identity: &str) -> Result<StoredMedia, MediaFault> {
    let mut upload = storage.begin_media(&job(), FileKind::Video, 0, identity);
    for chunk in bytes.chunks(100_000) {
        upload.write(chunk).await?;
    }
    upload.finish().await
}

fn folder() -> (TempDir, Storage) {
    let folder = TempDir::new().unwrap();
    let options = StorageOptions {
        url: format!("file:{}", folder.path().display()),
        fsync: true,
        ..Default::default()
    };
    let storage = Storage::open(&options).unwrap();
    (folder, storage)
}

/// The names of all files below a folder.
fn files(folder: &TempDir) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_file_of_many_parts_and_one_of_less_than_one_are_stored_byte_for_byte() {
    let (folder, in_folder) = folder();
    for storage in [in_folder, Storage::around(Arc::new(InMemory::new()))] {
        // Exactly two parts at the edge, with the head of some hundred bytes.
        let head = video(0).len();
        for bytes in [10, PART_BYTES - head, 2 * PART_BYTES - head, 2 * PART_BYTES + 1] {
            let bytes = video(bytes);
            let stored = store(&storage, &bytes, "one").await.unwrap();
            assert_eq!(storage.read(&stored.location).await.unwrap(), bytes);
            assert_eq!(stored.sha256, hex::encode(Sha256::digest(&bytes)));
            assert_eq!((stored.bytes, stored.duration_ms), (bytes.len() as u64, Some(5000)));
            assert_eq!(stored.content_type, "video/mp4");
            assert!(stored.location.contains("/videos/a/0-") && stored.location.ends_with(".mp4"));
        }
    }
    assert_eq!(files(&folder).len(), 1, "the same name, stored again");
}

#[tokio::test]
async fn the_same_file_has_one_key_and_another_has_another() {
    let (folder, storage) = folder();
    let one = store(&storage, &video(10), "a.mp4 3000 \"x\"").await.unwrap();
    assert_eq!(store(&storage, &video(10), "a.mp4 3000 \"x\"").await.unwrap(), one);
    let other = store(&storage, &video(20), "a.mp4 3010 \"y\"").await.unwrap();
    assert_ne!(other.location, one.location);
    assert_eq!(storage.read(&one.location).await.unwrap(), video(10));
    assert_eq!(files(&folder).len(), 2);
}

#[tokio::test]
async fn a_file_that_is_cut_off_or_given_up_leaves_nothing() {
    let (folder, storage) = folder();
    let bytes = video(3 * PART_BYTES);
    let cut = store(&storage, &bytes[..2 * PART_BYTES + 9], "cut").await.unwrap_err();
    assert!(matches!(cut, MediaFault::File(_)), "{cut:?}");
    let mut given_up = storage.begin_media(&job(), FileKind::Video, 0, "given up");
    given_up.write(&bytes[..2 * PART_BYTES]).await.unwrap();
    drop(given_up);
    let page = store(&storage, b"<!doctype html><h1>403 Forbidden</h1>", "page").await.unwrap_err();
    assert!(matches!(page, MediaFault::File(_)), "{page:?}");
    // What was staged is removed by tasks of their own.
    for _ in 0..1000 {
        if files(&folder).is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{:?}", files(&folder));
}

/// More files than there may be parts in memory, all at once: each gets on.
#[tokio::test]
async fn more_files_than_parts_in_memory_are_all_stored() {
    let storage = Storage::around(Arc::new(InMemory::new()));
    let bytes = Arc::new(video(2 * PART_BYTES + 77));
    let all: Vec<_> = (0..PARTS_MAX * 2)
        .map(|number| {
            let (storage, bytes) = (storage.clone(), Arc::clone(&bytes));
            tokio::spawn(async move { store(&storage, &bytes, &number.to_string()).await.unwrap() })
        })
        .collect();
    for stored in all {
        assert_eq!(stored.await.unwrap().bytes, bytes.len() as u64);
    }
    assert_eq!(storage.parts.free(), PARTS_MAX, "all given back");
}
