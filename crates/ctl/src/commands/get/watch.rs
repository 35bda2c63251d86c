//! `get -w`: the list first, then each change as it comes.
//!
//! **Contract.** One type only. The watch starts at the list's resourceVersion, ends with the server's stream, and keeps
//! the list's column widths.

use serde_json::Value;

use super::{Request, as_table, flatten, print_object};
use crate::connection::with_query;
use crate::discovery::Resource;
use crate::output::Format;
use crate::output::table::{self, Columns};
use crate::output::tabwriter::TabWriter;
use crate::report::{Error, message};
use crate::resolve::Target;

/// Lists (unless `only` the changes are wanted) and watches.
pub(super) async fn run(request: &Request<'_>, targets: &[Target], only: bool) -> Result<(), Error> {
    let Some(target) = targets.first() else { return Ok(()) };
    if targets.len() > 1 {
        return Err(message("you may only specify a single resource type"));
    }
    let mut printer = Printer::new(request, &target.resource);
    let mut version = String::new();
    // The list tells where to start even where it is not shown.
    let answer = request.fetch(target).await?;
    for document in answer.documents {
        version = resource_version(&document);
        if !only {
            printer.list(document)?;
        }
    }
    let collection = Target { name: None, ..target.clone() };
    let mut fields = request.field_selector.clone();
    if let Some(name) = &target.name {
        fields = format!("metadata.name={name}");
    }
    let path = with_query(
        &collection.path(),
        &[
            ("fieldSelector", fields),
            ("labelSelector", request.selector.clone()),
            ("resourceVersion", version),
            ("watch", "true".to_owned()),
        ],
    );
    let mut stream = request.context.connection().await?.stream(&path, request.accept()).await?;
    while let Some((kind, object)) = stream.event().await? {
        if kind != "BOOKMARK" {
            printer.event(&kind, object)?;
        }
    }
    Ok(())
}

/// The list's resourceVersion; a table of one object has none of its own, so its row's counts.
fn resource_version(document: &Value) -> String {
    let own = document["metadata"]["resourceVersion"].as_str().filter(|text| !text.is_empty());
    own.or(document["rows"][0]["object"]["metadata"]["resourceVersion"].as_str()).unwrap_or("").to_owned()
}

struct Printer<'a> {
    request: &'a Request<'a>,
    resource: &'a Resource,
    options: table::Options,
    columns: Columns,
    writer: TabWriter,
    headed: bool,
}

impl<'a> Printer<'a> {
    fn new(request: &'a Request<'a>, resource: &'a Resource) -> Self {
        let options = request.options_for(resource);
        Self {
            request,
            resource,
            headed: options.no_headers,
            options,
            columns: Columns::default(),
            writer: TabWriter::table(),
        }
    }

    fn list(&mut self, document: Value) -> Result<(), Error> {
        if matches!(self.request.format, Format::Human { .. }) {
            return self.table(&document, "ADDED");
        }
        for object in flatten(document, self.resource) {
            self.object("ADDED", object)?;
        }
        Ok(())
    }

    fn event(&mut self, kind: &str, object: Value) -> Result<(), Error> {
        if matches!(self.request.format, Format::Human { .. }) {
            return self.table(&object, kind);
        }
        self.object(kind, object)
    }

    fn table(&mut self, document: &Value, event: &str) -> Result<(), Error> {
        let table = as_table(document, self.request.context.terminal.now());
        if table["columnDefinitions"].as_array().is_some_and(|columns| !columns.is_empty()) {
            self.columns = Columns::of(&table, &self.options);
        }
        let event = self.request.output_events.then_some(event);
        let mut rows: Vec<Value> = table["rows"].as_array().cloned().unwrap_or_default();
        if rows.is_empty() {
            return Ok(());
        }
        if let Some(sort) = &self.request.sort_by {
            sort.sort(&mut rows, |row| &row["object"])?;
        }
        let mut text = String::new();
        if !self.headed {
            self.headed = true;
            text += &table::header(&self.columns, &self.options, event.is_some());
        }
        let kind = self.request.show_kind.then(|| self.resource.display_kind());
        for row in &rows {
            text += &table::row(row, &self.columns, &self.options, kind.as_deref(), event);
        }
        self.request.context.terminal.out(&self.writer.align(&text))
    }

    fn object(&mut self, event: &str, mut object: Value) -> Result<(), Error> {
        let request = self.request;
        let mut text = if let Format::CustomColumns(columns) = &request.format {
            let header = if self.headed { String::new() } else { columns.header() };
            self.writer.align(&(header + &columns.row(&object)?))
        } else if request.output_events {
            let mut wrapped = serde_json::json!({"type": event, "object": object});
            crate::output::without_managed_fields(&mut wrapped["object"]);
            print_object(&request.format, &mut wrapped, true)?
        } else {
            print_object(&request.format, &mut object, request.show_managed_fields)?
        };
        if matches!(request.format, Format::Yaml)
            && self.headed
            && !request.options_for(self.resource).no_headers
        {
            text = format!("---\n{text}");
        }
        self.headed = true;
        request.context.terminal.out(&text)
    }
}
