//! Opens a store from its options.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::credentials::{self, Explained, Variables};
use super::folder::Folder;
use super::place::Place;
use super::{Storage, StorageOptions, StoreError};

/// The options of the HTTP client to the store, in object_store's notation.
const CLIENT: [(ClientConfigKey, &str); 2] =
    [(ClientConfigKey::ConnectTimeout, "5 seconds"), (ClientConfigKey::Timeout, "30 seconds")];

/// Retries are few and short, because the caller also retries and reports the fault meanwhile.
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
        return Err(StoreError::plain("storage.public_url must be a URL that ends with its path".to_owned()));
    }
    let (scheme, rest) = options.url.split_once(':').unwrap_or_default();
    let takes_endpoint = matches!(scheme, "s3" | "az");
    if options.endpoint.is_some() && !takes_endpoint {
        return Err(StoreError::plain("storage.endpoint is for s3:// and az:// only".to_owned()));
    }
    let mut warnings = Vec::new();
    let mut watched = None;
    let (objects, place, own_prefix): (Arc<dyn ObjectStore>, Place, Path) = match scheme {
        "file" => {
            let root = folder(rest, options.fsync)?;
            let store = Folder::open(&root, options.fsync).map_err(|error| unusable(&error))?;
            watched = Some(Arc::clone(store.root()));
            (Arc::new(store), Place::Folder(root), Path::default())
        }
        "memory" if rest.trim_matches('/').is_empty() => {
            (Arc::new(InMemory::new()), Place::Memory, Path::default())
        }
        "s3" => {
            let (bucket, prefix) = bucket(&options.url)?;
            (s3(options, &bucket, &mut warnings)?, Place::Bucket { scheme: "s3", name: bucket }, prefix)
        }
        "gs" => {
            let (bucket, prefix) = bucket(&options.url)?;
            (google(options, &bucket)?, Place::Bucket { scheme: "gs", name: bucket }, prefix)
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
        root: watched,
        probing: Arc::default(),
        parts: Arc::default(),
        warnings,
    })
}

/// The folder, created if it is missing, absolute and without symbolic links.
fn folder(path: &str, fsync: bool) -> Result<PathBuf, StoreError> {
    let what = || format!("storage.url: can't use the folder {path}");
    if path.is_empty() {
        return Err(StoreError::plain("storage.url: file: needs a path".to_owned()));
    }
    let wanted = std::path::absolute(path).map_err(|error| StoreError::new(&what(), &error))?;
    create_folder(&wanted, fsync)
        .and_then(|()| wanted.canonicalize())
        .map_err(|error| StoreError::new(&what(), &error))
}

/// With `fsync`, a new folder's entry in its parent is on the disk too.
pub(super) fn create_folder(wanted: &FilePath, fsync: bool) -> std::io::Result<()> {
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
    let name = name.ok_or_else(|| StoreError::plain(what.to_owned()))?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| StoreError::new(what, &error))?;
    Ok((name.to_owned(), prefix))
}

fn s3(
    options: &StorageOptions,
    bucket: &str,
    warnings: &mut Vec<String>,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    // A profile is not a variable of object_store's, but people do set it.
    let known = |name: &str| name == "aws_profile" || name.parse::<AmazonS3ConfigKey>().is_ok();
    let variables = Variables::of("AWS_", known, std::env::vars_os())?;
    let tried = credentials::tried_for_s3(&variables);
    warnings.extend(credentials::aws_profile(&variables).filter(|_| tried.is_some()));
    // A certificate doesn't match a host name with a dot in the bucket's name.
    let in_path = options.path_style || bucket.contains('.');
    let mut builder = AmazonS3Builder::new().with_client_options(trusting(options)?);
    for (key, value) in variables.iter() {
        if let Ok(key) = key.parse() {
            builder = with_variable(builder, key, value);
        }
    }
    // A bucket with Object Lock accepts nothing without a checksum, and the digest is made for the signature anyway.
    if variables.get("aws_checksum_algorithm").is_none() {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    builder = builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!in_path)
        // Objects are deleted one by one, because not every server, and not every policy, supports the request for
        // many.
        .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
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
    let store = builder.clone().build().map_err(|error| unusable(&error))?;
    let Some(tried) = tried else { return Ok(Arc::new(store)) };
    let explained = Explained { inner: Arc::clone(store.credentials()), tried };
    let store = builder.with_credentials(Arc::new(explained)).build();
    Ok(Arc::new(store.map_err(|error| unusable(&error))?))
}

