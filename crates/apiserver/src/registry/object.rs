//! An object as the watch cache holds it: its JSON, ready to be sent, and the little that selection needs.
//!
//! **Contract**: immutable and shared. The JSON begins with `kind`, `apiVersion`, `metadata`, and `metadata` begins
//! with `resourceVersion`; the stored form is the same without it, so one follows from the other by splicing bytes.
//! **Not here**: changing objects, which is done on `serde_json::Value` by the store.

use super::json::Json;
use super::parts::Parts;
use super::texts::Texts;
use crate::registry::Strategy;
use api::kind::Resource;
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;
use storage::Key;

const METADATA: &[u8] = b"\"metadata\":{";

/// An object of any kind.
#[derive(Clone)]
pub struct Object {
    key: Key,
    revision: u64,
    /// Whether it is stored in another form than it would be written in.
    outdated: bool,
    json: Json,
    namespace_start: u32,
    name_start: u32,
    /// A key, its value, the next key.
    labels: Texts,
    fields: Texts,
    /// The same in protobuf, once a watcher has asked for it.
    message: OnceLock<Bytes>,
}

impl Object {
    /// What of a kind's objects has to be read for their labels and selectable fields.
    pub(crate) fn parts(strategy: &dyn Strategy) -> Parts {
        Parts::of(std::iter::once("metadata.labels").chain(strategy.selectable_paths()))
    }

    /// The object that is stored under `key` (which begins with `prefix`), written at `revision`; `parts` are those of
    /// its kind.
    pub(crate) fn decode(
        strategy: &dyn Strategy,
        parts: &Parts,
        prefix: &str,
        key: Key,
        revision: u64,
        stored: &[u8],
    ) -> Result<Self, serde_json::Error> {
        let read = strategy.read(stored);
        let outdated = read.is_some();
        let stored = read.as_deref().unwrap_or(stored);
        let value = parts.read(stored)?;
        let labels = api::meta::labels(&value).map(pairs).unwrap_or_default();
        let fields = strategy.selectable_fields(&value).into_iter().collect();
        let namespaced = strategy.resource().namespaced();
        let rest = &key[prefix.len()..];
        let namespace_start = prefix.len();
        let name_start = match rest.split_once('/') {
            Some((namespace, _)) if namespaced => namespace_start + namespace.len() + 1,
            _ => namespace_start,
        };
        Ok(Self {
            revision,
            outdated,
            json: Json::new(splice(stored, revision), strategy.is_packed()),
            namespace_start: u32::try_from(namespace_start).unwrap_or(0),
            name_start: u32::try_from(name_start).unwrap_or(0),
            labels,
            fields,
            message: OnceLock::new(),
            key,
        })
    }

    /// Where it is stored.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The revision that wrote it: its `resourceVersion`.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it is stored in another form than it would be written in.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// Its namespace, or empty.
    pub fn namespace(&self) -> &str {
        let (start, end) = (self.namespace_start as usize, self.name_start as usize);
        if start == end { "" } else { &self.key[start..end - 1] }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.key[self.name_start as usize..]
    }

    /// Its JSON, `resourceVersion` in place.
    pub fn json(&self) -> Bytes {
        self.json.get()
    }

    /// Appends its JSON without the first `skipped` bytes.
    pub(crate) fn append_json(&self, skipped: usize, out: &mut BytesMut) {
        self.json.append(skipped, out);
    }

    /// The length of its JSON.
    pub(crate) fn json_len(&self) -> usize {
        self.json.len()
    }

    /// The JSON beside which its own is packed.
    pub(crate) fn model(&self) -> Option<Bytes> {
        self.json.model()
    }

    /// Packs its JSON beside one of these; the JSON itself if none is of the same maker, as a model for others.
    pub(crate) fn pack(&self, models: impl IntoIterator<Item = Bytes>) -> Option<Bytes> {
        self.json.pack(models)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().find_map(|(known, value)| (known == key).then_some(value))
    }

