//! Reads the variables with the clouds' credentials, and says what is wrong or missing.
//!
//! A value goes into HTTP headers, and the client library panics on a value that no header can have. Most often that
//! is a line break at the end of a value that came from a file. So the variables are read here, trimmed, and refused
//! by name.

use std::ffi::OsString;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;

use super::StoreError;
use super::error::NoCredentials;

/// The variables of one cloud, by their lower-case names: trimmed, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    /// The variables that begin with `prefix` and that are read according to `is_known`.
    ///
    /// # Errors
    ///
    /// Names the variable that holds a character that no header can have, and its position; never the value.
    pub(super) fn of(
        prefix: &str,
        is_known: impl Fn(&str) -> bool,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, StoreError> {
        let mut variables = Vec::new();
        for (name, value) in environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else { continue };
            let key = name.to_ascii_lowercase();
            if !is_known(&key) {
                continue;
            }
            let value = value.to_str().map(str::trim);
            let Some(value) = value else {
                return Err(StoreError::plain(format!("{name} isn't UTF-8: set it again")));
            };
            if let Some(place) = value.chars().position(|c| c.is_control() || !c.is_ascii()) {
                let place = place + 1;
                return Err(StoreError::plain(format!(
                    "{name} holds a character that can't be in it (number {place}: a line break, a control character, or \
                     one that isn't ASCII): set it again without that"
                )));
            }
            // Containers often set an empty value to say "not set".
            if !value.is_empty() {
                variables.push((key, value.to_owned()));
            }
        }
        Ok(Self(variables))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Whether all of them are set.
    fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.get(name).is_some())
    }
}

/// Where credentials are requested that are not directly set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    /// What to say if there are none.
    pub words: String,
    /// A variable names the service that is asked, so its answer is worth showing. If the machine itself is asked,
    /// the answer is about an address that is not in the configuration.
    pub is_named: bool,
}

impl Tried {
    fn named(words: &str) -> Self {
        Self { words: words.to_owned(), is_named: true }
    }

    fn machine(words: &str) -> Self {
        Self { words: words.to_owned(), is_named: false }
    }
}

/// What is tried for S3's credentials if they are not directly set; `None` if they are.
pub(super) fn tried_for_s3(variables: &Variables) -> Option<Tried> {
    let profile = aws_profile(variables).map_or_else(String::new, |words| format!("; {words}"));
    let tried = if variables.get("aws_access_key_id").or(variables.get("aws_secret_access_key")).is_some() {
        return None;
    } else if variables.has(&["aws_web_identity_token_file", "aws_role_arn"]) {
        Tried::named(
            "the role AWS_ROLE_ARN was asked for by the token in AWS_WEB_IDENTITY_TOKEN_FILE, and not given",
        )
    } else if variables.has(&["aws_container_credentials_relative_uri"]) {
        Tried::named(
            "the container's role was asked for (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI), and not given",
        )
    } else if variables.has(&["aws_container_credentials_full_uri", "aws_container_authorization_token_file"])
    {
        Tried::named("the pod's role was asked for (AWS_CONTAINER_CREDENTIALS_FULL_URI), and not given")
    } else {
        Tried::machine(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, nor are AWS_WEB_IDENTITY_TOKEN_FILE with \
             AWS_ROLE_ARN or AWS_CONTAINER_CREDENTIALS_…, and this machine has no role (no instance metadata service \
             gave one)",
        )
    };
    Some(Tried { words: format!("{}{profile}", tried.words), ..tried })
}

/// A message about a profile, which is not read.
pub(super) fn aws_profile(variables: &Variables) -> Option<String> {
    variables.get("aws_profile").map(|profile| {
        format!(
            "AWS_PROFILE={profile} is set, and profiles (~/.aws) are not read: put its keys into the environment with \
             \"aws configure export-credentials --profile {profile} --format env\""
        )
    })
}

/// As [`tried_for_s3`].
pub(super) fn tried_for_google(variables: &Variables) -> Option<Tried> {
    let set = [
        "google_service_account",
        "google_service_account_path",
        "google_service_account_key",
        "google_application_credentials",
    ];
    let is_set = set.into_iter().any(|name| variables.get(name).is_some());
    let tried = "GOOGLE_APPLICATION_CREDENTIALS and GOOGLE_SERVICE_ACCOUNT are not set, gcloud has left no default \
                 credentials, and this machine has no service account (no metadata service gave one)";
    (!is_set).then(|| Tried::machine(tried))
}

