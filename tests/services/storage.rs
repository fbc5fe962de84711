//! The store in a bucket, against a server that speaks S3 (moto).

use bytes::Bytes;
use comet_worker::job::image::Image;
use comet_worker::job::receipt::{Gate, IntentFacts, Shut};
use comet_worker::job::record::Nonce;
use comet_worker::job::route::RouteName;
use comet_worker::job::{Digest, FileKind, JobId, SentUnder};
use comet_worker::receipts::Receipts;
use comet_worker::storage::{Storage, StorageOptions};
use futures_util::TryStreamExt as _;
use object_store::{Attribute, ObjectStore as _, ObjectStoreExt as _};
use url::Url;
use uuid::Uuid;

use crate::support::fake_s3::{FakeS3, Fault};

fn endpoint() -> Url {
    let text = std::env::var("COMET_TEST_S3_ENDPOINT")
        .expect("COMET_TEST_S3_ENDPOINT is missing: run through make test");
    Url::parse(&text).expect("COMET_TEST_S3_ENDPOINT is a URL")
}

fn image() -> Image {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("a PNG");
    writer.write_image_data(&[7; 6]).expect("a constant");
    writer.finish().expect("a constant");
    Image::of(Bytes::from(bytes)).expect("a constant")
}

fn options(url: String, endpoint: Option<Url>) -> StorageOptions {
    StorageOptions {
        url,
        prefix: "prod".to_owned(),
        fsync: true,
        endpoint,
        region: Some("us-east-1".to_owned()),
        path_style: true,
        public_url: Some(Url::parse("https://cdn.example/").expect("a constant")),
        ..StorageOptions::default()
    }
}

/// Credentials come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; moto accepts any.
#[tokio::test]
async fn s3_store_behaves_like_the_folder() {
    let endpoint = endpoint();
    let bucket = format!("comet-{}", Uuid::new_v4());
    // moto accepts the unsigned request.
    let created = reqwest::Client::new().put(endpoint.join(&bucket).unwrap()).send().await.unwrap();
    assert!(created.status().is_success(), "{created:?}");

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let on_disk = Storage::open(&options(format!("file:{}", root.display()), None)).unwrap();
    let in_bucket = Storage::open(&options(format!("s3://{bucket}/team"), Some(endpoint.clone()))).unwrap();
    on_disk.probe().await.unwrap();
    in_bucket.probe().await.unwrap();

    let image = image();
    let name = format!("0-{}.png", &image.sha256[..16]);
    for id in ["order-8812", "a:b", ".", "..", "x."] {
        let job: JobId = id.parse().unwrap();
        let mut stored = Vec::new();
        for store in [&on_disk, &in_bucket] {
            let first = store.put_image(&job, 0, &image).await.unwrap();
            assert_eq!(store.put_image(&job, 0, &image).await.unwrap(), first);
            assert_eq!(store.read(&first.location).await.unwrap(), image.bytes);
            stored.push(first);
        }
        let [file, object] = stored.try_into().unwrap();
        let folder_of_job = id.replace("..", "%2E%2E");
        let folder_of_job = if id == "." { "%2E".to_owned() } else { folder_of_job };
        assert_eq!(object.location, format!("s3://{bucket}/team/prod/images/{folder_of_job}/{name}"));
        assert!(file.location.starts_with("file:///"));
        assert_eq!(
            (file.index, &file.sha256, file.bytes, file.width, &file.content_type),
            (object.index, &object.sha256, object.bytes, object.width, &object.content_type)
        );

        let key = in_bucket.key(["images", id, &name]);
        let served = in_bucket.objects().get(&key).await.unwrap();
        let content_type = served.attributes.get(&Attribute::ContentType).unwrap();
        assert_eq!(content_type.as_ref(), "image/png");
    }
    for location in [
        format!("s3://{bucket}/team/other/a"),
        format!("s3://{bucket}/team/prod/../other/a"),
        "s3://another/team/prod/a".to_owned(),
    ] {
        assert!(in_bucket.read(&location).await.is_err(), "{location}");
    }
    let missing = in_bucket.read(&format!("s3://{bucket}/team/prod/images/none")).await;
    assert!(missing.is_err());

    let nowhere = format!("s3://{bucket}-missing");
    let broken = Storage::open(&options(nowhere, Some(endpoint))).unwrap();
    assert!(broken.probe().await.is_err());
}

