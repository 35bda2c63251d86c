//! Joins the sources and writes the table.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::definitions::{Definition, Field, SCALARS};
use super::protobuf::{Message, Messages, normal};

const HEADER: &str = "\
# Facts of the built-in types of Kubernetes 1.36: names, types, keys, numbers; no descriptions.
# NOTICE: derived from the OpenAPI and protobuf definitions of Kubernetes, Copyright The Kubernetes Authors,
# licensed under the Apache License, Version 2.0, by way of the packages kubernetes-validate and k8s-pb.
# Written by `cargo xtask schema`; the format is described in crates/api/src/schema/table.rs. Do not edit.
";

/// Types that OpenAPI leaves out but requests carry, with the kinds they are.
const UNPUBLISHED: &[(&str, &str)] = &[
    ("io.k8s.api.admission.v1.AdmissionReview", "admission.k8s.io/v1/AdmissionReview"),
    ("io.k8s.api.apidiscovery.v2.APIGroupDiscovery", "apidiscovery.k8s.io/v2/APIGroupDiscovery"),
    ("io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList", "apidiscovery.k8s.io/v2/APIGroupDiscoveryList"),
    ("io.k8s.api.core.v1.NodeProxyOptions", "/v1/NodeProxyOptions"),
    ("io.k8s.api.core.v1.PodAttachOptions", "/v1/PodAttachOptions"),
    ("io.k8s.api.core.v1.PodExecOptions", "/v1/PodExecOptions"),
    ("io.k8s.api.core.v1.PodLogOptions", "/v1/PodLogOptions"),
    ("io.k8s.api.core.v1.PodPortForwardOptions", "/v1/PodPortForwardOptions"),
    ("io.k8s.api.core.v1.PodProxyOptions", "/v1/PodProxyOptions"),
    ("io.k8s.api.core.v1.PodStatusResult", "/v1/PodStatusResult"),
    ("io.k8s.api.core.v1.RangeAllocation", "/v1/RangeAllocation"),
    ("io.k8s.api.core.v1.SerializedReference", "/v1/SerializedReference"),
    ("io.k8s.api.core.v1.ServiceProxyOptions", "/v1/ServiceProxyOptions"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.CreateOptions", "/v1/CreateOptions"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.GetOptions", "/v1/GetOptions"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ListOptions", "/v1/ListOptions"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata", "meta.k8s.io/v1/PartialObjectMetadata"),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadataList",
        "meta.k8s.io/v1/PartialObjectMetadataList",
    ),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.PatchOptions", "/v1/PatchOptions"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.TableOptions", "/v1/TableOptions"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.UpdateOptions", "/v1/UpdateOptions"),
];

/// `+default` on fields that are not pointers in Go: the zero value is left out of the encoded object.
const ZERO_IS_ABSENT: &[(&str, &str)] = &[
    ("io.k8s.api.autoscaling.v1.ScaleSpec", "replicas"),
    ("io.k8s.api.core.v1.LocalObjectReference", "name"),
    ("io.k8s.api.core.v1.ReplicationControllerSpec", "minReadySeconds"),
];

/// Constants that `+default=ref(…)` names.
const CONSTANTS: &[(&str, &str)] =
    &[("AzureDataDiskCachingReadWrite", "\"ReadWrite\""), ("AzureSharedBlobDisk", "\"Shared\"")];

/// The joined result.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) table: String,
    pub(super) types: usize,
    /// Fields without a protobuf number.
    pub(super) unnumbered: Vec<String>,
}

/// What protobuf knows of a JSON field.
#[derive(Debug, Default, Clone)]
struct Wire {
    path: Vec<u32>,
    default: Option<String>,
    unwritten: bool,
    wrapped: bool,
}

