//! From the options to an open store.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use url::Url;

use super::place::Place;
use super::{Storage, StorageOptions, StoreError};

/// Of the HTTP client to the store: options of object_store's own, in its notation.
const CLIENT: [(ClientConfigKey, &str); 2] =
    [(ClientConfigKey::ConnectTimeout, "5 seconds"), (ClientConfigKey::Timeout, "30 seconds")];

/// Few and short: whoever calls tries again on its own, and tells people meanwhile.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..Default::default() },
        max_retries: 3,
        retry_timeout: Duration::from_secs(10),
    }
}

pub(super) fn open(options: &StorageOptions) -> Result<Storage, StoreError> {
    let base = options.public_url.as_ref();
    if base.is_some_and(|base| base.cannot_be_a_base() || base.query().is_some()) {
        return Err(StoreError("storage.public_url must be a URL that ends with its path".to_owned()));
    }
    let (scheme, rest) = options.url.split_once(':').unwrap_or_default();
    let takes_endpoint = matches!(scheme, "s3" | "az");
    if options.endpoint.is_some() && !takes_endpoint {
        return Err(StoreError("storage.endpoint is for s3:// and az:// only".to_owned()));
    }
    let (objects, place, own_prefix): (Arc<dyn ObjectStore>, Place, Path) = match scheme {
        "file" => {
            let root = folder(rest, options.fsync)?;
            let store = LocalFileSystem::new_with_prefix(&root).map_err(unusable)?;
            // With it, file and directory are on the disk before a put returns (0.14.2, local.rs).
            (Arc::new(store.with_fsync(options.fsync)), Place::Folder(root), Path::default())
        }
        "memory" if rest.trim_matches('/').is_empty() => {
            (Arc::new(InMemory::new()), Place::Memory, Path::default())
        }
        "s3" => {
            let (bucket, prefix) = bucket(&options.url)?;
            (s3(options, &bucket)?, Place::Bucket { scheme: "s3", name: bucket }, prefix)
        }
        "gs" => {
            let (bucket, prefix) = bucket(&options.url)?;
            (google(&bucket)?, Place::Bucket { scheme: "gs", name: bucket }, prefix)
        }
        "az" => {
            let (container, prefix) = bucket(&options.url)?;
            (azure(options, &container)?, Place::Bucket { scheme: "az", name: container }, prefix)
        }
        _ => {
            return Err(StoreError::new(
                "storage.url must be file:PATH, memory:, s3://…, gs://… or az://…, not",
                &options.url,
            ));
        }
    };
    let prefix = Path::parse(&options.prefix)
        .map_err(|error| StoreError::new("storage.prefix can't be used", &error))?;
    Ok(Storage {
        objects,
        takes_attributes: !matches!(place, Place::Folder(_)),
        place,
        prefix: own_prefix.parts().chain(prefix.parts()).collect(),
        public_url: options.public_url.clone(),
    })
}

/// The folder, created where it is missing, absolute and without symbolic links.
fn folder(path: &str, fsync: bool) -> Result<PathBuf, StoreError> {
    let what = || format!("storage.url: can't use the folder {path}");
    if path.is_empty() {
        return Err(StoreError("storage.url: file: needs a path".to_owned()));
    }
    let wanted = std::path::absolute(path).map_err(|error| StoreError::new(&what(), &error))?;
    create(&wanted, fsync)
        .and_then(|()| wanted.canonicalize())
        .map_err(|error| StoreError::new(&what(), &error))
}

/// With `fsync`, a new folder's entry in its parent is on the disk too.
fn create(wanted: &FilePath, fsync: bool) -> std::io::Result<()> {
    let missing: Vec<_> = wanted.ancestors().take_while(|folder| !folder.exists()).collect();
    std::fs::create_dir_all(wanted)?;
    if fsync && cfg!(unix) {
        for parent in missing.iter().filter_map(|folder| folder.parent()) {
            std::fs::File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Bucket and prefix of `scheme://bucket[/prefix]`.
fn bucket(text: &str) -> Result<(String, Path), StoreError> {
    let what = "storage.url must be scheme://bucket[/prefix]";
    let url = Url::parse(text).map_err(|error| StoreError::new(what, &error))?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let name = url.host_str().filter(|name| is_plain && !name.is_empty());
    let name = name.ok_or_else(|| StoreError(what.to_owned()))?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| StoreError::new(what, &error))?;
    Ok((name.to_owned(), prefix))
}

fn s3(options: &StorageOptions, bucket: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    // A dot in the bucket's name is no name in a certificate.
    let in_path = options.path_style || bucket.contains('.');
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!in_path)
        .with_retry(retries());
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &options.endpoint {
        let endpoint = if in_path { endpoint.clone() } else { with_bucket(endpoint, bucket)? };
        builder = builder
            .with_allow_http(endpoint.scheme() == "http")
            .with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    for (key, value) in CLIENT {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    Ok(Arc::new(builder.build().map_err(unusable)?))
}

/// object_store wants the bucket in the endpoint's host already.
fn with_bucket(endpoint: &Url, bucket: &str) -> Result<Url, StoreError> {
    let what = "storage.endpoint must have a host name, or storage.path_style be true";
    let mut url = endpoint.clone();
    let Some(url::Host::Domain(host)) = endpoint.host() else {
        return Err(StoreError(what.to_owned()));
    };
    url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|error| StoreError::new(what, &error))?;
    Ok(url)
}

fn google(bucket: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retries());
    for (key, value) in CLIENT {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    Ok(Arc::new(builder.build().map_err(unusable)?))
}

fn azure(options: &StorageOptions, container: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retries());
    if let Some(endpoint) = &options.endpoint {
        builder = builder
            .with_allow_http(endpoint.scheme() == "http")
            .with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned());
    }
    for (key, value) in CLIENT {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    Ok(Arc::new(builder.build().map_err(unusable)?))
}

fn unusable(error: object_store::Error) -> StoreError {
    StoreError::new("storage.url can't be used", &error)
}
