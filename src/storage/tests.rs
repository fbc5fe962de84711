use tempfile::TempDir;

use super::*;

fn options(url: &str) -> StorageOptions {
    StorageOptions { url: url.to_owned(), fsync: true, path_style: true, ..StorageOptions::default() }
}

fn folder() -> (TempDir, Storage) {
    let folder = TempDir::new().unwrap();
    let url = format!("file:{}/new/im ages", folder.path().display());
    let storage = Storage::open(&options(&url)).unwrap();
    (folder, storage)
}

fn image() -> Image {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[7; 6]).unwrap();
    writer.finish().unwrap();
    Image::of(bytes.into()).unwrap()
}

fn job(id: &str) -> JobId {
    id.parse().unwrap()
}

#[tokio::test]
async fn a_location_in_the_folder_is_the_real_file() {
    let (_folder, storage) = folder();
    let image = image();
    for id in ["order-8812", "a:b", ".", "..", "...", "..a", ".hidden", "x.", "A_b.c:d-9", "1"] {
        let stored = storage.put_image(&job(id), 0, &image).await.unwrap();
        let path = Url::parse(&stored.location).unwrap().to_file_path().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), image.bytes, "{id}: {}", stored.location);
        let images = path.parent().unwrap().parent().unwrap();
        assert!(images.ends_with("new/im ages/images"), "{id}: {}", path.display());
        assert_eq!(storage.read(&stored.location).await.unwrap(), image.bytes);
        assert_eq!((stored.width, stored.height, stored.bytes), (2, 1, image.bytes.len() as u64));
        assert_eq!(stored.url, None);
    }
}

#[tokio::test]
async fn storing_again_stores_the_same_and_leaves_nothing_else() {
    let (folder, storage) = folder();
    let image = image();
    let first = storage.put_image(&job("a"), 3, &image).await.unwrap();
    let second = storage.put_image(&job("a"), 3, &image).await.unwrap();
    assert_eq!(first, second);
    let root = folder.path().canonicalize().unwrap();
    let name = format!("3-{}.png", &image.sha256[..16]);
    assert_eq!(first.location, format!("file://{}/new/im%20ages/images/a/{name}", root.display()));
    let files: Vec<_> = std::fs::read_dir(root.join("new/im ages/images/a"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, [name]);
}

#[tokio::test]
async fn prefix_and_public_url_name_the_object() {
    let storage = Storage::open(&StorageOptions {
        prefix: "team a/prod/".to_owned(),
        public_url: Some(Url::parse("https://cdn.example/pictures/").unwrap()),
        ..options("memory:")
    })
    .unwrap();
    let stored = storage.put_image(&job(".."), 1, &image()).await.unwrap();
    let name = format!("1-{}.png", &stored.sha256[..16]);
    assert_eq!(stored.location, format!("memory:///team a/prod/images/%2E%2E/{name}"));
    assert_eq!(
        stored.url.unwrap(),
        format!("https://cdn.example/pictures/team%20a/prod/images/%252E%252E/{name}")
    );
    assert_eq!(storage.read(&stored.location).await.unwrap(), image().bytes);
    let key = storage.key(["images", "..", &name]);
    let attributes = storage.objects().get(&key).await.unwrap().attributes;
    assert_eq!(attributes.get(&Attribute::ContentType).unwrap().as_ref(), "image/png");
}

#[tokio::test]
async fn nothing_outside_of_the_own_root_is_read() {
    let (folder, storage) = folder();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    let root = folder.path().canonicalize().unwrap().display().to_string();
    for location in [
        format!("file://{root}/secret"),
        format!("file://{root}/new/im%20ages/../../secret"),
        format!("file://{root}/new/im%20ages/%2e%2e/%2e%2e/secret"),
        format!("file://{root}/new/im%20ages/..%2f..%2fsecret"),
        format!("file://{root}/new/im%20ages"),
        format!("{root}/new/im ages/images/a"),
        "file:///etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        "s3://bucket/images/a".to_owned(),
        String::new(),
    ] {
        let refusal = storage.read(&location).await.unwrap_err();
        assert!(refusal.to_string().ends_with("is not in this store"), "{location}: {refusal}");
    }
    let prefixed =
        Storage::open(&StorageOptions { prefix: "mine".to_owned(), ..options("memory:") }).unwrap();
    for location in ["memory:///yours/a", "memory:///mine/../yours/a", "memory:///mine2/a"] {
        let refusal = prefixed.read(location).await.unwrap_err();
        assert!(refusal.to_string().ends_with("is not in this store"), "{location}: {refusal}");
    }
}

#[tokio::test]
async fn the_probe_leaves_nothing_and_tells_of_a_broken_store() {
    let (folder, storage) = folder();
    storage.probe().await.unwrap().deleted.unwrap();
    let root = folder.path().join("new/im ages");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    std::fs::remove_dir(&root).unwrap();
    std::fs::write(&root, "a file in the folder's place").unwrap();
    let fault = storage.probe().await.unwrap_err();
    assert_eq!(fault.kind(), StoreErrorKind::Gone, "{fault}");
    assert!(storage.put_image(&job("a"), 0, &image()).await.is_err());
    Storage::open(&options("memory:")).unwrap().probe().await.unwrap();
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let endpoint = || Some(Url::parse("http://127.0.0.1:9000").unwrap());
    for (options, why) in [
        (options("images"), "storage.url"),
        (options("file:"), "needs a path"),
        (options("file:/dev/null/x"), "can't use the folder"),
        (options("ftp://h/x"), "storage.url"),
        (options("s3://"), "scheme://bucket"),
        (options("s3://user:pw@bucket/x"), "scheme://bucket"),
        (options("s3://bucket?x=1"), "scheme://bucket"),
        (StorageOptions { prefix: "a/../b".to_owned(), ..options("memory:") }, "storage.prefix"),
        (StorageOptions { endpoint: endpoint(), ..options("memory:") }, "storage.endpoint"),
        (
            StorageOptions { endpoint: endpoint(), path_style: false, ..options("s3://bucket") },
            "storage.path_style",
        ),
        (
            StorageOptions { public_url: Some(Url::parse("mailto:me").unwrap()), ..options("memory:") },
            "storage.public_url",
        ),
    ] {
        let refusal = Storage::open(&options).unwrap_err();
        assert!(refusal.to_string().contains(why), "{options:?}: {refusal}");
    }
}

#[test]
fn a_bucket_location_is_scheme_bucket_key() {
    let storage = Storage::open(&StorageOptions {
        prefix: "prod".to_owned(),
        region: Some("eu-central-1".to_owned()),
        ..options("s3://bucket/team")
    })
    .unwrap();
    let key = storage.key(["images", "a:b", "0-ff.png"]);
    let location = storage.place.location(&key).unwrap();
    assert_eq!(location, "s3://bucket/team/prod/images/a:b/0-ff.png");
    assert_eq!(storage.place.key(&location), Some(key));
    assert_eq!(storage.place.key("s3://bucket2/team/prod/images/a"), None);
    assert_eq!(storage.place.key("s3://bucket/team//a"), None);
}
