//! A table of prompts (CSV) as jobs: a row is a job, a column a field of its route.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::cli::Usage;
use crate::config::nearest;
use crate::job::request::Rules;
use crate::job::route::{Check, Field, Route};

/// The column for the pictures of a list, whatever the route calls it.
const PICTURES: &str = "subject_images";
/// Columns of this form make the job's metadata.
const METADATA: &str = "metadata.";
/// Columns of this form are fields that this version doesn't know.
const UNKNOWN: &str = "input.";
/// What the columns may be separated by; a spreadsheet takes another one in each country.
const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// Turns the table into JSON lines, each on the line where its row begins in the table.
///
/// # Errors
///
/// What is wrong with the table itself. What is wrong with a job is found where all jobs are checked.
pub(super) fn as_json_lines(table: &str, rules: &Rules) -> Result<String, Usage> {
    let table = table.strip_prefix('\u{feff}').unwrap_or(table);
    let separator = separator(table);
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .delimiter(u8::try_from(separator).unwrap_or(b','))
        .flexible(true)
        .from_reader(table.as_bytes());
    let wrong = |error: csv::Error| Usage(format!("the table can't be read: {error}"));
    let columns: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_lowercase).collect();
    are_columns(&columns, rules)?;
    let (mut lines, mut line) = (String::new(), 1);
    let mut place = Lines { table, read: 0, line: 1 };
    for row in reader.records() {
        let row = row.map_err(wrong)?;
        let begins = place.of(row.position().map_or(0, csv::Position::byte));
        while line < begins {
            lines.push('\n');
            line += 1;
        }
        if row.iter().all(str::is_empty) {
            continue;
        }
        if row.len() > columns.len() {
            return Err(Usage(format!(
                "line {begins} of the table has {} cells, and there are {} columns: a text with {separator:?} in it \
                 needs quotes around it",
                row.len(),
                columns.len()
            )));
        }
        let cells = columns.iter().map(String::as_str).zip(&row).filter(|(_, cell)| !cell.is_empty());
        let job = job(&cells.collect(), rules)
            .map_err(|why| Usage(format!("line {begins} of the table: {why}")))?;
        lines.push_str(&job.to_string());
        lines.push('\n');
        line += 1;
    }
    Ok(lines)
}

/// Counts the lines of a table up to ever later places, reading each byte once.
struct Lines<'a> {
    table: &'a str,
    read: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line on which the row begins that is read from this byte on; blank lines before it are none of it.
    fn of(&mut self, byte: u64) -> usize {
        let from = usize::try_from(byte).unwrap_or(usize::MAX).max(self.read);
        let blank = |byte: &&u8| matches!(byte, b'\n' | b'\r');
        let bytes = self.table.as_bytes();
        let begins = from + bytes.iter().skip(from).take_while(blank).count();
        self.line += bytes.iter().take(begins).skip(self.read).filter(|byte| **byte == b'\n').count();
        self.read = begins;
        self.line
    }
}

/// The one that the headings have most of.
fn separator(table: &str) -> char {
    let headings = table.lines().next().unwrap_or_default();
    let number = |separator: &char| headings.matches(*separator).count();
    SEPARATORS.into_iter().rev().max_by_key(number).unwrap_or(',')
}

