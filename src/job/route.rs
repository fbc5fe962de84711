//! The routes of the API. A route is data: everything in which it differs from another is in [`table`], and no code
//! asks which route it is.
//!
//! [`RouteData`] is what is known of the provider; [`Route`] is that with the values that the configuration has
//! chosen. A job names its route as `operation`. Its submission, its record, its receipts and its events have the
//! name, since a task is polled at the route where it was submitted.
//!
//! A route may have several editions, since the provider may have several pages about it (docs/provider.md, "The two
//! editions of the page"). No code asks which edition it is either.

mod field;
pub mod table;

use std::fmt;
use std::ops::RangeInclusive;
use std::slice;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use self::field::{Check, Field, PictureRules, SOUND_BYTES_MAX, Together};
use self::table::{CURRENT, MULTI_IMAGE_TO_IMAGE, PAGE, ROUTES};
use super::FileKind;

/// What is known of one route.
#[derive(Debug, PartialEq, Eq)]
pub struct RouteData {
    /// The value of a job's `operation`.
    pub name: &'static str,
    /// For the schema of a job.
    pub about: &'static str,
    /// For the default route, the default of `api.submit_path`.
    pub submit_path: &'static str,
    /// With `{task_id}`; for the default route, the default of `api.query_path`.
    pub query_path: &'static str,
    /// Another path that may know a task of this route: Kling's own, and that of every sibling gateway
    /// (docs/provider.md, "Routes").
    pub other_query_path: Option<&'static str>,
    /// The first one is the default.
    pub editions: &'static [&'static Edition],
    /// The known fields of its input, in the order in which faults are listed. Other fields pass through unchecked.
    pub fields: &'static [Field],
    /// The spellings of [`Check::Scene`].
    pub scene_names: &'static [&'static str],
    /// What several fields together may not be.
    pub together: &'static [Together],
    pub picture: PictureRules,
    /// The kinds of files that it makes, at least one.
    pub makes: &'static [FileKind],
    /// The account's slots that a job takes, unless a field says how many it makes.
    pub slots: u32,
    pub certainty: Certainty,
}

/// How sure it is that the provider takes a job of this route as it is sent (docs/provider.md, "Routes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// Others have seen it work at CometAPI.
    Seen,
    /// CometAPI has a page about it.
    Page,
    /// Its path at CometAPI is guessed from Kling's own.
    Guessed,
    /// It is the configuration's.
    Configured,
}

impl Certainty {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Page => "page",
            Self::Guessed => "guessed",
            Self::Configured => "configured",
        }
    }
}

/// What differs between the provider's pages.
#[derive(Debug, PartialEq, Eq)]
pub struct Edition {
    /// Its name in `api.profile`.
    pub profile: &'static str,
    /// Values of `model_name`.
    pub models: &'static [&'static str],
    /// The model that is sent if the job names none, since the provider's own default has changed before.
    pub default_model: &'static str,
    /// How many entries [`Check::Pictures`] allows.
    pub subject_images: RangeInclusive<usize>,
}

impl RouteData {
    /// The model by the table's own name for it, which is fit for a label; `other` for one that the table doesn't have.
    #[must_use]
    pub fn known_model(&self, model: &str) -> &'static str {
        let mut known = self.editions.iter().flat_map(|edition| edition.models);
        known.find(|known| **known == model).copied().unwrap_or("other")
    }

    /// The edition that `api.profile` names. A route that has no such edition has only one.
    #[must_use]
    pub fn edition(&self, profile: &str) -> &'static Edition {
        let named = self.editions.iter().find(|edition| edition.profile == profile);
        named.or(self.editions.first()).copied().expect("a route has an edition")
    }

    /// The names under which a job may give this field. Only that of [`Check::Scene`] has more than one.
    #[must_use]
    pub fn names_of(&self, field: &'static Field) -> &'static [&'static str] {
        if field.check == Check::Scene { self.scene_names } else { slice::from_ref(&field.name) }
    }

    fn has_model(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.check, Check::Model | Check::AnyModel))
    }
}

/// The name of a route, as it is stored and published.
#[derive(Debug, Clone, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(rename = "operation", description = "The route of the provider that the job is for.")]
pub struct RouteName(#[schemars(with = "String", length(min = 1, max = RouteName::MAX_LENGTH))] Arc<str>);

impl Serialize for RouteName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl RouteName {
    /// A longer text is no name of a route.
    pub const MAX_LENGTH: usize = 64;

    /// `None` unless it is 1 to 64 characters of `[A-Za-z0-9._-]`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=Self::MAX_LENGTH).contains(&name.len()) && name.bytes().all(allowed);
        fits.then(|| Self(name.into()))
    }

    /// The route of a job that names none.
    #[must_use]
    pub fn default_route() -> &'static Self {
        static NAME: LazyLock<RouteName> = LazyLock::new(|| RouteName(MULTI_IMAGE_TO_IMAGE.name.into()));
        &NAME
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A route as this fleet uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub data: &'static RouteData,
    pub name: RouteName,
    /// Starts with `/`.
    pub submit_path: String,
    /// Starts with `/`, and has `{task_id}` once.
    pub query_path: String,
    /// Values of `model_name`.
    pub models: Vec<String>,
    /// The model that is sent if the job names none, always one of `models`; empty for a route without models.
    pub default_model: String,
    /// How many subject images are allowed.
    pub subject_images: RangeInclusive<usize>,
    /// The names under which the scene image is sent, whichever name the job uses. The provider silently drops an
    /// unknown name, and without its scene the picture is paid for and wrong (docs/provider.md, "The two editions of
    /// the page").
    pub scene_names_sent: &'static [&'static str],
}

