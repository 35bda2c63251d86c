//! `-o custom-columns=NAME:.metadata.name,…`
//!
//! **Upstream.** `kubectl/pkg/cmd/get/customcolumn.go` (behaviour).

use serde_json::Value;

use super::jsonpath::{self, Template};
use super::plain;
use crate::report::{Error, message};

/// The columns in order.
#[derive(Debug)]
pub(crate) struct Columns(Vec<(String, Template)>);

impl Columns {
    /// Parses `HEADER:path,HEADER:path`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(message("custom-columns format specified but no custom columns given"));
        }
        text.split(',')
            .map(|part| {
                let (header, path) =
                    part.split_once(':').filter(|(_, path)| !path.is_empty()).ok_or_else(|| {
                        message(format!(
                            "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
                        ))
                    })?;
                column(header, path)
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Parses a file: a line of headers and a line of paths.
    pub(crate) fn parse_file(text: &str) -> Result<Self, Error> {
        let mut lines = text.lines();
        let headers: Vec<&str> = lines.next().unwrap_or("").split_whitespace().collect();
        let paths: Vec<&str> = lines.next().unwrap_or("").split_whitespace().collect();
        if headers.is_empty() || headers.len() != paths.len() {
            return Err(message(format!(
                "number of headers ({}) and field specifications ({}) don't match",
                headers.len(),
                paths.len()
            )));
        }
        headers
            .into_iter()
            .zip(paths)
            .map(|(header, path)| column(header, path))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The header line with tabs.
    pub(crate) fn header(&self) -> String {
        self.0.iter().map(|(header, _)| header.as_str()).collect::<Vec<_>>().join("\t") + "\n"
    }

    /// One object's line with tabs.
    pub(crate) fn row(&self, object: &Value) -> Result<String, Error> {
        let mut cells = Vec::new();
        for (_, template) in &self.0 {
            let found = template.find(object).unwrap_or_default();
            let texts: Vec<String> = found.into_iter().flatten().map(plain).collect();
            cells.push(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") });
        }
        Ok(cells.join("\t") + "\n")
    }
}

fn column(header: &str, path: &str) -> Result<(String, Template), Error> {
    let source = jsonpath::relax(path).map_err(|error| message(error.to_string()))?;
    let template = Template::parse(&source).map_err(|error| message(error.to_string()))?;
    Ok((header.to_owned(), template))
}