/// Joins definitions and messages.
pub(super) fn merge(
    mut definitions: BTreeMap<String, Definition>,
    messages: &Messages,
    addendum: &str,
    presence: &str,
) -> Result<Merged> {
    let spelling: BTreeMap<String, String> =
        definitions.keys().map(|n| (n.to_lowercase(), n.clone())).collect();
    let mut wanted: Vec<String> = UNPUBLISHED.iter().map(|(name, _)| (*name).to_owned()).collect();
    while let Some(name) = wanted.pop() {
        let Entry::Vacant(entry) = definitions.entry(name) else { continue };
        let message = messages.get(&entry.key().to_lowercase());
        let message = message.with_context(|| format!("k8s-pb has no {}", entry.key()))?;
        let (definition, references) = from_message(message, messages, &spelling);
        entry.insert(definition);
        wanted.extend(references);
    }
    for (name, gvk) in UNPUBLISHED {
        let definition = definitions.get_mut(*name).context("just inserted")?;
        definition.gvks = vec![(*gvk).to_owned()];
        if !gvk.starts_with("meta") {
            definition.fields.insert("apiVersion".into(), Field { ty: "string".into(), ..Field::default() });
            definition.fields.insert("kind".into(), Field { ty: "string".into(), ..Field::default() });
        }
    }
    let added = additions(addendum);
    for ((ty, field), added) in &added {
        let definition = definitions.get_mut(*ty).with_context(|| format!("addendum: no type {ty}"))?;
        if let Some(ty) = added.ty {
            // The crate's spelling differs in case, or the field is new.
            definition.fields.retain(|name, _| normal(name) != normal(field));
            definition.fields.insert((*field).to_owned(), Field { ty: ty.to_owned(), ..Field::default() });
        }
    }
    let presence = presences(presence);
    let mut table = HEADER.to_owned();
    let mut unnumbered = Vec::new();
    for (name, definition) in &definitions {
        let mut wires = BTreeMap::new();
        if let Some(message) = message_of(name, messages) {
            let names: BTreeMap<String, &str> =
                definition.fields.keys().map(|f| (normal(f), f.as_str())).collect();
            inline(message, messages, &names, &[], &mut wires, &mut BTreeSet::new());
        }
        head(&mut table, name, definition)?;
        for (field_name, field) in &definition.fields {
            let mut wire = wires.get(field_name.as_str()).cloned().unwrap_or_default();
            if let Some(added) = added.get(&(name.as_str(), field_name.as_str())) {
                wire.path.clone_from(&added.path);
            }
            let type_meta =
                !definition.gvks.is_empty() && matches!(field_name.as_str(), "apiVersion" | "kind");
            if wire.path.is_empty() && !type_meta {
                unnumbered.push(format!("{name} {field_name}"));
            }
            let presence = presence.get(&(name.as_str(), field_name.as_str())).copied();
            line(&mut table, name, field_name, field, &wire, presence)?;
        }
    }
    Ok(Merged { types: definitions.len(), table, unnumbered })
}

/// Finds the JSON fields of a message; messages that no JSON field names are Go's inlined structs.
fn inline(
    message: &Message,
    messages: &Messages,
    names: &BTreeMap<String, &str>,
    prefix: &[u32],
    wires: &mut BTreeMap<String, Wire>,
    open: &mut BTreeSet<String>,
) {
    for field in &message.fields {
        let path: Vec<u32> = prefix.iter().copied().chain([field.number]).collect();
        let inner = field.message.as_ref().and_then(|m| messages.get(m));
        if let Some(name) = names.get(&normal(&field.name)) {
            let zero = |(ty, f): &&(&str, &str)| *ty == message.name && normal(f) == normal(&field.name);
            let wrapped = inner.is_some_and(is_list_wrapper) && field.kind == "message";
            let wire = Wire {
                path,
                default: field.default.as_deref().map(default),
                unwritten: ZERO_IS_ABSENT.iter().any(|z| zero(&z)),
                wrapped,
            };
            wires.entry((*name).to_owned()).or_insert(wire);
        } else if let Some(inner) = inner
            && !field.repeated
            && field.kind == "message"
            && open.insert(inner.name.clone())
        {
            self::inline(inner, messages, names, &path, wires, open);
            open.remove(&inner.name);
        }
    }
}

/// `Verbs`, `ExtraValue`: a list that protobuf puts into a message of its own.
fn is_list_wrapper(message: &Message) -> bool {
    matches!(message.fields.as_slice(), [only] if only.name == "items" && only.number == 1 && only.kind == "string")
}

fn default(text: &str) -> String {
    let constant = text.strip_prefix("ref(").and_then(|t| t.strip_suffix(')'));
    let known = constant.and_then(|name| CONSTANTS.iter().find(|(c, _)| *c == name));
    known.map_or(text, |(_, value)| value).to_owned()
}

