//! The group-versions in which a store's objects are served: the one that is stored, and others made of it.
//!
//! **Contract**: a store has one form, that of its strategy's resource; what is stored is defaulted, validated and
//! admitted in it. Every other version converts to it on the way in and from it on the way out. What all versions have
//! in common (names, identity, labels, revision, claims, the cells of tables) is the stored form's. A conversion may
//! wait for somebody else (a webhook), so it is asynchronous and gets a whole page at a time.
//! **Not here**: which versions there are: [`Strategy::versions`].
//! **Upstream**: `k8s.io/apimachinery/pkg/runtime` (`ObjectConvertor`), `apiextensions-apiserver/pkg/apiserver/conversion`.

use super::object::encode_as;
use super::{Object, Strategy};
use api::field::ErrorList;
use api::kind::Resource;
use api::schema::{Schema, defaults, strict};
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// How objects become those of another group-version, and back.
#[async_trait]
pub trait Conversion: Send + Sync + 'static {
    /// The facts that discovery publishes for this version.
    fn resource(&self) -> &Resource;

    /// Stored objects as this version has them, in their order.
    async fn as_shown(&self, objects: Vec<Value>) -> Result<Vec<Value>, Status>;

    /// Objects of this version as they are stored, in their order.
    async fn to_stored(&self, objects: Vec<Value>) -> Result<Vec<Value>, Status>;

    /// Fills what this version defines as default beyond its schema, before the object is converted.
    fn default(&self, _object: &mut Value) {}

    /// The strategy's field label for one of this version's; `None`: this version does not know it.
    fn stored_label<'a>(&self, label: &'a str) -> Option<&'a str> {
        Some(label)
    }

    /// What this version asks of a stored object beyond what its strategy does; `old`: the object before an update.
    fn validate(&self, _object: &Value, _old: Option<&Value>) -> ErrorList {
        ErrorList::new()
    }
}

/// One group-version of a store's objects.
#[derive(Clone)]
pub struct Version {
    strategy: Arc<dyn Strategy>,
    /// `None`: the version that is stored.
    conversion: Option<Arc<dyn Conversion>>,
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Version").field(&self.resource().api_version()).finish()
    }
}

impl Version {
    /// The version that is stored.
    pub fn stored(strategy: &Arc<dyn Strategy>) -> Self {
        Self { strategy: Arc::clone(strategy), conversion: None }
    }

    /// All versions of a strategy, the stored one first.
    pub(super) fn all(strategy: &Arc<dyn Strategy>) -> Vec<Self> {
        let other = |conversion| Self { strategy: Arc::clone(strategy), conversion: Some(conversion) };
        std::iter::once(Self::stored(strategy)).chain(strategy.versions().into_iter().map(other)).collect()
    }

    /// The facts that discovery publishes.
    pub fn resource(&self) -> &Resource {
        self.conversion.as_ref().map_or_else(|| self.strategy.resource(), |conversion| conversion.resource())
    }

    /// What differs between kinds.
    pub fn strategy(&self) -> &Arc<dyn Strategy> {
        &self.strategy
    }

    /// Whether objects are stored in this version.
    pub fn is_stored(&self) -> bool {
        self.conversion.is_none()
    }

    /// A field label as the strategy knows it.
    pub fn stored_label<'a>(&'a self, label: &'a str) -> Option<&'a str> {
        match &self.conversion {
            Some(conversion) => conversion.stored_label(label),
            None => Some(self.strategy.canonical_field_label(label)),
        }
    }

    /// See [`Conversion::validate`].
    pub(super) fn validate(&self, object: &Value, old: Option<&Value>) -> ErrorList {
        self.conversion.as_ref().map(|conversion| conversion.validate(object, old)).unwrap_or_default()
    }

    /// An object of this version as it is stored.
    pub async fn to_stored(&self, mut object: Value) -> Result<Value, Status> {
        let Some(conversion) = &self.conversion else { return Ok(object) };
        let resource = conversion.resource();
        if let Some(ty) = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind) {
            defaults::apply(&mut object, ty);
        }
        conversion.default(&mut object);
        let mut stored = one(conversion.to_stored(vec![object]).await?)?;
        let resource = self.strategy.resource();
        name(&mut stored, resource);
        match Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind) {
            // What a client wrote into an annotation need not be what belongs there.
            Some(ty) => strict::decode_value(stored, ty)
                .map(|decoded| decoded.value)
                .map_err(|error| Status::bad_request(error.to_string())),
            None => Ok(stored),
        }
    }

    /// A stored object as this version has it.
    pub async fn of_stored<'a>(&self, object: &'a Value) -> Result<Cow<'a, Value>, Status> {
        let Some(conversion) = &self.conversion else { return Ok(Cow::Borrowed(object)) };
        if object.is_null() {
            return Ok(Cow::Borrowed(object));
        }
        let mut shown = one(conversion.as_shown(vec![object.clone()]).await?)?;
        name(&mut shown, conversion.resource());
        Ok(Cow::Owned(shown))
    }

    /// An object as this version shows it.
    pub async fn show(&self, object: &Arc<Object>) -> Result<Arc<Object>, Status> {
        one(self.show_all(vec![Arc::clone(object)]).await?)
    }

    /// Objects as this version shows them, in their order.
    pub async fn show_all(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Status> {
        let Some(conversion) = &self.conversion else { return Ok(objects) };
        let values = objects.iter().map(|object| object.to_value()).collect();
        let shown = conversion.as_shown(values).await?;
        if shown.len() != objects.len() {
            return Err(lost());
        }
        let resource = conversion.resource();
        let show =
            |(object, value): (Arc<Object>, Value)| Arc::new(object.converted(encode_as(resource, &value)));
        Ok(objects.into_iter().zip(shown).map(show).collect())
    }
}

fn one<T>(objects: Vec<T>) -> Result<T, Status> {
    objects.into_iter().next().ok_or_else(lost)
}

fn lost() -> Status {
    Status::internal("a conversion returned another number of objects than it was given")
}

fn name(object: &mut Value, resource: &Resource) {
    object["kind"] = (&*resource.kind).into();
    object["apiVersion"] = resource.api_version().into();
}
