//! An object on its way, with the names that it had before.
//!
//! References are mended at the end, by names that objects had when they were written: so every change of a name is
//! remembered.
//! **Upstream.** `kustomize/api/resource`, `kyaml/resid` (behaviour).

use std::fmt;

use serde_json::{Map, Value, json};

use crate::{Error, invalid};

/// Kinds without a namespace, as far as they are built in.
const CLUSTER_SCOPED: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "ComponentStatus",
    "CustomResourceDefinition",
    "DeviceClass",
    "DeviceTaintRule",
    "FlowSchema",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ResourceSlice",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "StorageVersion",
    "StorageVersionMigration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// Stands for the namespace of what has none.
const NO_NAMESPACE: &str = "_non_namespaceable_";

/// Group, version, kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gvk {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

impl Gvk {
    /// Whether it has what is given here; empty is everything.
    pub(crate) fn is_selected(&self, group: &str, version: &str, kind: &str) -> bool {
        (group.is_empty() || group == self.group)
            && (version.is_empty() || version == self.version)
            && (kind.is_empty() || kind == self.kind)
    }

    /// Whether its objects certainly have no namespace. A kind added at run time may have one.
    pub(crate) fn is_cluster_scoped(&self) -> bool {
        let built_in = !self.group.contains('.') || self.group.ends_with(".k8s.io");
        built_in && CLUSTER_SCOPED.contains(&self.kind.as_str())
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or =
            |text: &str, none: &'static str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        write!(
            f,
            "{}.{}.{}",
            or(&self.kind, "[noKind]"),
            or(&self.version, "[noVer]"),
            or(&self.group, "[noGrp]")
        )
    }
}

/// What an object is called.
#[derive(Debug, Clone, Default)]
pub(crate) struct Id {
    pub(crate) gvk: Gvk,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

impl Id {
    /// The namespace that is meant.
    pub(crate) fn effective_namespace(&self) -> &str {
        match self.namespace.as_str() {
            _ if self.gvk.is_cluster_scoped() => NO_NAMESPACE,
            "" => "default",
            name => name,
        }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.gvk == other.gvk
            && self.name == other.name
            && self.effective_namespace() == other.effective_namespace()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "[noName]" } else { &self.name };
        let namespace = if self.namespace.is_empty() { "[noNs]" } else { &self.namespace };
        write!(f, "{}/{name}.{namespace}", self.gvk)
    }
}

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) object: Value,
    /// What it was called, oldest first.
    pub(crate) previous: Vec<Id>,
    /// What was put in front of its name, and behind it.
    pub(crate) prefixes: Vec<String>,
    pub(crate) suffixes: Vec<String>,
    /// Its name ends with a hash of its content.
    pub(crate) wants_hash: bool,
}

impl Resource {
    pub(crate) fn new(object: Value) -> Self {
        Self { object, previous: Vec::new(), prefixes: Vec::new(), suffixes: Vec::new(), wants_hash: false }
    }

    pub(crate) fn gvk(&self) -> Gvk {
        gvk(&self.object)
    }

    pub(crate) fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or("")
    }

    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or("")
    }

    pub(crate) fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or("")
    }

    /// What it is called now.
    pub(crate) fn id(&self) -> Id {
        Id { gvk: self.gvk(), name: self.name().to_owned(), namespace: self.namespace().to_owned() }
    }

    /// What it was called in its file.
    pub(crate) fn original(&self) -> Id {
        self.previous.first().cloned().unwrap_or_else(|| self.id())
    }

    /// All of its names.
    pub(crate) fn ids(&self) -> Vec<Id> {
        let mut ids = self.previous.clone();
        ids.push(self.id());
        ids
    }

    /// Remembers what it is called, before that changes.
    pub(crate) fn remember(&mut self) {
        let mut id = self.id();
        id.namespace = id.effective_namespace().to_owned();
        if self.previous.last() != Some(&id) {
            self.previous.push(id);
        }
    }

    pub(crate) fn set_metadata(&mut self, field: &str, text: &str) {
        let Some(metadata) = object_at(&mut self.object, "metadata") else { return };
        if text.is_empty() {
            metadata.shift_remove(field);
        } else {
            metadata.insert(field.to_owned(), text.into());
        }
    }

    /// `metadata.labels` or `metadata.annotations`.
    pub(crate) fn pairs(&self, field: &str) -> Map<String, Value> {
        self.object["metadata"][field].as_object().cloned().unwrap_or_default()
    }

    pub(crate) fn set_pairs(&mut self, field: &str, pairs: Map<String, Value>) {
        let Some(metadata) = object_at(&mut self.object, "metadata") else { return };
        if pairs.is_empty() {
            metadata.shift_remove(field);
        } else {
            metadata.insert(field.to_owned(), Value::Object(pairs));
        }
    }
}