/// As [`tried_for_s3`].
pub(super) fn tried_for_azure(variables: &Variables) -> Option<Tried> {
    let keys = [
        "azure_storage_account_key",
        "azure_storage_access_key",
        "azure_storage_sas_key",
        "azure_storage_token",
    ];
    if keys.into_iter().any(|name| variables.get(name).is_some()) {
        return None;
    }
    Some(if variables.has(&["azure_federated_token_file"]) {
        Tried::named("the identity of AZURE_FEDERATED_TOKEN_FILE was asked for, and not given")
    } else if variables.get("azure_storage_client_id").or(variables.get("azure_client_id")).is_some() {
        Tried::named("the application AZURE_CLIENT_ID was logged in, and not let in")
    } else {
        Tried::machine(
            "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY and AZURE_CLIENT_ID are not set, and this machine has no \
             managed identity (no metadata service gave one)",
        )
    })
}

/// Credentials that say what was tried if there are none.
#[derive(Debug)]
pub(super) struct Explained<T> {
    pub inner: Arc<dyn CredentialProvider<Credential = T>>,
    pub tried: Tried,
}

#[async_trait]
impl<T: Debug + Send + Sync> CredentialProvider for Explained<T> {
    type Credential = T;

    async fn get_credential(&self) -> object_store::Result<Arc<T>> {
        self.inner.get_credential().await.map_err(|error| {
            tracing::debug!("no credentials for the store: {error}");
            let Tried { words, is_named } = &self.tried;
            let tried = if *is_named { format!("{words} ({error})") } else { words.clone() };
            let source = Box::new(NoCredentials { tried });
            object_store::Error::Generic { store: "credentials", source }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::StoreErrorKind;
    use super::super::error::meaning;
    use super::*;

    fn variables(set: &[(&str, &str)]) -> Result<Variables, StoreError> {
        let set = set.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Variables::of("AWS_", |name| name != "aws_pager", set.collect::<Vec<_>>().into_iter())
    }

    #[test]
    fn a_line_break_behind_a_value_is_cut_off_and_one_within_is_refused_by_name() {
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"] {
            let key = name.to_ascii_lowercase();
            for value in ["abc\n", " abc\r\n", "abc"] {
                assert_eq!(variables(&[(name, value)]).unwrap().get(&key), Some("abc"), "{name} {value:?}");
            }
            for value in ["ab\nc", "ab\u{7f}c", "abßc"] {
                let refusal = variables(&[(name, value)]).unwrap_err().to_string();
                assert!(refusal.contains(name) && refusal.contains("number 3"), "{refusal}");
                assert!(!refusal.contains("ab\n") && !refusal.contains("abß"), "{refusal}");
            }
            assert_eq!(variables(&[(name, " \n")]).unwrap().get(&key), None, "empty is not set");
        }
        let others = [("AWS_PAGER", "a\nb"), ("PATH", "ü")];
        assert_eq!(variables(&others).unwrap(), Variables(Vec::new()));
    }

    #[test]
    fn what_was_tried_is_named_by_its_variables() {
        let tried = |set: &[(&str, &str)]| tried_for_s3(&variables(set).unwrap()).map(|tried| tried.words);
        assert_eq!(tried(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]), None);
        assert!(tried(&[]).unwrap().contains("AWS_ACCESS_KEY_ID"));
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/f"), ("AWS_ROLE_ARN", "r")];
        assert!(tried(&web).unwrap().starts_with("the role AWS_ROLE_ARN"));
        let container = tried(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2")]).unwrap();
        assert!(container.starts_with("the container's role"), "{container}");
        let profile = tried(&[("AWS_PROFILE", "prod")]).unwrap();
        assert!(profile.contains("AWS_PROFILE=prod") && profile.contains("export-credentials"), "{profile}");
    }

    #[derive(Debug)]
    struct Nothing;

    #[async_trait]
    impl CredentialProvider for Nothing {
        type Credential = ();

        async fn get_credential(&self) -> object_store::Result<Arc<()>> {
            let source = "Error performing PUT http://169.254.169.254/latest/api/token".into();
            Err(object_store::Error::Generic { store: "S3", source })
        }
    }

    #[tokio::test]
    async fn where_there_are_none_the_words_are_about_variables_and_not_about_an_address() {
        let tried = tried_for_s3(&variables(&[]).unwrap()).unwrap();
        let explained = Explained { inner: Arc::new(Nothing), tried };
        let (kind, words) = meaning(&explained.get_credential().await.unwrap_err());
        assert_eq!(kind, StoreErrorKind::NoCredentials);
        assert!(words.contains("AWS_ACCESS_KEY_ID") && !words.contains("169.254"), "{words}");
    }
}
