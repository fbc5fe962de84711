//! Markdown tables, and their place in a page. Each measurement has a part of its own between two marks, which a new
//! run of that measurement replaces.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

/// What one measurement found.
pub struct Section {
    /// As on the command line.
    pub name: &'static str,
    pub title: String,
    /// What was done, in a sentence or two.
    pub how: String,
    pub tables: Vec<Table>,
    pub bounds: Vec<Bound>,
    /// What has to be said about it.
    pub notes: Vec<String>,
}

pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// A figure with a required bound.
pub struct Bound {
    pub what: String,
    pub measured: f64,
    pub limit: Limit,
    pub unit: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub fn holds(&self) -> bool {
        match self.limit {
            Limit::AtLeast(least) => self.measured >= least,
            Limit::AtMost(most) => self.measured <= most,
        }
    }

    fn row(&self) -> Vec<String> {
        let unit = self.unit;
        let asked = match self.limit {
            Limit::AtLeast(least) => format!("at least {}{unit}", figure(least)),
            Limit::AtMost(most) => format!("at most {}{unit}", figure(most)),
        };
        let held = if self.holds() { "yes" } else { "**no**" };
        vec![self.what.clone(), asked, format!("{}{unit}", figure(self.measured)), held.to_owned()]
    }
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = vec!["---".to_owned(); self.head.len()];
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.head) + &line(&rule) + &rows
    }
}

impl Section {
    pub fn new(name: &'static str, title: &str, how: String) -> Self {
        let title = title.to_owned();
        Self { name, title, how, tables: Vec::new(), bounds: Vec::new(), notes: Vec::new() }
    }

    /// `when` says where and when it was measured.
    pub fn markdown(&self, when: &str) -> String {
        let mut text = format!("## {}\n\n{}\n\n{when}\n", self.title, self.how);
        for table in &self.tables {
            let _ = write!(text, "\n{}", table.markdown());
        }
        if !self.bounds.is_empty() {
            let mut table = Table::new(&["what", "asked", "measured", "holds"]);
            table.rows = self.bounds.iter().map(Bound::row).collect();
            let _ = write!(text, "\n{}", table.markdown());
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }
}

/// Puts `text` between the marks of `name` in the page.
pub fn replace(page: &Path, name: &str, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let missing = || format!("{} has no marks for {name}", page.display());
    let (before, rest) = old.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok(std::fs::write(page, [before, &begin, text, &end, after].concat())?)
}

/// Three significant figures.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// The middle value, and how far the others are from it.
#[derive(Debug, Clone, Copy)]
pub struct Median {
    pub value: f64,
    pub least: f64,
    pub most: f64,
}

impl Median {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let value = *sorted.get(sorted.len() / 2)?;
        Some(Self { value, least: *sorted.first()?, most: *sorted.last()? })
    }
}

impl std::fmt::Display for Median {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}–{})", figure(self.value), figure(self.least), figure(self.most))
    }
}
