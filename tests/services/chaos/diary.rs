//! What happened and when, on stdout and in a file beside the workers' logs, with their clock.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::path::Path;

pub(super) struct Diary(RefCell<File>);

impl Diary {
    pub(super) fn begin(folder: &Path) -> Self {
        Self(RefCell::new(File::create(folder.join("history.log")).expect("a file for the history")))
    }

    pub(super) fn note(&self, text: &str) {
        let line = format!("{} {text}", jiff::Timestamp::now().strftime("%H:%M:%S.%3f"));
        println!("{line}");
        writeln!(self.0.borrow_mut(), "{line}").expect("the history can be written");
    }
}
