//! Tables: what the server's `Table` becomes on a terminal.
//!
//! **Contract.** Columns of priority 0 only, unless wide; NAMESPACE in front with `-A`; `kind.group/` before names with
//! `--show-kind`; label columns and LABELS at the end. Cells are cut at the first line break.
//! **Upstream.** `cli-runtime/pkg/printers/tableprinter.go` (behaviour).

use serde_json::Value;

/// What the command line says about the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// `-o wide`
    pub(crate) wide: bool,
    /// `--no-headers`
    pub(crate) no_headers: bool,
    /// `-A`
    pub(crate) with_namespace: bool,
    /// `--show-labels`
    pub(crate) show_labels: bool,
    /// `-L`
    pub(crate) label_columns: Vec<String>,
}

/// The shown columns of a table, kept for the later tables of a watch, which carry none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    /// Place and name of each shown column.
    shown: Vec<(usize, String)>,
    /// Which of them is the object's name.
    name: Option<usize>,
}

impl Columns {
    /// The columns of a `Table` that are shown under `options`.
    pub(crate) fn of(table: &Value, options: &Options) -> Self {
        let mut columns = Self::default();
        for (index, column) in table["columnDefinitions"].as_array().into_iter().flatten().enumerate() {
            if column["priority"].as_i64().unwrap_or(0) != 0 && !options.wide {
                continue;
            }
            let name = column["name"].as_str().unwrap_or("");
            if column["format"] == "name" && column["type"] == "string" && columns.name.is_none() {
                columns.name = Some(index);
            }
            columns.shown.push((index, name.to_uppercase()));
        }
        columns
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

/// The header line, with tabs between its cells. `event` puts EVENT in front.
pub(crate) fn header(columns: &Columns, options: &Options, event: bool) -> String {
    let mut cells: Vec<String> = Vec::new();
    if event {
        cells.push("EVENT".to_owned());
    }
    if options.with_namespace {
        cells.push("NAMESPACE".to_owned());
    }
    cells.extend(columns.shown.iter().map(|(_, name)| name.clone()));
    cells.extend(
        options.label_columns.iter().map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase()),
    );
    if options.show_labels {
        cells.push("LABELS".to_owned());
    }
    cells.join("\t") + "\n"
}

/// One row, with tabs between its cells. `kind` is what stands before the name, without its slash.
pub(crate) fn row(
    row: &Value,
    columns: &Columns,
    options: &Options,
    kind: Option<&str>,
    event: Option<&str>,
) -> String {
    let metadata = &row["object"]["metadata"];
    // All events' names take the room of the longest, so that a watch's first line fits its later ones.
    let mut cells: Vec<String> = event.map(|event| format!("{event:<8}")).into_iter().collect();
    if options.with_namespace {
        cells.push(metadata["namespace"].as_str().unwrap_or("").to_owned());
    }
    for (index, _) in &columns.shown {
        let mut text = cell(&row["cells"][*index]);
        if let (Some(kind), true) = (kind, columns.name == Some(*index)) {
            text = format!("{kind}/{text}");
        }
        cells.push(text);
    }
    let labels = &metadata["labels"];
    for label in &options.label_columns {
        cells.push(labels[label.as_str()].as_str().unwrap_or("").to_owned());
    }
    if options.show_labels {
        cells.push(format_labels(labels));
    }
    cells.join("\t") + "\n"
}

/// `a=b,c=d`, sorted; `<none>` where there are none.
pub(crate) fn format_labels(labels: &Value) -> String {
    let Some(map) = labels.as_object().filter(|map| !map.is_empty()) else { return "<none>".to_owned() };
    let pairs: Vec<String> = super::json::sorted(map)
        .into_iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    pairs.join(",")
}

/// A label selector as Go prints it: requirements by key; `<none>` for one that is empty.
pub(crate) fn format_selector(selector: &Value) -> String {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut all: Vec<(String, String)> =
        equal.map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or("")))).collect();
    for one in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = one["key"].as_str().unwrap_or("");
        let mut values: Vec<&str> =
            one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let text = match one["operator"].as_str().unwrap_or("") {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            _ => format!("{key} in ({})", values.join(",")),
        };
        all.push((key.to_owned(), text));
    }
    // Of one key, what `matchLabels` says stands first.
    all.sort_by(|one, other| one.0.cmp(&other.0));
    let texts: Vec<String> = all.into_iter().map(|(_, text)| text).collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => match text.find(['\u{c}', '\n', '\r']) {
            Some(end) => format!("{}...", clean(&text[..end])),
            None => clean(text),
        },
        other => super::plain(other),
    }
}

/// Tabs would end a cell, control characters would drive the terminal: both are shown instead.
fn clean(text: &str) -> String {
    if !text.contains(['\t', '\u{1b}']) {
        return text.to_owned();
    }
    text.replace('\t', " ").replace('\u{1b}', "^[")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tabwriter::TabWriter;
    use serde_json::json;

    fn table() -> Value {
        json!({
            "columnDefinitions": [
                {"name": "Name", "type": "string", "format": "name", "priority": 0},
                {"name": "Data", "type": "integer", "format": "", "priority": 0},
                {"name": "Nominated Node", "type": "string", "format": "", "priority": 1},
            ],
            "rows": [
                {"cells": ["a", 2, "x"], "object": {"metadata": {"namespace": "n1", "labels": {"z": "1", "example.com/app": "web"}}}},
                {"cells": ["bb", null, "line\nmore"], "object": {"metadata": {"namespace": "n2"}}},
            ],
        })
    }

    fn show(options: &Options, kind: Option<&str>) -> String {
        let table = table();
        let columns = Columns::of(&table, options);
        let mut text = header(&columns, options, false);
        for one in table["rows"].as_array().unwrap() {
            text += &row(one, &columns, options, kind, None);
        }
        TabWriter::table().align(&text)
    }

    #[test]
    fn shows_columns_by_priority() {
        assert_eq!(show(&Options::default(), None), "NAME   DATA\na      2\nbb     \n");
        assert_eq!(
            show(&Options { wide: true, ..Options::default() }, None),
            "NAME   DATA   NOMINATED NODE\na      2      x\nbb            line...\n"
        );
    }

    #[test]
    fn adds_namespace_kind_and_labels() {
        let options = Options {
            with_namespace: true,
            show_labels: true,
            label_columns: vec!["example.com/app".to_owned()],
            ..Options::default()
        };
        assert_eq!(
            show(&options, Some("configmap")),
            "NAMESPACE   NAME           DATA   APP   LABELS\nn1          configmap/a    2      web   example.com/app=web,z=1\nn2          configmap/bb                <none>\n"
        );
    }
}