/// A video of several parts, and a sound of less than one, in a bucket.
#[tokio::test]
async fn a_video_goes_into_a_bucket_part_by_part() {
    use mp4_atom::{Encode as _, FourCC, Ftyp, Mdat, Moov};

    let endpoint = endpoint();
    let bucket = format!("comet-{}", Uuid::new_v4());
    let created = reqwest::Client::new().put(endpoint.join(&bucket).unwrap()).send().await.unwrap();
    assert!(created.status().is_success(), "{created:?}");
    let uploads = endpoint.join(&format!("{bucket}?uploads")).unwrap();
    let storage = Storage::open(&options(format!("s3://{bucket}/team"), Some(endpoint))).unwrap();
    let job: JobId = "order-1".parse().unwrap();

    let brand = FourCC::new(b"isom");
    let mut bytes = Vec::new();
    Ftyp { major_brand: brand, minor_version: 0, compatible_brands: vec![brand] }.encode(&mut bytes).unwrap();
    Mdat { data: (0..12_000_000_u32).map(|place| u8::try_from(place % 251).unwrap()).collect() }
        .encode(&mut bytes)
        .unwrap();
    let mut upload = storage.begin_media(&job, FileKind::Video, 0, "cut off");
    upload.write(&bytes).await.unwrap();
    // moto lists what was begun, and accepts the unsigned request.
    let unfinished = async || {
        let listed = reqwest::get(uploads.clone()).await.unwrap().text().await.unwrap();
        listed.matches("<UploadId>").count()
    };
    assert_eq!(unfinished().await, 1);
    assert!(upload.finish().await.is_err(), "no index");
    crate::support::wait_for("the removal of its parts", async || (unfinished().await == 0).then_some(()))
        .await;
    Moov::default().encode(&mut bytes).unwrap();
    let mut upload = storage.begin_media(&job, FileKind::Video, 0, "whole");
    for chunk in bytes.chunks(300_000) {
        upload.write(chunk).await.unwrap();
    }
    let stored = upload.finish().await.unwrap();
    assert_eq!(storage.read(&stored.location).await.unwrap(), bytes);
    assert!(stored.location.starts_with(&format!("s3://{bucket}/team/prod/videos/order-1/0-")), "{stored:?}");

    let mut sound = storage.begin_media(&job, FileKind::Audio, 1, "short");
    sound.write(&[&[0xff, 0xfb, 0x90, 0x00][..], &[0; 413]].concat()).await.unwrap();
    let sound = sound.finish().await.unwrap();

    for (stored, content_type) in [(&stored, "video/mp4"), (&sound, "audio/mpeg")] {
        let key = stored.location.strip_prefix(&format!("s3://{bucket}/")).unwrap();
        let served = storage.objects().get(&key.into()).await.unwrap();
        assert_eq!(served.attributes.get(&Attribute::ContentType).unwrap().as_ref(), content_type);
    }
    let keys: Vec<_> =
        storage.objects().list(None).map_ok(|object| object.location).try_collect().await.unwrap();
    assert_eq!(keys.len(), 2, "nothing of the one that was cut off: {keys:?}");
}

/// Many workers ask at one gate: in a folder and in a bucket, one of them passes.
#[tokio::test]
async fn one_of_many_asks_passes_the_gate_in_a_folder_and_in_a_bucket() {
    // moto looks first and writes afterwards, so of several that create at once two may win there.
    let store = FakeS3::start(Fault::None).await;
    let (endpoint, bucket) = (Url::parse(&store.url).unwrap(), "comet");
    let folder = tempfile::tempdir().unwrap();
    let in_folder = (format!("file:{}", folder.path().display()), None);
    let in_bucket = (format!("s3://{bucket}/team"), Some(endpoint));
    for (url, endpoint) in [in_folder, in_bucket] {
        let receipts = Receipts::new(Storage::open(&options(url.clone(), endpoint)).unwrap());
        assert!(receipts.creates_only_once().await.unwrap(), "{url}");
        assert_eq!(receipts.store_id().await.unwrap().id, receipts.store_id().await.unwrap().id);

        let (job, digest): (JobId, _) = ("raced".parse().unwrap(), Digest::new("d".to_owned()));
        let under = SentUnder::from_words("cw-1").unwrap();
        let of = IntentFacts {
            job: &job,
            digest: &digest,
            route: RouteName::default_route(),
            round: 1,
            under: &under,
            max_attempts: 1,
        };
        let nonces: Vec<Nonce> = (0..8).map(|number| Nonce::new(format!("ask-{number}"))).collect();
        let asks = nonces.iter().map(|nonce| receipts.intend(of, 1, nonce));
        let gates = futures_util::future::try_join_all(asks).await.unwrap();
        let winner = gates.iter().position(|gate| *gate == Gate::Mine).expect("one passes");
        assert_eq!(gates.iter().filter(|gate| **gate == Gate::Mine).count(), 1, "{url}: {gates:?}");
        assert_eq!(receipts.intend(of, 1, &nonces[winner]).await.unwrap(), Gate::Mine, "repeated");

        assert_eq!(receipts.shut(of, 1, false).await.unwrap(), Shut::Taken);
        assert_eq!(receipts.shut(of, 2, false).await.unwrap(), Shut::Shut);
        assert_eq!(receipts.intend(of, 2, &nonces[0]).await.unwrap(), Gate::Taken, "shut");
        let first = Bytes::from_static(b"first");
        assert_eq!(receipts.seal(&job, first.clone()).await.unwrap(), first);
        assert_eq!(receipts.seal(&job, Bytes::from_static(b"second")).await.unwrap(), first);
        let history = receipts.history(&job).await.unwrap();
        assert_eq!((history.attempts.len(), history.result), (2, Some(first)));
    }
}
