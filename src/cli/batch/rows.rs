//! A table of prompts (CSV) as jobs: a row is a job, a column a field of its route.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cli::Usage;
use crate::job::request::Rules;
use crate::job::route::{Check, Field, Route};

/// The column for the pictures of a list, whatever the route calls it.
const PICTURES: &str = "subject_images";
/// Columns of this form make the job's metadata.
const METADATA: &str = "metadata.";

/// Turns the table into JSON lines, each on the line that it has in the table where no cell has several lines.
///
/// # Errors
///
/// What is wrong with the table itself. What is wrong with a job is found where all jobs are checked.
pub(super) fn as_json_lines(table: &str, rules: &Rules) -> Result<String, Usage> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(table.as_bytes());
    let wrong = |error: csv::Error| Usage(format!("the table can't be read: {error}"));
    let columns: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
    let mut lines = String::from("\n");
    for row in reader.records() {
        let row = row.map_err(wrong)?;
        let cells = columns.iter().map(String::as_str).zip(&row).filter(|(_, cell)| !cell.is_empty());
        let job = job(&cells.collect(), rules);
        lines.push_str(&job.to_string());
        lines.push('\n');
    }
    Ok(lines)
}

fn job(cells: &BTreeMap<&str, &str>, rules: &Rules) -> Value {
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
                let field =
                    route.data.fields.iter().find(|field| matches!(field.check, Check::Pictures { .. }));
                let (name, value) =
                    field.map_or((PICTURES, json!(cell)), |field| (field.name, value(field, cell)));
                input.insert(name.to_owned(), value);
            }
            _ => match column.strip_prefix(METADATA) {
                Some(name) => {
                    metadata.insert(name.to_owned(), json!(cell));
                }
                None => {
                    input.insert(
                        (*column).to_owned(),
                        field(route, column).map_or(json!(cell), |field| value(field, cell)),
                    );
                }
            },
        }
    }
    if !metadata.is_empty() {
        job.insert("metadata".to_owned(), metadata.into());
    }
    job.insert("input".to_owned(), input.into());
    job.into()
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
        assert!(lines.starts_with('\n'), "the line of the headings");
        lines.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
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

    #[test]
    fn a_table_with_a_row_that_is_too_long_is_refused_with_its_line() {
        let Usage(words) = as_json_lines("prompt,n\nx,1\ny,2,3\n", &Rules::page()).unwrap_err();
        assert!(words.contains("line: 3") || words.contains("line 3"), "{words}");
    }
}