/// Group, version and kind of an object.
pub(crate) fn gvk(object: &Value) -> Gvk {
    let api_version = object["apiVersion"].as_str().unwrap_or("");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Gvk {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: object["kind"].as_str().unwrap_or("").to_owned(),
    }
}

/// A field that is a map, made where it is missing or null.
pub(crate) fn object_at<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let map = value.as_object_mut()?;
    let inner = map.entry(field).or_insert(Value::Null);
    if inner.is_null() {
        *inner = json!({});
    }
    inner.as_object_mut()
}

/// The objects of a kustomization, in order; no two have the same name.
#[derive(Debug, Default)]
pub(crate) struct Set(pub(crate) Vec<Resource>);

impl Set {
    /// Adds one that may not be there.
    pub(crate) fn append(&mut self, one: Resource) -> Result<(), Error> {
        let id = one.id();
        if self.0.iter().any(|other| other.id() == id) {
            return invalid(format!("may not add resource with an already registered id: {id}"));
        }
        self.0.push(one);
        Ok(())
    }

    pub(crate) fn append_all(&mut self, all: Vec<Resource>) -> Result<(), Error> {
        all.into_iter().try_for_each(|one| self.append(one))
    }

    /// The places of those that are or were called so.
    pub(crate) fn any_id(&self, fits: impl Fn(&Id) -> bool) -> Vec<usize> {
        let found = self.0.iter().enumerate().filter(|(_, one)| one.ids().iter().any(&fits));
        found.map(|(place, _)| place).collect()
    }

    /// The only one that is or was called so.
    pub(crate) fn only(&self, id: &Id) -> Result<usize, Error> {
        let found = match self.0.iter().enumerate().filter(|(_, one)| one.id() == *id).collect::<Vec<_>>()[..]
        {
            [(place, _)] => vec![place],
            _ => self.any_id(|other| other == id),
        };
        let failed = format!("failed to find unique target for patch {id}");
        match found[..] {
            [place] => Ok(place),
            [] => invalid(format!("no matches for Id {id}; {failed}")),
            _ => invalid(format!("multiple matches for Id {id}; {failed}")),
        }
    }
}

/// The objects of documents: lists give their items.
pub(crate) fn objects(documents: Vec<Value>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for document in documents {
        if document.is_null() || document.as_object().is_some_and(Map::is_empty) {
            continue;
        }
        let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match document.get("items") {
            Some(Value::Array(items)) if is_list => {
                found.extend(objects(items.clone())?);
                continue;
            }
            Some(Value::Null) if is_list => continue,
            _ => {}
        }
        if !document["metadata"].is_object() {
            return invalid("missing Resource metadata");
        }
        let name = document["metadata"]["name"].as_str().unwrap_or("");
        if document["kind"].as_str().is_none_or(str::is_empty) {
            return invalid(format!("missing kind in object {name:?}"));
        }
        if name.is_empty() && !is_list {
            return invalid(format!("missing metadata.name in object of kind {}", document["kind"]));
        }
        found.push(document);
    }
    Ok(found)
}
