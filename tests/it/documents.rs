//! The documents name what exists: files, headings, commands, targets, settings and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use comet_worker::config::DEFAULT_TOML;
use comet_worker::fleet::Queues;
use comet_worker::fleet::spend::SpendState;
use comet_worker::job::request::DeadReason;
use comet_worker::job::spend::SpendToday;
use comet_worker::job::step::RequeueReason;
use comet_worker::job::{Reason, schema};
use comet_worker::metrics::Metrics;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;

/// A line of prose should fit on half a screen.
const PROSE_MAX: usize = 119;
const README_LINES_MAX: usize = 199;

struct Document {
    path: PathBuf,
    text: String,
    anchors: BTreeSet<String>,
    links: Vec<String>,
    /// The lines of code blocks that are shell.
    commands: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> BTreeMap<PathBuf, Document> {
    let folders = ["", "docs", "tests/sim", "tests/bench", "tests/fixtures/pictures"];
    let files = folders.iter().flat_map(|folder| root().join(folder).read_dir().unwrap());
    let files = files.map(|file| file.unwrap().path());
    let documents = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.map(|path| (path.clone(), read(path))).collect()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of a parser's many events a few are of use here")]
fn read(path: PathBuf) -> Document {
    let text = std::fs::read_to_string(&path).unwrap();
    let mut document = Document {
        path,
        text: text.clone(),
        anchors: BTreeSet::new(),
        links: Vec::new(),
        commands: Vec::new(),
    };
    let (mut heading, mut is_shell) = (None, false);
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap());
                let again = document.anchors.iter().filter(|other| **other == slug).count();
                assert_eq!(again, 0, "{}: two headings are {slug}", document.path.display());
                document.anchors.insert(slug);
            }
            Event::Start(Tag::Link { dest_url, .. }) => document.links.push(dest_url.into_string()),
            Event::Start(Tag::CodeBlock(kind)) => {
                is_shell = matches!(kind, CodeBlockKind::Fenced(language) if language.as_ref() == "sh");
            }
            Event::End(TagEnd::CodeBlock) => is_shell = false,
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                } else if is_shell {
                    document.commands.extend(words.lines().map(str::to_owned));
                }
            }
            _ => {}
        }
    }
    document
}

/// The anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let documents = documents();
    assert!(documents.len() > 10, "{:?}", documents.keys());
    for document in documents.values() {
        for link in &document.links {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = document.path.parent().unwrap();
            let path =
                if file.is_empty() { Ok(document.path.clone()) } else { folder.join(file).canonicalize() };
            let path = path.unwrap_or_else(|error| panic!("{}: {link}: {error}", document.path.display()));
            if !anchor.is_empty() {
                let there = documents.get(&path).is_some_and(|other| other.anchors.contains(anchor));
                assert!(there, "{}: {link} leads to no heading", document.path.display());
            }
        }
    }
}

#[test]
fn prose_is_narrow_and_the_readme_short() {
    for document in documents().values() {
        let (mut is_code, mut is_written_by_a_program) = (false, false);
        for (number, line) in (1..).zip(document.text.lines()) {
            is_code ^= line.starts_with("```");
            // Rows of tables and addresses can't be broken; the output of `make bench` is between two comments.
            is_written_by_a_program |= line.starts_with("<!-- ");
            is_written_by_a_program &= !line.starts_with("<!-- /");
            let is_prose =
                !is_code && !is_written_by_a_program && !line.starts_with('|') && !line.starts_with('[');
            let width = line.chars().count();
            assert!(
                !is_prose || width <= PROSE_MAX,
                "{}:{number} has {width} characters",
                document.path.display()
            );
        }
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= README_LINES_MAX, "{} lines", readme.lines().count());
}

/// Checks each `comet-worker …` with its flags, and each `make …` with its target.
#[test]
fn every_command_line_can_be_typed() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let mut helps = BTreeMap::new();
    let mut seen = 0;
    for document in documents().values() {
        for line in &document.commands {
            let line = line.split(" #").next().unwrap();
            let words: Vec<_> = line.split_whitespace().collect();
            for (at, word) in words.iter().enumerate() {
                let behind =
                    words[at + 1..].iter().copied().take_while(|word| !["&", "|", "&&", ";"].contains(word));
                let place = || format!("{}: {line}", document.path.display());
                if *word == "make" {
                    let target = behind.clone().find(|word| !word.contains('=')).unwrap();
                    assert!(makefile.contains(&format!("\n{target}:")), "{}", place());
                    seen += 1;
                } else if *word == "comet-worker" || word.ends_with("/comet-worker") {
                    check(&behind.collect::<Vec<_>>(), &mut helps, &place());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10, "{seen} command lines");
}

fn check(words: &[&str], helps: &mut BTreeMap<String, String>, place: &str) {
    let commands = help(helps, "");
    let Some(command) = words.iter().find(|word| commands.contains(&format!("\n  {word} "))) else {
        let known_without =
            words.is_empty() || words.iter().any(|word| ["--help", "--version"].contains(word));
        assert!(known_without, "{place}: no such command");
        return;
    };
    let help = help(helps, command);
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let flag = flag.split('=').next().unwrap();
        assert!(help.contains(flag), "{place}: {command} has no {flag}");
    }
}

fn help(helps: &mut BTreeMap<String, String>, command: &str) -> String {
    let ask = || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_comet-worker"));
        let said = program.args((!command.is_empty()).then_some(command)).arg("--help").output().unwrap();
        assert!(said.status.success(), "{command} --help");
        String::from_utf8(said.stdout).unwrap()
    };
    helps.entry(command.to_owned()).or_insert_with(ask).clone()
}

