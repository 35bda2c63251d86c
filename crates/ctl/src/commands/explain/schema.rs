//! From an OpenAPI v3 document to the text that explains a type or one of its fields.

use std::fmt::Write as _;

use serde_json::Value;

use super::Asked;
use super::wrap::{indent, wrap};
use crate::output::json::sorted;
use crate::report::{Error, message};

/// A schema in its document.
#[derive(Clone, Copy)]
struct Schema<'a> {
    document: &'a Value,
    value: &'a Value,
}

/// The whole text; where the field does not exist, what comes before it, and the error.
pub(super) fn explain(
    document: &Value,
    asked: &Asked,
    recursive: bool,
) -> Result<(String, Option<Error>), Error> {
    let Some(gvk) = gvk(document, asked) else {
        return Err(message(format!("GVR ({}) not found in OpenAPI schema", asked.shown())));
    };
    let text = |field: &str| gvk[field].as_str().unwrap_or("");
    let mut out = String::new();
    if !text("group").is_empty() {
        let _ = writeln!(out, "GROUP:      {}", text("group"));
    }
    let _ = writeln!(out, "KIND:       {}\nVERSION:    {}\n", text("kind"), text("version"));
    let all = document["components"]["schemas"].as_object().into_iter().flatten();
    let mut of_kind = all.map(|(_, value)| value).filter(|value| {
        value["x-kubernetes-group-version-kind"].as_array().is_some_and(|all| all.contains(gvk))
    });
    let Some(value) = of_kind.next() else {
        let shown = format!("map[group:{} kind:{} version:{}]", text("group"), text("kind"), text("version"));
        return Err(message(format!("GVK {shown} not found in OpenAPI schema")));
    };
    let fields: Vec<&str> = asked.fields.iter().map(String::as_str).collect();
    match output(Schema { document, value }, &fields, recursive, &[]) {
        Some(text) => Ok((out + &text + "\n", None)),
        None => {
            let last = fields.last().copied().unwrap_or("");
            Ok((out, Some(message(format!("field {last:?} does not exist")))))
        }
    }
}

/// Group, version and kind, from an operation of the resource.
fn gvk<'a>(document: &'a Value, asked: &Asked) -> Option<&'a Value> {
    let root = match asked.group.as_str() {
        "" => format!("/api/{}", asked.version),
        group => format!("/apis/{group}/{}", asked.version),
    };
    let plural = &asked.plural;
    let mut found = None;
    for path in [
        format!("{root}/{plural}"),
        format!("{root}/{plural}/{{name}}"),
        format!("{root}/namespaces/{{namespace}}/{plural}"),
        format!("{root}/namespaces/{{namespace}}/{plural}/{{name}}"),
    ] {
        let methods = ["get", "post", "put", "patch", "delete"].into_iter();
        let gvks = methods.map(|method| &document["paths"][&path][method]["x-kubernetes-group-version-kind"]);
        // The last path that has one counts.
        found = gvks.into_iter().find(|gvk| gvk.is_object()).or(found);
    }
    found
}

impl<'a> Schema<'a> {
    fn with(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }

    fn reference(self) -> Option<&'a str> {
        self.value["$ref"].as_str()
    }

    /// What a reference points to, or itself.
    fn resolved(self) -> Self {
        let found = self.reference().and_then(|path| self.document.pointer(path.strip_prefix('#')?));
        self.with(found.unwrap_or(self.value))
    }

    fn items(self) -> Option<Self> {
        self.value.get("items").map(|value| self.with(value))
    }

    fn additional(self) -> Option<Self> {
        self.value.get("additionalProperties").filter(|value| value.is_object()).map(|value| self.with(value))
    }

    fn all_of(self) -> impl Iterator<Item = Self> {
        self.value["allOf"].as_array().into_iter().flatten().map(move |value| self.with(value))
    }

    /// `string`, `Object`, `[]Container`, `map[string]string`
    fn kind(self) -> String {
        let plain = |value: &Value| match value["type"].as_str() {
            None | Some("" | "object") => "Object".to_owned(),
            Some(kind) => kind.to_owned(),
        };
        if let Some(items) = self.items() {
            return format!("[]{}", items.kind());
        }
        if let Some(values) = self.additional() {
            return format!("map[string]{}", values.kind());
        }
        let mut alternatives = self.all_of();
        if let (Some(only), None, true) =
            (alternatives.next(), alternatives.next(), self.value["properties"].is_null())
        {
            return only.kind();
        }
        let Some(reference) = self.reference() else { return plain(self.value) };
        let target = self.resolved().value;
        match target["type"].as_str() {
            None | Some("object") => reference.rsplit(['/', '.']).next().unwrap_or("Object").to_owned(),
            Some(_) => plain(target),
        }
    }

    /// Its own words, then those of what it is made of.
    fn description(self) -> String {
        let this = self.resolved();
        let mut out = String::new();
        if let Some(text) = this.value["description"].as_str().filter(|text| !text.is_empty()) {
            out += text;
            out.push('\n');
        }
        let parts = this.all_of().chain(this.items()).chain(this.additional());
        parts.for_each(|part| out += &part.description());
        out
    }
}

