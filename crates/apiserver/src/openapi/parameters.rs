//! Parameters of operations: names, types and upstream's descriptions.
//!
//! The facts are in `parameters.txt`, whose head tells its format; it is parsed once, when the first document is made.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::schemas::Dialect;

const TEXT: &str = include_str!("parameters.txt");

/// A parameter of a path or of its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    name: &'static str,
    ty: &'static str,
    description: String,
}

impl Parameter {
    /// As a document of this dialect has it in a query.
    pub(super) fn in_query(&self, dialect: Dialect) -> Value {
        self.shown("query", dialect)
    }

    /// As a document of this dialect has it in a path.
    pub(super) fn in_path(&self, dialect: Dialect) -> Value {
        let mut shown = self.shown("path", dialect);
        shown["required"] = true.into();
        shown
    }

    fn shown(&self, place: &str, dialect: Dialect) -> Value {
        let mut shown = json!({"name": self.name, "in": place, "description": self.description});
        match dialect {
            Dialect::V2 => {
                shown["type"] = self.ty.into();
                shown["uniqueItems"] = true.into();
            }
            Dialect::V3 => shown["schema"] = json!({"type": self.ty, "uniqueItems": true}),
        }
        shown
    }
}

/// The parameters of one of upstream's types of options; none of one that is not in the file.
pub(super) fn of(options: &str) -> Vec<Parameter> {
    static ALL: OnceLock<Vec<(&str, Vec<Parameter>)>> = OnceLock::new();
    let all = ALL.get_or_init(parse);
    all.iter().find(|(name, _)| *name == options).map(|(_, all)| all.clone()).unwrap_or_default()
}

/// `name`, `namespace`, `path` or `pretty`; the first tells the kind that it is of.
pub(super) fn common(name: &str, kind: &str) -> Parameter {
    let found = of("PathOptions").into_iter().find(|one| one.name == name);
    let mut found = found.expect("the file has the parameters of every path");
    if name == "name" {
        found.description = format!("{} {kind}", found.description);
    }
    found
}

/// Those of a deletion of a collection: of what is deleted, and how.
pub(super) fn of_collection() -> Vec<Parameter> {
    let mut all: Vec<_> = of("ListOptions")
        .into_iter()
        .filter(|one| !matches!(one.name, "allowWatchBookmarks" | "watch"))
        .chain(of("DeleteOptions"))
        .collect();
    all.sort_by_key(|one| one.name);
    all
}

fn parse() -> Vec<(&'static str, Vec<Parameter>)> {
    let mut all: Vec<(&str, Vec<Parameter>)> = Vec::new();
    for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let (name, ty) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match (words.next(), all.last_mut()) {
            (Some(text), Some((_, parameters))) => {
                parameters.push(Parameter { name, ty, description: text.replace("\\n", "\n") });
            }
            _ => all.push((ty, Vec::new())),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_described() {
        let all = parse();
        assert_eq!(
            all.iter().map(|(name, _)| *name).collect::<Vec<_>>()[..2],
            ["ListOptions", "DeleteOptions"]
        );
        for (name, parameters) in &all {
            assert!(!parameters.is_empty(), "{name}");
            for one in parameters {
                assert!(
                    matches!(one.ty, "string" | "integer" | "boolean") && one.description.len() > 10,
                    "{one:?}"
                );
            }
        }
        assert_eq!(
            common("name", "Pod").in_path(Dialect::V3),
            json!({
                "name": "name", "in": "path", "description": "name of the Pod", "required": true,
                "schema": {"type": "string", "uniqueItems": true},
            })
        );
        assert_eq!(of_collection().len(), 12);
    }
}
