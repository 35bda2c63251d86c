//! What a CustomResourceDefinition says, but for its schemas, which are read when they are first needed.
//!
//! **Contract**: a definition is read from an object that was validated; it keeps that object's bytes, not a copy.
//! **Upstream**: `apiextensions-apiserver/pkg/apis/apiextensions/v1`.

use super::schema::Schema;
use crate::registry::Object;
use api::kind::version_priority;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;

/// What keeps a definition until its objects are gone. **Upstream**: `CustomResourceCleanupFinalizer`.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The names of a kind.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Names {
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
}

/// One version of a kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) served: bool,
    pub(crate) storage: bool,
    pub(crate) deprecated: bool,
    pub(crate) deprecation_warning: Option<String>,
    pub(crate) subresources: Subresources,
    pub(crate) additional_printer_columns: Vec<PrinterColumn>,
    pub(crate) selectable_fields: Vec<SelectableField>,
}

/// What is served below an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Subresources {
    pub(crate) status: Option<Value>,
    pub(crate) scale: Option<Scale>,
}

/// Where the numbers of a scale are.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Scale {
    pub(crate) spec_replicas_path: String,
    pub(crate) status_replicas_path: String,
    pub(crate) label_selector_path: Option<String>,
}

/// A column of the table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i32,
    pub(crate) json_path: String,
}

/// A field that selectors may name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SelectableField {
    pub(crate) json_path: String,
}

/// How versions become one another.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Conversion {
    pub(crate) strategy: String,
    pub(crate) webhook: Value,
}

#[derive(Deserialize)]
struct Written {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    finalizers: Vec<String>,
}

#[derive(Deserialize)]
struct Spec {
    group: String,
    scope: String,
    #[serde(default)]
    conversion: Conversion,
    names: Names,
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    accepted_names: Names,
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// A definition.
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Counts the changes of what it says.
    pub(crate) generation: i64,
    pub(crate) group: String,
    pub(crate) namespaced: bool,
    pub(crate) conversion: Conversion,
    /// The names that it asks for.
    names: Names,
    names_accepted: bool,
    /// The names that are its own.
    pub(crate) accepted: Names,
    pub(crate) plural: String,
    pub(crate) versions: Vec<Version>,
    /// Whether its objects are served.
    pub(crate) established: bool,
    /// Whether it is about to go, and its objects with it.
    pub(crate) terminating: bool,
    /// Whether it waits for its objects to be gone.
    pub(crate) cleaning: bool,
    source: Arc<Object>,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definition").field("name", &self.name).field("generation", &self.generation).finish()
    }
}

impl Definition {
    /// What this object says; `None` if it cannot be understood (it was stored past validation).
    pub(crate) fn of(object: &Arc<Object>) -> Option<Self> {
        let written: Written = serde_json::from_slice(&object.json()).ok()?;
        let Written { metadata, spec, status } = written;
        let is = |kind: &str| status.conditions.iter().any(|c| c.kind == kind && c.status == "True");
        Some(Self {
            established: is("Established"),
            names_accepted: is("NamesAccepted"),
            terminating: is("Terminating"),
            cleaning: metadata.deletion_timestamp.is_some()
                && metadata.finalizers.iter().any(|f| f == CLEANUP),
            name: metadata.name,
            uid: metadata.uid,
            generation: metadata.generation,
            namespaced: spec.scope == "Namespaced",
            group: spec.group,
            conversion: spec.conversion,
            plural: spec.names.plural.clone(),
            names: spec.names,
            accepted: status.accepted_names,
            versions: spec.versions,
            source: Arc::clone(object),
        })
    }

    /// Whether it has all names that it asks for, and says so.
    pub(crate) fn is_settled(&self) -> bool {
        self.established && self.names_accepted && self.names == self.accepted
    }

    /// The schema of a version as it is written; null if there is none.
    pub(crate) fn written_schema(&self, version: &str) -> Value {
        #[derive(Deserialize)]
        struct Source<'a> {
            #[serde(borrow)]
            spec: SourceSpec<'a>,
        }
        #[derive(Deserialize)]
        struct SourceSpec<'a> {
            #[serde(borrow)]
            versions: Vec<SourceVersion<'a>>,
        }
        #[derive(Deserialize)]
        struct SourceVersion<'a> {
            name: String,
            #[serde(borrow, default)]
            schema: Option<SourceSchema<'a>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct SourceSchema<'a> {
            #[serde(borrow, default, rename = "openAPIV3Schema")]
            open_api: Option<&'a RawValue>,
        }
        let json = self.source.json();
        let source: Option<Source<'_>> = serde_json::from_slice(&json).ok();
        let version = source.and_then(|source| source.spec.versions.into_iter().find(|v| v.name == version));
        let raw = version.and_then(|version| version.schema).and_then(|schema| schema.open_api);
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    /// The same made ready for use.
    pub(crate) fn schema(&self, version: &str) -> Schema {
        match self.written_schema(version) {
            Value::Null => Schema::open(),
            schema => Schema::of(&schema),
        }
    }

    /// Whether objects are asked of the same in both, so that what serves the one serves the other.
    pub(crate) fn serves_as(&self, other: &Self) -> bool {
        (&self.uid, self.generation, &self.accepted, self.terminating)
            == (&other.uid, other.generation, &other.accepted, other.terminating)
    }

    /// What a client that uses a deprecated version is told.
    pub(crate) fn deprecation(&self, version: &Version) -> Option<String> {
        if !version.deprecated {
            return None;
        }
        if let Some(warning) = &version.deprecation_warning {
            return Some(warning.clone());
        }
        let (group, kind) = (&self.group, &self.accepted.kind);
        let own = version_priority(&version.name);
        let mut better: Vec<&Version> = self
            .versions
            .iter()
            .filter(|other| other.served && !other.deprecated && version_priority(&other.name) > own)
            .collect();
        better.sort_by(|a, b| version_priority(&b.name).cmp(&version_priority(&a.name)));
        let instead = better.first().map(|other| format!("; use {group}/{} {kind}", other.name));
        Some(format!("{group}/{} {kind} is deprecated{}", version.name, instead.unwrap_or_default()))
    }
}
