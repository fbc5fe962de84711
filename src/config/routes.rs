//! `[routes.NAME]`: routes of the provider that this version doesn't know, from the configuration file.
//!
//! Such a route is checked by what its table says, and passes everything else through. Its data live as long as the
//! process, like those of the known routes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use config::{Value, ValueKind};

use super::faults::{nearest, quoted};
use super::layers::table;
use super::reader::Reader;
use super::services::{model_name, path};
use crate::job::FileKind;
use crate::job::route::table::{PICTURE, ROUTES, WORDS};
use crate::job::route::{Certainty, Check, Edition, Field, Route, RouteData, RouteName};

const KEYS: [&str; 9] =
    ["about", "submit_path", "query_path", "makes", "slots", "count", "default_model", "required", "images"];
const SLOTS_MAX: i64 = 1000;
const COUNT: RangeInclusive<u32> = 1..=9;

/// What is wrong with a table, and with which of its keys.
type Fault = (&'static str, String);

/// The table of one route.
struct Table(BTreeMap<String, Value>);

/// Reads all of them; what is wrong becomes a fault.
pub(super) fn read(from: &mut Reader) -> Vec<Arc<Route>> {
    let mut routes = Vec::new();
    for (name, value) in from.routes() {
        let place = value.origin().unwrap_or("the configuration file").to_owned();
        let route = match table(value.kind) {
            Some(keys) => route(&name, Table(keys.into_iter().collect())),
            None => Err(("", format!("is a section: write [routes.{name}] on its own line"))),
        };
        match route {
            Ok(route) => routes.push(Arc::new(route)),
            Err((key, message)) => {
                let key =
                    if key.is_empty() { format!("routes.{name}") } else { format!("routes.{name}.{key}") };
                from.fault(&place, &key, format!("{key} {message}"));
            }
        }
    }
    routes
}

fn route(name: &str, table: Table) -> Result<Route, Fault> {
    let known = ROUTES.iter().any(|route| route.name == name) || name == "image";
    if RouteName::new(name).is_none() || known {
        let why =
            if known { "is a route of comet-worker already" } else { "can't be a route's name: a-z 0-9 _" };
        return Err(("", why.to_owned()));
    }
    if let Some(other) = table.0.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let near = nearest(other, KEYS).map(|near| format!("; did you mean {near}?"));
        let hint = near.unwrap_or_else(|| format!("; there are {}", KEYS.join(", ")));
        return Err(("", format!("has no key {}{hint}", quoted(other))));
    }
    let submit_path = path(&table.text("submit_path")?, 0).map_err(|why| ("submit_path", why))?;
    let query_path = path(&table.text("query_path")?, 1).map_err(|why| ("query_path", why))?;
    let default_model = model_name(&table.text("default_model")?).map_err(|why| ("default_model", why))?;
    let makes = table.list("makes")?.iter().map(|word| kind(word)).collect::<Result<Vec<_>, _>>()?;
    if makes.is_empty() {
        return Err(("makes", "is missing: images, videos or audios".to_owned()));
    }
    let slots = match table.0.get("slots").map(|value| &value.kind) {
        None => 1,
        Some(ValueKind::I64(slots)) if (1..=SLOTS_MAX).contains(slots) => u32::try_from(*slots).unwrap_or(1),
        Some(_) => return Err(("slots", format!("must be a number from 1 to {SLOTS_MAX}"))),
    };
    let has_model = !default_model.is_empty();
    let fields = fields(&table, has_model)?;
    let models: &'static [&'static str] =
        if has_model { vec![leaked(default_model.clone())].leak() } else { &[] };
    let edition: &'static Edition = Box::leak(Box::new(Edition {
        profile: "any",
        models,
        default_model: models.first().copied().unwrap_or_default(),
        subject_images: 0..=0,
    }));
    let data = RouteData {
        name: leaked(name.to_owned()),
        about: leaked(table.text("about")?),
        submit_path: leaked(submit_path),
        query_path: leaked(query_path),
        other_query_path: None,
        editions: vec![edition].leak(),
        fields: fields.leak(),
        scene_names: &[],
        together: &[],
        picture: PICTURE,
        makes: makes.leak(),
        slots,
        certainty: Certainty::Configured,
    };
    Ok(Route::of(Box::leak(Box::new(data)), edition))
}

