//! The forms in which webhooks and policies see the object of a request: that of the request, and the other versions.
//!
//! **Contract**: form 0 is the request's. What is taken back is defaulted and has the fields that its kind has.
//! **Upstream**: `admission.ObjectInterfaces` (`EquivalentResourceMapper`, `ObjectConvertor`).

use super::Attributes;
use crate::patch::apply;
use api::kind::{GroupVersionKind, Name, Resource};
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

/// A resource as a request may name it, and the kind of its objects there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// API group of the resource.
    pub group: Name,
    /// Its version.
    pub version: Name,
    /// Its plural.
    pub plural: Name,
    /// The kind that goes over the wire; of a subresource it may be another group's.
    pub kind: GroupVersionKind,
}

impl Form {
    /// That of a resource's own objects.
    pub fn of(resource: &Resource) -> Self {
        let kind = GroupVersionKind {
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
        };
        Self::with_kind(resource, kind)
    }

    /// That of a subresource, whose kind is given.
    pub fn with_kind(resource: &Resource, kind: GroupVersionKind) -> Self {
        let (group, version) = (resource.group.clone(), resource.version.clone());
        Self { group, version, plural: resource.plural.clone(), kind }
    }
}

/// The forms of a request's object.
#[async_trait]
pub trait Forms: Send + Sync {
    /// The form of the request, then those that are the same objects in other words.
    fn all(&self) -> Vec<Form>;

    /// The object in one of them.
    async fn show(&self, form: usize, object: &Value) -> Result<Value, Status>;

    /// The object that a changed one in one of the forms stands for; `object`: what it was.
    async fn take(&self, form: usize, shown: Value, object: &Value) -> Result<Value, Status>;

    /// Merges a configuration into an object, both in one of the forms; what it says of values that only change as a
    /// whole is told, by path, and then nothing is to be made of the object.
    fn merge(&self, form: usize, object: &mut Value, config: &Value) -> Vec<String>;
}

/// An object as the clients of a subresource see it.
pub trait Shown: Send + Sync {
    /// Its kind.
    fn kind(&self) -> GroupVersionKind;

    /// The object as a client sees it.
    fn show(&self, object: &Value) -> Value;

    /// The object as a client's view of it makes it, or what is wrong with the view.
    fn take(&self, object: &Value, view: &Value) -> Result<Value, Status>;
}

/// An object that has one form and is not stored: options of a connection, a question.
pub struct Alone(pub Form);

#[async_trait]
impl Forms for Alone {
    fn all(&self) -> Vec<Form> {
        vec![self.0.clone()]
    }

    async fn show(&self, _: usize, object: &Value) -> Result<Value, Status> {
        Ok(object.clone())
    }

    async fn take(&self, _: usize, shown: Value, _: &Value) -> Result<Value, Status> {
        Ok(shown)
    }

    fn merge(&self, _: usize, object: &mut Value, config: &Value) -> Vec<String> {
        apply::merge_configuration(object, config, apply::shape_of(&self.0.kind))
    }
}

/// An object in a form, with the revision that a reader would see.
pub(super) async fn show(attributes: &Attributes<'_>, form: usize, object: &Value) -> Result<Value, Status> {
    let mut shown =
        attributes.forms.show(form, object).await.map_err(|status| Status::internal(&status.message))?;
    if attributes.revision > 0
        && let Some(metadata) = shown["metadata"].as_object_mut()
    {
        metadata.insert("resourceVersion".to_owned(), attributes.revision.to_string().into());
    }
    Ok(shown)
}
