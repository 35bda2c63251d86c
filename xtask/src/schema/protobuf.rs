//! Reads field numbers, message types and `+default` markers out of k8s-pb's generated sources.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Messages by the lower-cased OpenAPI name of their type: prost changes upper and lower case.
pub(super) type Messages = BTreeMap<String, Message>;

/// A protobuf message.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// The name with upstream's spelling, as far as the source shows it.
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// prost's name.
    pub(super) name: String,
    pub(super) number: u32,
    /// First word of the prost attribute: `string`, `message`, `btree_map`, …
    pub(super) kind: String,
    pub(super) repeated: bool,
    /// The message that the field, or the map's values, have.
    pub(super) message: Option<String>,
    /// The text after `+default=`.
    pub(super) default: Option<String>,
}

/// Names without case, underscores and signs, by which both sources agree.
pub(super) fn normal(name: &str) -> String {
    let letters = name.trim_start_matches("r#").chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// All messages below k8s-pb's `src`.
pub(super) fn read(src: &Path) -> Result<Messages> {
    let mut messages = Messages::new();
    walk(src, &mut Vec::new(), &mut messages)?;
    Ok(messages)
}

fn walk(folder: &Path, modules: &mut Vec<String>, messages: &mut Messages) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            modules.push(name);
            walk(&path, modules, messages)?;
            modules.pop();
        } else if name == "mod.rs" {
            file(&std::fs::read_to_string(&path)?, modules, messages);
        }
    }
    Ok(())
}

fn package(modules: &[String]) -> String {
    format!("io.k8s.{}", modules.join(".").replace('_', "-"))
}

fn file(text: &str, modules: &[String], messages: &mut Messages) {
    let mut docs: Vec<&str> = Vec::new();
    let mut attribute = "";
    let mut message: Option<Message> = None;
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.trim());
        } else if let Some(name) = line.strip_prefix("pub struct ").and_then(|l| l.strip_suffix(" {")) {
            let spelled =
                docs.first().and_then(|d| d.split(' ').next()).filter(|w| w.eq_ignore_ascii_case(name));
            let name = format!("{}.{}", package(modules), spelled.unwrap_or(name));
            message = Some(Message { name, fields: Vec::new() });
            docs.clear();
        } else if line.starts_with("#[prost(") {
            attribute = line;
        } else if line == "}" {
            if let Some(done) = message.take() {
                messages.insert(done.name.to_lowercase(), done);
            }
            docs.clear();
        } else if let (Some(message), Some(line)) = (&mut message, line.strip_prefix("pub ")) {
            let mut declaration = line.to_owned();
            while !declaration.ends_with(',') {
                declaration.push_str(lines.next().unwrap_or(","));
            }
            message.fields.extend(field(attribute, &declaration, &docs, modules));
            docs.clear();
        }
    }
}

fn field(attribute: &str, declaration: &str, docs: &[&str], modules: &[String]) -> Option<Field> {
    let (name, ty) = declaration.trim_end_matches(',').split_once(':')?;
    let inner = attribute.strip_prefix("#[prost(")?;
    let number = inner.split("tag = \"").nth(1)?.split('"').next()?.parse().ok()?;
    let kind = inner.split([',', ' ']).next()?.to_owned();
    let default = docs.iter().find_map(|d| d.strip_prefix("+default="));
    Some(Field {
        name: name.trim_start_matches("r#").to_owned(),
        number,
        repeated: inner.contains(", repeated"),
        message: inner.contains("message").then(|| resolve(ty, modules)),
        kind,
        default: default.map(str::to_owned),
    })
}

/// `Option<super::super::meta::v1::ObjectMeta>` to a lower-cased full name.
fn resolve(ty: &str, modules: &[String]) -> String {
    let last = ty.rsplit([',', '<']).find(|part| !part.trim().trim_end_matches('>').is_empty());
    let path = last.unwrap_or(ty).trim().trim_end_matches('>');
    let mut base = modules.to_vec();
    let mut rest = path;
    while let Some(shorter) = rest.strip_prefix("super::") {
        base.pop();
        rest = shorter;
    }
    let mut parts: Vec<String> = rest.split("::").map(str::to_owned).collect();
    let name = parts.pop().unwrap_or_default();
    base.extend(parts);
    format!("{}.{name}", package(&base)).to_lowercase()
}
