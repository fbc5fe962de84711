//! A secret that may come from a file, and may change there while the worker runs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};

/// Checks a value from a file, and returns it in the form in which it is used.
pub type Parse = fn(&str) -> Result<String, String>;

/// A secret with its present value.
#[derive(Clone, Default)]
pub struct Secret {
    last: Arc<RwLock<SecretString>>,
    file: Option<(PathBuf, Parse)>,
}

impl Secret {
    /// A secret that never changes.
    #[must_use]
    pub fn fixed(value: SecretString) -> Self {
        Self { last: Arc::new(RwLock::new(value)), file: None }
    }

    /// A secret that was `value` when `file` was read; each [`Self::now`] reads the file again.
    #[must_use]
    pub fn from_file(value: SecretString, file: PathBuf, parse: Parse) -> Self {
        Self { last: Arc::new(RwLock::new(value)), file: Some((file, parse)) }
    }

    /// The present value. If its file can't be used (perhaps it is being written), the value before that.
    #[must_use]
    pub fn now(&self) -> String {
        if let Some((file, parse)) = &self.file {
            let read = read_secret(file).map_err(|error| error.to_string());
            match read.and_then(|text| parse(&text)) {
                Ok(value) => *self.last.write().unwrap_or_else(PoisonError::into_inner) = value.into(),
                Err(why) => {
                    tracing::warn!("{} can't be used, and its last value goes on: {why}", file.display())
                }
            }
        }
        self.last.read().unwrap_or_else(PoisonError::into_inner).expose_secret().to_owned()
    }
}

impl From<&String> for Secret {
    fn from(value: &String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::fixed(value.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("file", &self.file.as_ref().map(|(file, _)| file))
            .finish_non_exhaustive()
    }
}

/// Reads a mounted secret, without the line break that editors add. Never empty.
pub(crate) fn read_secret(path: &Path) -> io::Result<String> {
    const LONGEST: u64 = 1 << 16;
    let text = read_bounded(path, LONGEST)?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(secret.to_owned())
}

/// Reads a text file of at most `longest` bytes.
pub(crate) fn read_bounded(path: &Path, longest: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(longest + 1).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > longest {
        let message = format!("it is longer than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_from_a_file_is_what_the_file_says_as_long_as_that_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "one\n").unwrap();
        let parse: Parse = |text| if text == "odd" { Err("odd".to_owned()) } else { Ok(text.to_owned()) };
        let secret = Secret::from_file("one".into(), file.clone(), parse);
        assert_eq!(secret.now(), "one");
        std::fs::write(&file, "two\n").unwrap();
        assert_eq!(secret.clone().now(), "two");
        for unusable in ["", "odd"] {
            std::fs::write(&file, unusable).unwrap();
            assert_eq!(secret.now(), "two");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(secret.now(), "two");
        assert!(!format!("{secret:?}").contains("two"));
    }

    #[test]
    fn one_that_is_fixed_stays() {
        assert_eq!(Secret::from("x").now(), "x");
    }
}