/// # Errors
///
/// A column that is there twice, or is a field of no route: it would be paid for without its words.
fn are_columns(columns: &[String], rules: &Rules) -> Result<(), Usage> {
    let fields = rules.routes.iter().flat_map(|route| {
        let data = route.data;
        data.fields.iter().flat_map(|field| data.names_of(field).iter().copied())
    });
    let known: BTreeSet<&str> = fields.chain(["job_id", "operation", "timeout_s", PICTURES]).collect();
    let mut seen = BTreeSet::new();
    for column in columns {
        let is_own = column
            .strip_prefix(METADATA)
            .or(column.strip_prefix(UNKNOWN))
            .is_some_and(|name| !name.is_empty());
        if !seen.insert(column) {
            return Err(Usage(format!("the table has the column {column} twice")));
        }
        if !known.contains(column.as_str()) && !is_own {
            let near = nearest(column, known.iter().copied()).map(|near| format!("did you mean {near}? "));
            return Err(Usage(format!(
                "the table has a column {column:?}, which is a field of no route: {}metadata.NAME is for your own data, \
                 input.NAME for a field that this version doesn't know",
                near.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

fn job(cells: &BTreeMap<&str, &str>, rules: &Rules) -> Result<Value, String> {
    let named = cells.get("operation").and_then(|name| rules.routes.get(name));
    let route = named.unwrap_or(rules.routes.default_route());
    let (mut job, mut input, mut metadata) = (Map::new(), Map::new(), Map::new());
    for (column, cell) in cells {
        match *column {
            "job_id" | "operation" => {
                job.insert((*column).to_owned(), json!(cell));
            }
            "timeout_s" => {
                job.insert((*column).to_owned(), number(cell));
            }
            PICTURES => {
                let lists = |field: &&Field| matches!(field.check, Check::Pictures { .. });
                let Some(field) = route.data.fields.iter().find(lists) else {
                    let pictures = route.data.fields.iter().filter(|field| field.check == Check::Picture);
                    let names: Vec<&str> = pictures.map(|field| field.name).collect();
                    let instead = if names.is_empty() { "no picture".to_owned() } else { names.join(", ") };
                    return Err(format!(
                        "{} has no list of pictures for {PICTURES}, but {instead}",
                        route.name
                    ));
                };
                input.insert(field.name.to_owned(), value(field, cell));
            }
            _ => {
                if let Some(name) = column.strip_prefix(METADATA) {
                    metadata.insert(name.to_owned(), json!(cell));
                } else {
                    let name = column.strip_prefix(UNKNOWN).unwrap_or(column);
                    input.insert(
                        name.to_owned(),
                        field(route, name).map_or(json!(cell), |field| value(field, cell)),
                    );
                }
            }
        }
    }
    if !metadata.is_empty() {
        job.insert("metadata".to_owned(), metadata.into());
    }
    job.insert("input".to_owned(), input.into());
    Ok(job.into())
}

fn field<'a>(route: &'a Route, column: &str) -> Option<&'a Field> {
    route.data.fields.iter().find(|field| route.data.names_of(field).contains(&column))
}

/// A cell is a text; what a field holds beside texts is read from it. What can't be read stays a text, and is a fault
/// of the job.
fn value(field: &Field, cell: &str) -> Value {
    match &field.check {
        Check::Pictures { member } => {
            let pictures = cell.split(';').map(str::trim).filter(|picture| !picture.is_empty());
            pictures.map(|picture| json!({(*member): picture})).collect()
        }
        Check::Images(_) | Check::Series { .. } | Check::Fraction(_) => number(cell),
        // Spreadsheets write TRUE.
        Check::Flag if cell.eq_ignore_ascii_case("true") => json!(true),
        Check::Flag if cell.eq_ignore_ascii_case("false") => json!(false),
        Check::Flag | Check::Object | Check::Objects(_) | Check::Switch => {
            serde_json::from_str(cell).unwrap_or_else(|_| json!(cell))
        }
        Check::Picture
        | Check::Scene
        | Check::Model
        | Check::AnyModel
        | Check::OneOf(_)
        | Check::Text { .. }
        | Check::Url
        | Check::Sound
        | Check::CallbackUrl
        | Check::ExternalTaskId => json!(cell),
    }
}

fn number(cell: &str) -> Value {
    match serde_json::from_str(cell) {
        Ok(Value::Number(number)) => number.into(),
        Ok(_) | Err(_) => json!(cell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(table: &str) -> Vec<Value> {
        let lines = as_json_lines(table, &Rules::page()).unwrap();
        let lines = lines.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_row_is_a_job_of_its_route() {
        let jobs = jobs(
            "job_id,operation,prompt,subject_images,n,duration,multi_shot,metadata.customer\n\
             a,,\"a table, laid\",https://e.com/a.png; file:b.png ;,2,,,7\n\
             ,omni_image,a hall,https://e.com/c.png,,,,\n\
             ,text_to_video,a boat,,,10,false,\n\
             ,text_to_audio,rain,,,5.5,,\n",
        );
        let picture = |name: &str| json!({"subject_image": name});
        assert_eq!(
            jobs,
            [
                json!({"job_id": "a", "metadata": {"customer": "7"}, "input": {
                    "prompt": "a table, laid", "n": 2,
                    "subject_image_list": [picture("https://e.com/a.png"), picture("file:b.png")]}}),
                json!({"operation": "omni_image", "input": {
                    "prompt": "a hall", "image_list": [{"image": "https://e.com/c.png"}]}}),
                json!({"operation": "text_to_video", "input": {
                    "prompt": "a boat", "duration": "10", "multi_shot": false}}),
                json!({"operation": "text_to_audio", "input": {"prompt": "rain", "duration": 5.5}}),
            ]
        );
    }

    #[test]
    fn what_is_no_number_stays_as_it_is_and_is_found_with_the_job() {
        assert_eq!(jobs("prompt,n\nx,many\n")[0]["input"]["n"], "many");
        assert_eq!(
            jobs("operation,prompt,multi_shot\ntext_to_video,x,yes\n")[0]["input"]["multi_shot"],
            "yes"
        );
    }

    fn refused(table: &str) -> String {
        let Usage(words) = as_json_lines(table, &Rules::page()).unwrap_err();
        words
    }

    #[test]
    fn a_table_that_would_be_paid_for_otherwise_than_it_is_meant_is_refused() {
        for (table, said) in [
            ("prompt,n\nx,1\ny,2,3\n", "line 3 of the table has 3 cells"),
            ("operation,promt\n", "did you mean prompt?"),
            ("prompt,prompt\n", "the column prompt twice"),
            ("prompt,metadata\n", "metadata.NAME"),
            ("prompt,metadata.\n", "metadata.NAME"),
            (
                "operation,prompt,subject_images\nimage_generation,x,a.png\n",
                "has no list of pictures for subject_images, but image",
            ),
        ] {
            let words = refused(table);
            assert!(words.contains(said), "{table}: {words}");
        }
    }

    #[test]
    fn tables_of_spreadsheets_are_read_as_they_are_written() {
        let expected =
            [json!({"operation": "image_generation", "input": {"prompt": "a boat, small", "n": 2}})];
        for table in [
            "\u{feff}Operation;Prompt;N\r\nimage_generation;a boat, small;2\r\n;;\r\n",
            "operation\tprompt\tn\nimage_generation\ta boat, small\t2\n",
            "operation,prompt,n\nimage_generation,\"a boat, small\",2\n,,\n",
        ] {
            assert_eq!(jobs(table), expected, "{table}");
        }
        assert_eq!(
            jobs("operation,prompt,multi_shot\ntext_to_video,x,TRUE\n")[0]["input"]["multi_shot"],
            true
        );
        assert_eq!(jobs("operation,prompt,input.new\ntext_to_video,x,y\n")[0]["input"]["new"], "y");
    }

    #[test]
    fn a_job_stands_on_the_line_where_its_row_begins() {
        let table = "operation,prompt\nimage_generation,\"one\ntwo\"\n\nimage_generation,b\n";
        let lines = as_json_lines(table, &Rules::page()).unwrap();
        let places: Vec<_> =
            lines.lines().zip(1..).filter(|(line, _)| !line.is_empty()).map(|(_, at)| at).collect();
        assert_eq!(places, [2, 5]);
    }
}
