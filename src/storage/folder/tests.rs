use bytes::Bytes;
use futures_util::future::join_all;
use object_store::ObjectStoreExt;
use tempfile::TempDir;

use super::super::StoreErrorKind;
use super::super::error::meaning;
use super::*;

fn opened() -> (TempDir, Folder) {
    let parent = TempDir::new().unwrap();
    let root = parent.path().canonicalize().unwrap().join("images");
    std::fs::create_dir(&root).unwrap();
    let folder = Folder::open(&root, false).unwrap();
    (parent, folder)
}

async fn create_object(folder: &Folder, key: &str, body: &'static str) -> Result<PutResult> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    folder.put_opts(&key.into(), Bytes::from_static(body.as_bytes()).into(), options).await
}

#[tokio::test]
async fn one_of_many_creates_wins_and_leaves_nothing_beside_it() {
    let (parent, folder) = opened();
    let asks = (0..16).map(|_| create_object(&folder, "receipts/3f/a.intent-1", "whole"));
    let answers = join_all(asks).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(
        answers
            .iter()
            .filter_map(|answer| answer.as_ref().err())
            .all(|error| { matches!(error, Error::AlreadyExists { .. }) })
    );
    let left = std::fs::read_dir(parent.path().join("images/receipts/3f")).unwrap().count();
    assert_eq!(left, 1);
    let found = folder.get(&"receipts/3f/a.intent-1".into()).await.unwrap().bytes().await.unwrap();
    assert_eq!(found, "whole");
}

#[cfg(target_os = "linux")]
#[test]
fn a_rename_that_replaces_nothing_is_as_good_as_a_hard_link() {
    let folder = TempDir::new().unwrap();
    let (staged, wanted) = (folder.path().join("a#1"), folder.path().join("a"));
    std::fs::write(&staged, "first").unwrap();
    rename_to_free_name(&staged, &wanted).unwrap();
    std::fs::write(&staged, "second").unwrap();
    let refusal = rename_to_free_name(&staged, &wanted).unwrap_err();
    assert_eq!(refusal.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&wanted).unwrap(), b"first");
}

fn is_gone<T>(answer: Result<T>) -> bool {
    answer.err().is_some_and(|error| meaning(&error).0 == StoreErrorKind::Gone)
}

/// A vanished mount leaves an empty folder, or none.
#[tokio::test]
async fn nothing_is_written_to_the_folder_under_a_mount_that_vanished() {
    let (parent, folder) = opened();
    let (root, away) = (parent.path().join("images"), parent.path().join("away"));
    create_object(&folder, "receipts/store-id", "mine").await.unwrap();
    for leaves_a_folder in [false, true] {
        std::fs::rename(&root, &away).unwrap();
        if leaves_a_folder {
            std::fs::create_dir(&root).unwrap();
        }
        assert!(is_gone(create_object(&folder, "receipts/3f/a.intent-1", "x").await));
        assert!(is_gone(folder.put(&"images/a/0.png".into(), "x".into()).await));
        assert!(is_gone(folder.get(&"receipts/store-id".into()).await), "it isn't absent: it can't be seen");
        assert_eq!(root.exists(), leaves_a_folder);
        if leaves_a_folder {
            std::fs::remove_dir(&root).unwrap();
        }
        std::fs::rename(&away, &root).unwrap();
        create_object(&folder, &format!("back-{leaves_a_folder}"), "x").await.unwrap();
    }
}

/// A network file system that is mounted again can look like another folder to the system.
#[tokio::test]
async fn another_folder_is_the_same_store_by_its_marker_only() {
    let (parent, folder) = opened();
    let root = parent.path().join("images");
    folder.root().marked_by(&"receipts/store-id".into(), "mine");
    std::fs::rename(&root, parent.path().join("away")).unwrap();
    std::fs::create_dir_all(root.join("receipts")).unwrap();
    std::fs::write(root.join("receipts/store-id"), "another's").unwrap();
    assert!(is_gone(create_object(&folder, "a", "x").await));
    std::fs::write(root.join("receipts/store-id"), "mine").unwrap();
    create_object(&folder, "a", "x").await.unwrap();
    assert!(root.join("a").exists());
}