/// Follows the path; `None` if there is no such field. `history` has the references on the way, which end a circle.
fn output(schema: Schema<'_>, fields: &[&str], recursive: bool, history: &[&str]) -> Option<String> {
    let this = schema.resolved();
    let Some((first, rest)) = fields.split_first() else {
        let description = schema.description();
        let description = if description.is_empty() { "<empty>" } else { &description };
        let mut out = format!("DESCRIPTION:\n{}\n", indent(&wrap(description, 76), 4));
        if let Some(docs) = external_docs(this.value, 0) {
            out += "\n";
            out += &docs;
        }
        let list = field_list(schema, 1, recursive, &[]);
        if !list.is_empty() {
            out += "FIELDS:\n";
            out += &list;
        }
        return Some(out);
    };
    if schema.reference().is_some_and(|reference| history.contains(&reference)) {
        return None;
    }
    let history: Vec<&str> = history.iter().copied().chain(schema.reference()).collect();
    if let Some(value) = this.value["properties"].get(first) {
        let field = this.with(value);
        let mut out = String::new();
        if rest.is_empty() {
            let _ = write!(out, "FIELD: {first} <{}>\n{}\n\n", field.kind(), enumeration(value, Shown::Long));
        }
        return Some(out + &output(field, rest, recursive, &[])?);
    }
    if let Some(items) = this.items() {
        return output(items, fields, recursive, &history);
    }
    if let Some(values) = this.additional() {
        return output(values, fields, recursive, &history);
    }
    this.all_of().find_map(|one| output(one, fields, recursive, &history))
}

/// Every field, with its words or, recursively, with its own fields.
fn field_list(schema: Schema<'_>, level: usize, recursive: bool, history: &[&str]) -> String {
    if schema.reference().is_some_and(|reference| history.contains(&reference)) {
        return String::new();
    }
    let history: Vec<&str> = history.iter().copied().chain(schema.reference()).collect();
    let this = schema.resolved();
    let mut out = String::new();
    for (name, value) in this.value["properties"].as_object().map(sorted).unwrap_or_default() {
        out += &field(this, name, value, level, recursive);
        if recursive {
            out += &field_list(this.with(value), level + 1, recursive, &history);
        }
    }
    for part in this.all_of().chain(this.items()).chain(this.additional()) {
        out += &field_list(part, level, recursive, &history);
    }
    out
}

fn field(parent: Schema<'_>, name: &str, value: &Value, level: usize, short: bool) -> String {
    let amount = level * 2;
    let mut out = format!("{}\t<{}>", indent(name, amount), parent.with(value).kind());
    if parent.value["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name)) {
        out += " -required-";
    }
    out += &enumeration(value, Shown::Short(amount));
    out.push('\n');
    if short {
        return out;
    }
    let description =
        value["description"].as_str().filter(|text| !text.is_empty()).unwrap_or("<no description>");
    out += &indent(&wrap(description, 78 - amount), amount + 2);
    out.push('\n');
    if let Some(docs) = external_docs(value, amount + 2) {
        out += "\n";
        out += &docs;
    }
    out.push('\n');
    out
}

fn external_docs(value: &Value, amount: usize) -> Option<String> {
    let docs = value.get("externalDocs")?;
    let mut out = indent("EXTERNAL DOCS:", amount) + "\n";
    if let Some(text) = docs["description"].as_str() {
        out += &indent(&wrap(text, 76 - amount.min(2)), amount + 4 - amount.min(2));
        out.push('\n');
    }
    if let Some(url) = docs["url"].as_str() {
        out += &indent(&format!("URL: {url}"), amount + 4 - amount.min(2));
        out.push('\n');
    }
    Some(out)
}

/// How an enumeration is shown.
enum Shown {
    /// Four values in a line, moved to the right.
    Short(usize),
    /// All of them, a line each.
    Long,
}

fn enumeration(value: &Value, shown: Shown) -> String {
    let Some(all) = value["enum"].as_array().filter(|all| !all.is_empty()) else { return String::new() };
    let text = |value: &Value| match value.as_str() {
        Some("") => "\"\"".to_owned(),
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    match shown {
        Shown::Long => {
            let lines: String = all.iter().map(|value| format!("\n    {}", text(value))).collect();
            format!("ENUM:{lines}")
        }
        Shown::Short(amount) => {
            let most = 4;
            let first: Vec<String> = all.iter().take(most).map(text).collect();
            let more = if all.len() > most { ", ...." } else { "" };
            format!("\n{}enum: {}{more}", " ".repeat(amount), first.join(", "))
        }
    }
}