fn fields(table: &Table, has_model: bool) -> Result<Vec<Field>, Fault> {
    let (required, images, count) = (table.list("required")?, table.list("images")?, table.list("count")?);
    let mut checks: BTreeMap<String, Check> = BTreeMap::new();
    for name in images {
        checks.insert(name, Check::Picture);
    }
    for name in count {
        checks.insert(name, Check::Images(COUNT));
    }
    for name in &required {
        checks.entry(name.clone()).or_insert(WORDS);
    }
    let own = ["model_name", "callback_url", "external_task_id"];
    if let Some(name) = checks.keys().find(|name| own.contains(&name.as_str())) {
        return Err(("required", format!("names {name}, which is sent by itself")));
    }
    let mut fields: Vec<Field> = checks
        .into_iter()
        .map(|(name, check)| Field {
            required: required.contains(&name),
            name: leaked(name),
            check,
            about: "",
        })
        .collect();
    if has_model {
        fields.push(Field::optional("model_name", Check::AnyModel, ""));
    }
    fields.push(Field::optional("callback_url", Check::CallbackUrl, ""));
    fields.push(Field::optional("external_task_id", Check::ExternalTaskId, ""));
    Ok(fields)
}

fn kind(word: &str) -> Result<FileKind, Fault> {
    let known = FileKind::ALL.into_iter().find(|kind| kind.plural() == word);
    known.ok_or_else(|| ("makes", format!("is {}; it must be images, videos or audios", quoted(word))))
}

fn leaked(text: String) -> &'static str {
    String::leak(text)
}

impl Table {
    /// Empty if it isn't there.
    fn text(&self, key: &'static str) -> Result<String, Fault> {
        match self.0.get(key).map(|value| &value.kind) {
            None => Ok(String::new()),
            Some(ValueKind::String(text)) => Ok(text.clone()),
            Some(_) => Err((key, "must be text in quotes".to_owned())),
        }
    }

    /// Names separated by commas.
    fn list(&self, key: &'static str) -> Result<Vec<String>, Fault> {
        let text = self.text(key)?;
        Ok(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::Config;

    fn load(toml: &str) -> Result<Config, Vec<String>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        Config::load(Some(file.path()), Vec::new())
            .map_err(|faults| faults.as_slice().iter().map(|fault| fault.message.clone()).collect())
    }

    #[test]
    fn a_route_of_the_file_is_one_like_the_others() {
        let config = load(
            r#"
            [routes.swap_face]
            about = "A face takes the place of another."
            submit_path = "/kling/v1/images/swap"
            query_path = "/kling/v1/images/swap/{task_id}"
            makes = "images, videos"
            count = "n"
            slots = 2
            default_model = "kling-v9"
            required = "prompt, face"
            images = "face, target"
            "#,
        );
        let routes = config.unwrap().api.routes();
        let route = routes.get("swap_face").unwrap();
        assert_eq!(route.data.makes, [FileKind::Image, FileKind::Video]);
        assert_eq!((route.submit_path.as_str(), route.data.slots), ("/kling/v1/images/swap", 2));
        assert_eq!(route.default_model, "kling-v9");
        let field = |name: &str| route.data.fields.iter().find(|field| field.name == name).unwrap();
        assert!(field("face").required && field("face").check == Check::Picture);
        assert!(!field("target").required && field("target").check == Check::Picture);
        assert!(field("prompt").required && field("prompt").check == WORDS);
        assert_eq!(field("n").check, Check::Images(1..=9));
        assert_eq!(field("callback_url").check, Check::CallbackUrl);
        // The known ones are there as before.
        assert!(routes.get("text_to_video").is_some());
    }

    #[test]
    fn what_is_wrong_with_a_route_is_told_with_its_key() {
        let paths = "submit_path = \"/a\"\nquery_path = \"/a/{task_id}\"\nmakes = \"images\"\n";
        for (toml, said) in [
            ("[routes.text_to_video]\n", "routes.text_to_video is a route of comet-worker already"),
            ("[routes.\"a b\"]\n", "can't be a route's name"),
            ("[routes.a]\nmake = \"images\"\n", "has no key \"make\"; did you mean makes?"),
            ("[routes.a]\nmakes = \"images\"\n", "routes.a.submit_path must be a path"),
            ("[routes.a]\nsubmit_path = \"/a\"\nquery_path = \"/a\"\n", "routes.a.query_path must be a path"),
            (
                "[routes.a]\nsubmit_path = \"/a\"\nquery_path = \"/a/{task_id}\"\n",
                "routes.a.makes is missing",
            ),
            (&paths.replace("\"images\"", "\"pictures\""), ""),
            (
                &format!("[routes.a]\n{}", paths.replace("\"images\"", "\"pictures\"")),
                "must be images, videos or audios",
            ),
            (&format!("[routes.a]\n{paths}slots = 0\n"), "routes.a.slots must be a number from 1"),
            (&format!("[routes.a]\n{paths}required = 3\n"), "routes.a.required must be text in quotes"),
            (&format!("[routes.a]\n{paths}images = \"model_name\"\n"), "is sent by itself"),
            ("[routes]\na = 1\n", "routes.a is a section"),
        ] {
            let faults = load(toml).unwrap_err();
            assert!(faults.iter().any(|fault| fault.contains(said)), "{toml}: {faults:?}");
        }
    }
}
