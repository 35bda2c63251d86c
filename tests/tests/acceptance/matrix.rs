//! Kind × verb × client: what passed, what is not served, what is excused, and what is a hole.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What came of one verb on one kind with one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It does what it should.
    Passed,
    /// The kind has no such verb; discovery says so.
    NotServed,
    /// It does not, and why.
    Failed(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

/// The columns.
pub(crate) const VERBS: [&str; 13] = [
    "create",
    "get",
    "list",
    "watch",
    "update",
    "json",
    "merge",
    "strategic",
    "apply",
    "ssa",
    "status",
    "delete",
    "collection",
];

/// A hole that is known: client, kind and verb (`*` is any), and why it is none of ours.
pub(crate) struct Excuse {
    pub(crate) client: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) verb: &'static str,
    pub(crate) reason: &'static str,
}

impl Excuse {
    fn fits(&self, client: &str, kind: &str, verb: &str) -> bool {
        let same = |wanted: &str, is: &str| wanted == "*" || wanted == is;
        same(self.client, client) && same(self.kind, kind) && same(self.verb, verb)
    }
}

/// Everything that was tried.
#[derive(Default)]
pub(crate) struct Matrix {
    clients: Vec<String>,
    /// Kind → verb → client.
    cells: BTreeMap<String, BTreeMap<String, BTreeMap<String, Outcome>>>,
}

impl Matrix {
    /// Notes an outcome; of several for one cell a failure counts.
    pub(crate) fn note(&mut self, client: &str, kind: &str, verb: &str, outcome: Outcome) {
        assert!(VERBS.contains(&verb), "{verb} is no column");
        if !self.clients.iter().any(|known| known == client) {
            self.clients.push(client.to_owned());
        }
        let cell = self.cells.entry(kind.to_owned()).or_default().entry(verb.to_owned()).or_default();
        let known = cell.entry(client.to_owned()).or_insert_with(|| outcome.clone());
        if matches!(outcome, Outcome::Failed(_)) {
            *known = outcome;
        }
    }

    /// The table: in each cell a sign a client, in the order of the first line.
    pub(crate) fn table(&self, excuses: &[Excuse]) -> String {
        let width = self.cells.keys().map(String::len).max().unwrap_or_default();
        let mut out = format!(
            "clients, in each cell: {}\n+ passed   . not served   e excused   X fails   ? not tried\n\n{:width$}",
            self.clients.join(", "),
            "KIND"
        );
        for verb in VERBS {
            let _ = write!(out, "  {:6}", &verb[..verb.len().min(6)]);
        }
        for (kind, verbs) in &self.cells {
            let _ = write!(out, "\n{kind:width$}");
            for verb in VERBS {
                let cell = verbs.get(verb);
                let signs = self.clients.iter().map(|client| match cell.and_then(|cell| cell.get(client)) {
                    Some(Outcome::Passed) => '+',
                    Some(Outcome::NotServed) => '.',
                    Some(Outcome::Failed(_)) if excuses.iter().any(|e| e.fits(client, kind, verb)) => 'e',
                    Some(Outcome::Failed(_)) => 'X',
                    None => '?',
                });
                let _ = write!(out, "  {:6}", signs.collect::<String>());
            }
        }
        out + "\n"
    }

    /// Failures that nothing excuses, cells that nobody tried, and excuses that nothing needs.
    pub(crate) fn holes(&self, excuses: &[Excuse]) -> Vec<String> {
        let mut holes = Vec::new();
        let mut used = vec![false; excuses.len()];
        for (kind, verbs) in &self.cells {
            for verb in VERBS {
                for client in &self.clients {
                    match verbs.get(verb).and_then(|cell| cell.get(client)) {
                        Some(Outcome::Passed | Outcome::NotServed) => {}
                        Some(Outcome::Failed(why)) => {
                            match excuses.iter().position(|e| e.fits(client, kind, verb)) {
                                Some(at) => used[at] = true,
                                None => holes.push(format!("{client} {kind} {verb}: {why}")),
                            }
                        }
                        None => holes.push(format!("{client} {kind} {verb}: not tried")),
                    }
                }
            }
        }
        let unused = excuses
            .iter()
            .zip(used)
            .filter(|(e, used)| !used && self.clients.iter().any(|c| e.client == "*" || c == e.client));
        holes.extend(unused.map(|(e, _)| {
            format!("{} {} {}: excused without need ({})", e.client, e.kind, e.verb, e.reason)
        }));
        holes
    }
}

#[test]
fn a_hole_is_found_and_an_excuse_is_used_up() {
    let mut matrix = Matrix::default();
    for verb in VERBS {
        matrix.note("a", "Pod", verb, Outcome::Passed);
    }
    assert_eq!(matrix.holes(&[]), Vec::<String>::new());
    matrix.note("a", "Pod", "get", Outcome::Failed("no".to_owned()));
    matrix.note("a", "Pod", "get", Outcome::Passed);
    assert_eq!(matrix.holes(&[]), ["a Pod get: no"]);
    let excuse = |kind| [Excuse { client: "a", kind, verb: "get", reason: "known" }];
    assert_eq!(matrix.holes(&excuse("*")), Vec::<String>::new());
    assert_eq!(matrix.holes(&excuse("Node")), ["a Pod get: no", "a Node get: excused without need (known)"]);
    assert!(matrix.table(&excuse("Pod")).contains("Pod  +       e"));
}