impl Route {
    /// A route in one of its editions, with nothing configured; the scene is sent under all of its names.
    #[must_use]
    pub fn of(data: &'static RouteData, edition: &Edition) -> Self {
        Self {
            data,
            name: RouteName(data.name.into()),
            submit_path: data.submit_path.to_owned(),
            query_path: data.query_path.to_owned(),
            models: edition.models.iter().map(|model| (*model).to_owned()).collect(),
            default_model: if data.has_model() { edition.default_model.to_owned() } else { String::new() },
            subject_images: edition.subject_images.clone(),
            scene_names_sent: data.scene_names,
        }
    }

    /// The default route with `api.profile = "page"`.
    #[must_use]
    pub fn page() -> Self {
        Self::of(&MULTI_IMAGE_TO_IMAGE, &PAGE)
    }

    /// The default route with `api.profile = "current"`.
    #[must_use]
    pub fn current() -> Self {
        Self::of(&MULTI_IMAGE_TO_IMAGE, &CURRENT)
    }

    /// Sets another model for jobs that name none; jobs may also name it.
    #[must_use]
    pub fn with_default_model(mut self, model: &str) -> Self {
        if !self.models.iter().any(|known| known == model) {
            self.models.push(model.to_owned());
        }
        model.clone_into(&mut self.default_model);
        self
    }

    /// The other of the two paths that may know a task of this route; `None` if another path is configured.
    #[must_use]
    pub fn other_query_path(&self) -> Option<&'static str> {
        let (path, other) = (self.data.query_path, self.data.other_query_path?);
        if self.query_path == path {
            Some(other)
        } else if self.query_path == other {
            Some(path)
        } else {
            None
        }
    }
}

/// The routes of this fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    default: Arc<Route>,
    others: Vec<Arc<Route>>,
}

impl Routes {
    /// All routes of the table. `default` stands for the first one, and the others are in the edition of this
    /// profile.
    #[must_use]
    pub fn new(default: Route, profile: &str) -> Self {
        let others = ROUTES.into_iter().filter(|data| data.name != default.data.name);
        let others = others.map(|data| Arc::new(Route::of(data, data.edition(profile)))).collect();
        Self { default: Arc::new(default), others }
    }

    /// With one more route.
    #[must_use]
    pub fn and(mut self, route: impl Into<Arc<Route>>) -> Self {
        self.others.push(route.into());
        self
    }

    /// The route of a job that names none.
    #[must_use]
    pub fn default_route(&self) -> &Arc<Route> {
        &self.default
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Route>> {
        self.iter().find(|route| route.data.name == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        std::iter::once(&self.default).chain(&self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::submission::Submission;

    #[test]
    fn every_entry_of_the_table_can_be_used() {
        assert_eq!(ROUTES.first().map(|first| first.name), Some(RouteName::default_route().as_str()));
        for (index, data) in ROUTES.into_iter().enumerate() {
            let name = data.name;
            assert!(ROUTES.iter().skip(index + 1).all(|other| other.name != name), "{name} is there twice");
            for path in [Some(data.query_path), data.other_query_path].into_iter().flatten() {
                assert!(path.starts_with('/') && path.matches("{task_id}").count() == 1, "{name}: {path}");
            }
            assert!(data.submit_path.starts_with('/') && !data.submit_path.contains('{'), "{name}");
            assert_eq!(
                data.fields.iter().any(|field| field.check == Check::Scene),
                !data.scene_names.is_empty()
            );
            for edition in data.editions {
                let known = edition.models.contains(&edition.default_model);
                assert_eq!(known, data.has_model(), "{name} {}", edition.profile);
            }
            assert!(!data.editions.is_empty(), "{name}");
            for Together::Excludes(one, other) | Together::Needs(one, other) | Together::AnyOf(one, other) in
                data.together
            {
                let is_field = |name: &str| data.fields.iter().any(|field| field.name == name);
                assert!(is_field(one) && is_field(other), "{name}: {one}, {other}");
            }
            // Both are keys of the schema.
            assert!(RouteName::new(name).is_some() && name != "image", "{name}");
            for field in data.fields {
                let own = match field.check {
                    Check::Model | Check::AnyModel => Some("model_name"),
                    Check::CallbackUrl => Some("callback_url"),
                    Check::ExternalTaskId => Some("external_task_id"),
                    Check::Pictures { .. }
                    | Check::Picture
                    | Check::Scene
                    | Check::OneOf(_)
                    | Check::Text { .. }
                    | Check::Images(_)
                    | Check::Series { .. }
                    | Check::Fraction(_)
                    | Check::Flag
                    | Check::Object
                    | Check::Objects(_)
                    | Check::Url
                    | Check::Sound
                    | Check::Switch => None,
                };
                let is_own = Submission::OWN_MEMBERS.contains(&field.name);
                assert_eq!(is_own.then_some(field.name), own, "{name}: a submission has these by itself");
            }
        }
    }

    #[test]
    fn a_task_may_be_at_either_of_two_paths_unless_another_one_is_configured() {
        let route = Route::page();
        let other = route.other_query_path().unwrap();
        assert_ne!(other, route.query_path);
        let turned = Route { query_path: other.to_owned(), ..route.clone() };
        assert_eq!(turned.other_query_path(), Some(route.data.query_path));
        let elsewhere = Route { query_path: "/v2/tasks/{task_id}".to_owned(), ..route };
        assert_eq!(elsewhere.other_query_path(), None);
    }
}