#[test]
fn the_page_of_settings_has_each_with_its_default() {
    let source = config::File::from_str(DEFAULT_TOML, config::FileFormat::Toml);
    let defaults = config::Config::builder().add_source(source).build().unwrap();
    let sections = defaults.try_deserialize::<BTreeMap<String, BTreeMap<String, config::Value>>>().unwrap();
    let expected: BTreeMap<String, String> = sections
        .into_iter()
        .flat_map(|(section, keys)| {
            keys.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value))
        })
        .map(|(key, value)| (key, value.into_string().unwrap()))
        .map(|(key, value)| (key, if value.is_empty() { "\"\"".to_owned() } else { value }))
        .collect();
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.strip_suffix('`')?;
        let default = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        key.contains('.').then(|| (key.to_owned(), default.to_owned()))
    });
    let rows: Vec<_> = rows.collect();
    let written: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(written.len(), rows.len(), "a key stands twice in docs/configuration.md");
    assert_eq!(written, expected);
}

/// The names of all metrics, as a query has them: of a histogram without its suffix.
fn exposed_metrics() -> BTreeSet<String> {
    let metrics = Metrics::default();
    let queues = Queues { jobs: Some(0), dead: Some(0), unrouted: Some(0) };
    metrics.backlog(Some((&queues, 0)));
    let spend = SpendState::of(String::new(), &SpendToday::default(), None, None);
    metrics.spent_today(Some(&spend));
    let encoded = metrics.encode();
    let types = encoded.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let words = types.map(|line| line.split(' ').collect::<Vec<_>>());
    let names = words.map(|words| match words[1] {
        "counter" => format!("{}_total", words[0]),
        "info" => format!("{}_info", words[0]),
        _ => words[0].to_owned(),
    });
    names.collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let exposed = exposed_metrics();
    for (file, least) in
        [("deploy/prometheus/comet-worker.rules.yaml", 10), ("deploy/grafana/comet-worker.json", 30)]
    {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let named = text.split("comet_").skip(1).map(|rest| {
            let name: String =
                rest.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
            format!("comet_{}", name.trim_end_matches("_bucket"))
        });
        let named: Vec<String> = named.collect();
        assert!(named.len() >= least, "{file}: {named:?}");
        for name in named {
            assert!(exposed.contains(&name), "{file}: there is no metric {name}");
        }
    }
}

#[test]
fn the_page_of_metrics_has_each_and_no_other() {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let names = page.lines().filter_map(|line| line.strip_prefix("| `comet_"));
    let documented: BTreeSet<_> = names
        .flat_map(|row| row.split('|').next().unwrap().split(", "))
        .map(|name| format!("comet_{}", name.trim().trim_matches('`').trim_start_matches("comet_")))
        .collect();
    assert_eq!(documented, exposed_metrics());
}

/// What a row quotes is compared by the test that acts it out, beside real services.
#[test]
fn every_row_of_the_table_of_standstills_is_acted_out() {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, rows) = page.split_once("\n| situation | everywhere |").expect("the table of standstills");
    let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
    let situations: Vec<&str> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    let tests = root().join("tests/services/side_by_side").read_dir().unwrap();
    let tests: String = tests.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(situations.len() > 10, "{situations:?}");
    for situation in situations {
        assert_eq!(tests.matches(&format!("shows(\"{situation}\")")).count(), 1, "{situation}");
    }
}

/// Every property in the schema, however deep.
fn properties(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "properties"
                    && let Value::Object(members) = member
                {
                    names.extend(members.keys().cloned());
                }
                properties(member, names);
            }
        }
        Value::Array(members) => members.iter().for_each(|member| properties(member, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_contract_has_every_member_and_every_reason() {
    let page = std::fs::read_to_string(root().join("docs/contract.md")).unwrap();
    let mut names = BTreeSet::new();
    properties(&schema::job(), &mut names);
    properties(&schema::event(), &mut names);
    assert!(names.contains("subject_image") && names.contains("sha256"), "{names:?}");
    for name in names {
        let shown = ["`", "\"", "."]
            .iter()
            .any(|before| ["`", "\""].iter().any(|after| page.contains(&format!("{before}{name}{after}"))));
        assert!(shown, "docs/contract.md doesn't have {name}");
    }
    let reasons = Reason::ALL.map(Reason::as_str);
    for reason in reasons.into_iter().chain(DeadReason::ALL.map(DeadReason::as_str)) {
        assert!(page.contains(&format!("| `{reason}` |")), "docs/contract.md doesn't explain {reason}");
    }
    let operations = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    for why in RequeueReason::ALL.map(RequeueReason::as_str) {
        assert!(operations.contains(&format!("`{why}`")), "docs/operations.md doesn't have {why}");
    }
}
