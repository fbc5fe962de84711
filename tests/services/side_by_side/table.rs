//! The table in `docs/operations.md`, read as what it promises.

use super::views::{View, Views};

/// The head of the table, by which it is found.
const HEAD: &str = "| situation | everywhere | page | `/readyz` | metrics | log | `status` |";

/// What the views say in one situation. Everything that a cell quotes has to be in its view, in these very words.
pub struct Row {
    /// Quoted by the page, the log and `status`, and by `/readyz` where it is 503.
    everywhere: Vec<String>,
    /// The status of `/readyz`.
    pub ready: u16,
    own: Vec<(View, Vec<String>)>,
}

impl Row {
    /// The row of a situation.
    pub fn of(situation: &str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (_, rows) = document.split_once(HEAD).expect("the table of standstills in docs/operations.md");
        let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
        let cells = |row: &str| {
            row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        let row = rows.map(cells).find(|cells| cells[0] == situation);
        let row = row.unwrap_or_else(|| panic!("docs/operations.md has no row for {situation:?}"));
        let [_, everywhere, page, ready, metrics, log, status] = row.as_slice() else {
            panic!("the row of {situation:?} has {} cells", row.len());
        };
        let own = [
            (View::Page, page),
            (View::Ready, ready),
            (View::Metrics, metrics),
            (View::Log, log),
            (View::Status, status),
        ];
        Self {
            everywhere: quoted(everywhere),
            ready: ready.get(..3).and_then(|code| code.parse().ok()).expect("a status of /readyz"),
            own: own.map(|(view, cell)| (view, quoted(cell))).to_vec(),
        }
    }

    /// What the views fail to say.
    pub fn missing_in(&self, views: &Views) -> Vec<String> {
        let mut missing = Vec::new();
        if views.ready != self.ready {
            missing.push(format!("/readyz is {} and not {}", views.ready, self.ready));
        }
        for (view, own) in &self.own {
            let is_said_here = match view {
                View::Page | View::Log | View::Status => true,
                View::Ready => self.ready == 503,
                View::Metrics => false,
            };
            let everywhere = self.everywhere.iter().filter(|_| is_said_here);
            for words in everywhere.chain(own) {
                if !views.say(*view, words) {
                    missing.push(format!("{} does not say {words:?}", view.name()));
                }
            }
        }
        missing
    }
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