fn with_variable(builder: AmazonS3Builder, key: AmazonS3ConfigKey, value: &str) -> AmazonS3Builder {
    // Our own value, for a server that refuses requests with a checksum.
    if key == AmazonS3ConfigKey::Checksum && value == "none" {
        builder
    } else {
        builder.with_config(key, value)
    }
}

/// The options of a client that also trusts the issuers in `storage.ca_file`. Variables override them.
fn trusting(options: &StorageOptions) -> Result<ClientOptions, StoreError> {
    let issuers = options.certificates.issuers().map_err(StoreError::plain)?;
    issuers.iter().try_fold(ClientOptions::new(), |client, issuer| {
        let certificate = Certificate::from_der(issuer).map_err(|error| unusable(&error))?;
        Ok(client.with_root_certificate(certificate))
    })
}

/// object_store expects the bucket to be in the endpoint's host already.
fn with_bucket(endpoint: &Url, bucket: &str) -> Result<Url, StoreError> {
    let what = "storage.endpoint must have a host name, or storage.path_style be true";
    let mut url = endpoint.clone();
    let Some(url::Host::Domain(host)) = endpoint.host() else {
        return Err(StoreError::plain(what.to_owned()));
    };
    url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|error| StoreError::new(what, &error))?;
    Ok(url)
}

fn google(options: &StorageOptions, bucket: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let known = |name: &str| name.parse::<GoogleConfigKey>().is_ok();
    let variables = Variables::of("GOOGLE_", known, std::env::vars_os())?;
    let mut builder = GoogleCloudStorageBuilder::from_env().with_client_options(trusting(options)?);
    for (key, value) in variables.iter() {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder = builder.with_bucket_name(bucket).with_retry(retries());
    for (key, value) in CLIENT {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    let store = builder.clone().build().map_err(|error| unusable(&error))?;
    let Some(tried) = credentials::tried_for_google(&variables) else { return Ok(Arc::new(store)) };
    let explained = Explained { inner: Arc::clone(store.credentials()), tried };
    let store = builder.with_credentials(Arc::new(explained)).build();
    Ok(Arc::new(store.map_err(|error| unusable(&error))?))
}

fn azure(options: &StorageOptions, container: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let known = |name: &str| name.parse::<AzureConfigKey>().is_ok();
    let variables = Variables::of("AZURE_", known, std::env::vars_os())?;
    let mut builder = MicrosoftAzureBuilder::from_env().with_client_options(trusting(options)?);
    for (key, value) in variables.iter() {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder = builder.with_container_name(container).with_retry(retries());
    if let Some(endpoint) = &options.endpoint {
        builder = builder
            .with_allow_http(endpoint.scheme() == "http")
            .with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned());
    }
    for (key, value) in CLIENT {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    let store = builder.clone().build().map_err(|error| unusable(&error))?;
    let Some(tried) = credentials::tried_for_azure(&variables) else { return Ok(Arc::new(store)) };
    let explained = Explained { inner: Arc::clone(store.credentials()), tried };
    let store = builder.with_credentials(Arc::new(explained)).build();
    Ok(Arc::new(store.map_err(|error| unusable(&error))?))
}

fn unusable(error: &object_store::Error) -> StoreError {
    StoreError::new("storage.url can't be used", error)
}