/// A definition from a message alone: names in camel case, nothing required.
fn from_message(
    message: &Message,
    messages: &Messages,
    spelling: &BTreeMap<String, String>,
) -> (Definition, Vec<String>) {
    let mut definition = Definition { unpublished: true, ..Definition::default() };
    let mut references = Vec::new();
    for field in &message.fields {
        let mut ty = match (field.kind.as_str(), &field.message) {
            ("btree_map", Some(_)) | ("message", None) => continue,
            ("bytes" | "bytes=", _) => "bytes".to_owned(),
            ("btree_map", None) => "{string}".to_owned(),
            (_, Some(inner)) => {
                let scalar = SCALARS.iter().find(|(name, _)| name.to_lowercase() == *inner);
                match (scalar, spelling.get(inner), messages.get(inner)) {
                    (Some((_, scalar)), _, _) => (*scalar).to_owned(),
                    (_, Some(published), _) => published.clone(),
                    (_, _, Some(m)) if is_list_wrapper(m) => "[string]".to_owned(),
                    (_, _, Some(m)) => {
                        references.push(m.name.clone());
                        m.name.clone()
                    }
                    _ => continue,
                }
            }
            (scalar, None) => scalar.to_owned(),
        };
        if field.repeated {
            ty = format!("[{ty}]");
        }
        definition.fields.insert(camel(&field.name), Field { ty, ..Field::default() });
    }
    (definition, references)
}

fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// A line of the addendum.
struct Addition<'a> {
    path: Vec<u32>,
    ty: Option<&'a str>,
}

fn additions(text: &str) -> BTreeMap<(&str, &str), Addition<'_>> {
    let lines = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    let parsed = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, field, path) = (words.next()?, words.next()?, words.next()?);
        let path = path.trim_start_matches('#').split('.').filter_map(|n| n.parse().ok()).collect();
        Some(((name, field), Addition { path, ty: words.next() }))
    });
    parsed.collect()
}

/// The file that tells pointers from plain values: `ptr` or `zero`, by type and field.
fn presences(text: &str) -> BTreeMap<(&str, &str), &str> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        for (word, fields) in words.filter_map(|w| w.split_once('=')) {
            all.extend(fields.split(',').map(|field| ((name, field), word)));
        }
    }
    all
}

/// The message of a type; for a type younger than k8s-pb, that of its beta version, which has the same numbers.
fn message_of<'m>(name: &str, messages: &'m Messages) -> Option<&'m Message> {
    let name = name.to_lowercase();
    let older = || {
        let (package, ty) = name.rsplit_once('.')?;
        let (group, version) = package.rsplit_once('.')?;
        let versions: &[&str] = match version {
            "v1" => &["v1beta2", "v1beta1"],
            "v1beta2" | "v1beta1" => &["v1alpha3"],
            _ => &[],
        };
        versions.iter().find_map(|version| messages.get(&format!("{group}.{version}.{ty}")))
    };
    messages.get(&name).or_else(older)
}

fn head(table: &mut String, name: &str, definition: &Definition) -> Result<()> {
    write!(table, "T {name}")?;
    if definition.atomic {
        table.push_str(" atomic");
    }
    if definition.unpublished {
        table.push_str(" unpublished");
    }
    for union in &definition.unions {
        write!(table, " union={union}")?;
    }
    if !definition.gvks.is_empty() {
        write!(table, " gvk={}", definition.gvks.join(","))?;
    }
    table.push('\n');
    Ok(())
}

fn line(
    table: &mut String,
    holder: &str,
    name: &str,
    field: &Field,
    wire: &Wire,
    presence: Option<&str>,
) -> Result<()> {
    let package = holder.rsplit_once('.').map_or("", |(package, _)| package);
    let required = if field.required { "!" } else { "" };
    write!(table, "{name}{required} {}", relative(&field.ty, package))?;
    if !wire.path.is_empty() {
        let path: Vec<String> = wire.path.iter().map(u32::to_string).collect();
        write!(table, " #{}", path.join("."))?;
    }
    for attribute in &field.attributes {
        write!(table, " {attribute}")?;
    }
    if wire.wrapped {
        table.push_str(" wrapped");
    }
    if let Some(presence) = presence {
        write!(table, " {presence}")?;
    }
    if wire.unwritten {
        table.push_str(" unwritten");
    }
    if let Some(default) = &wire.default {
        write!(table, " default={default}")?;
    }
    table.push('\n');
    Ok(())
}

/// Drops the package of a type's name where the type is a neighbour.
fn relative(ty: &str, package: &str) -> String {
    for (open, close) in [('[', ']'), ('{', '}')] {
        if let Some(item) = ty.strip_prefix(open).and_then(|t| t.strip_suffix(close)) {
            return format!("{open}{}{close}", relative(item, package));
        }
    }
    match ty.strip_prefix(package).and_then(|t| t.strip_prefix('.')) {
        Some(short) if !short.contains('.') => short.to_owned(),
        _ => ty.to_owned(),
    }
}

#[cfg(test)]
mod tests;