    /// Its labels with their values.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.labels.iter();
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }

    /// The value of the strategy's field label of this index.
    pub fn field(&self, index: usize) -> Option<&str> {
        self.fields.get(index)
    }

    /// Its protobuf message, if it was kept.
    pub(crate) fn message(&self) -> Option<&Bytes> {
        self.message.get()
    }

    /// Keeps its protobuf message.
    pub(crate) fn keep_message(&self, message: Bytes) {
        // Another watcher may have been faster; both made the same.
        let _ = self.message.set(message);
    }

    /// The object as a tree of values; costs a parse.
    pub fn to_value(&self) -> Value {
        serde_json::from_slice(&self.json()).expect("the cache holds what was parsed before")
    }

    /// The same object with other bytes: for objects that are not stored and have no revision.
    pub(crate) fn with_json(self, json: Bytes) -> Self {
        Self { json: self.json.with(json), message: OnceLock::new(), ..self }
    }

    /// The same object in another version, whose stored form is given.
    pub(crate) fn converted(&self, stored: Bytes) -> Self {
        let json = if self.revision == 0 { stored } else { splice(&stored, self.revision) };
        self.clone().with_json(json)
    }

    /// The same object as of another revision (a deletion is told with the revision that deleted).
    pub(crate) fn at_revision(&self, revision: u64) -> Self {
        let before = self.json();
        let mut json = BytesMut::with_capacity(before.len() + 4);
        let start = resource_version_start(&before);
        let end = before[start..].iter().position(|b| *b == b'"').map_or(start, |n| start + n);
        json.extend_from_slice(&before[..start]);
        json.extend_from_slice(revision.to_string().as_bytes());
        json.extend_from_slice(&before[end..]);
        Self {
            key: self.key.clone(),
            revision,
            outdated: self.outdated,
            json: self.json.with(json.freeze()),
            namespace_start: self.namespace_start,
            name_start: self.name_start,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            message: OnceLock::new(),
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The JSON is left out: it may be a secret.
        f.debug_struct("Object")
            .field("key", &self.key)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

fn pairs(labels: &Map<String, Value>) -> Texts {
    labels.iter().filter_map(|(key, value)| Some([key, value.as_str()?])).flatten().collect()
}

const RESOURCE_VERSION: &[u8] = b"\"resourceVersion\":\"";

/// Where the digits of `resourceVersion` begin in a spliced object.
fn resource_version_start(json: &[u8]) -> usize {
    metadata_start(json) + RESOURCE_VERSION.len()
}

/// Where the first field of `metadata` begins.
fn metadata_start(json: &[u8]) -> usize {
    json.windows(METADATA.len()).position(|w| w == METADATA).map_or(0, |at| at + METADATA.len())
}

/// Puts `resourceVersion` into a stored object.
fn splice(stored: &[u8], revision: u64) -> Bytes {
    let at = metadata_start(stored);
    let revision = revision.to_string();
    let end: &[u8] = if stored.get(at) == Some(&b'}') { b"\"" } else { b"\"," };
    // Exactly, as all of them stay.
    let mut json = Vec::with_capacity(stored.len() + RESOURCE_VERSION.len() + revision.len() + end.len());
    for part in [&stored[..at], RESOURCE_VERSION, revision.as_bytes(), end, &stored[at..]] {
        json.extend_from_slice(part);
    }
    json.into()
}

/// The stored form of an object: without `resourceVersion`, with `kind`, `apiVersion` and `metadata` first.
pub(crate) fn encode(strategy: &dyn Strategy, object: &Value) -> Bytes {
    encode_as(strategy.resource(), object)
}

/// The same in whichever version.
pub(crate) fn encode_as(resource: &Resource, object: &Value) -> Bytes {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(b"{\"kind\":");
    write(&mut text, &Cow::from(&*resource.kind));
    text.extend_from_slice(b",\"apiVersion\":");
    write(&mut text, &resource.api_version());
    text.extend_from_slice(b",\"metadata\":{");
    let mut separator = "";
    for (name, value) in object["metadata"].as_object().into_iter().flatten() {
        if name != "resourceVersion" {
            field(&mut text, &mut separator, name, value);
        }
    }
    text.push(b'}');
    separator = ",";
    for (name, value) in object.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
            field(&mut text, &mut separator, name, value);
        }
    }
    text.push(b'}');
    text.into()
}

fn field(text: &mut Vec<u8>, separator: &mut &str, name: &str, value: &Value) {
    text.extend_from_slice(separator.as_bytes());
    *separator = ",";
    write(text, name);
    text.push(b':');
    write(text, value);
}

fn write<T: serde::Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(text, value).expect("a value always has a JSON form");
}
