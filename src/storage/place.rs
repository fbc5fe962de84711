//! Keys and locations: the name of an object within its store, and its name for the outside.

use std::path::PathBuf;

use object_store::path::Path;
use url::Url;

use super::StoreError;

/// The beginning of all locations of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An absolute folder without symbolic links: `file:///folder/key`, percent-encoded as URLs are.
    Folder(PathBuf),
    /// `scheme://bucket/key`; the key is not encoded, as is usual for these.
    Bucket { scheme: &'static str, name: String },
    /// `memory:///key`
    Memory,
}

impl Place {
    /// # Errors
    ///
    /// Never, as long as the folder is absolute.
    pub(super) fn location(&self, key: &Path) -> Result<String, StoreError> {
        match self {
            Self::Folder(root) => Url::from_file_path(root.join(key.as_ref()))
                .map(String::from)
                .map_err(|()| StoreError::plain(format!("{} is not absolute", root.display()))),
            Self::Bucket { scheme, name } => Ok(format!("{scheme}://{name}/{key}")),
            Self::Memory => Ok(format!("memory:///{key}")),
        }
    }

    /// The key in a location; `None` if it leads elsewhere, or is not a location. The inverse of [`Self::location`].
    pub(super) fn key(&self, location: &str) -> Option<Path> {
        let raw = match self {
            Self::Folder(root) => {
                let url = Url::parse(location).ok().filter(|url| url.scheme() == "file")?;
                let path = url.to_file_path().ok()?;
                path.strip_prefix(root).ok()?.to_str()?.to_owned()
            }
            Self::Bucket { scheme, name } => {
                let rest = location.strip_prefix(scheme)?.strip_prefix("://")?;
                rest.strip_prefix(name.as_str())?.strip_prefix('/')?.to_owned()
            }
            Self::Memory => location.strip_prefix("memory:///")?.to_owned(),
        };
        // This refuses `.`, `..`, empty segments and control characters.
        Path::parse(&raw).ok().filter(|key| !key.is_root() && key.as_ref() == raw)
    }
}

/// `base` with the key appended to its path, percent-encoded.
pub(super) fn public_url(base: &Url, key: &Path) -> String {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        segments.extend(key.parts().map(|part| part.as_ref().to_owned()));
    }
    url.into()
}
