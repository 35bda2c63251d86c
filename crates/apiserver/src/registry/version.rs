//! The group-versions in which a store's objects are served: the one that is stored, and others made of it.
//!
//! **Contract**: a store has one form, that of its strategy's resource; what is stored is defaulted, validated and
//! admitted in it. Every other version converts to it on the way in and from it on the way out. What all versions have
//! in common (names, identity, labels, revision, claims, the cells of tables) is the stored form's. A conversion may
//! wait for somebody else (a webhook), so it is asynchronous and gets a whole page at a time.
//! **Not here**: which versions there are: [`Strategy::versions`].
//! **Upstream**: `k8s.io/apimachinery/pkg/runtime` (`ObjectConvertor`), `apiextensions-apiserver/pkg/apiserver/conversion`.

use super::object::encode_as;
use super::strategy::Cell;
use super::{Object, Strategy, table};
use crate::crd;
use crate::patch::apply::Shape;
use api::field::ErrorList;
use api::kind::Resource;
use api::schema::{Schema, defaults, strict};
use api::status::Status;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

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

    /// Whether `default` and `validate` are all that counts for an object that is written in this version, instead of
    /// what the strategy says: both have the same form and need not have the same rules.
    fn rules_alone(&self) -> bool {
        false
    }

    /// Whether stored objects are as this version has them.
    fn is_identity(&self) -> bool {
        false
    }

    /// The schema of a kind that was added at run time.
    fn schema(&self) -> Option<&crd::Schema> {
        None
    }

    /// What is published of a kind that was added at run time.
    fn published(&self) -> Option<crd::Published> {
        None
    }

    /// Whether this version has a `status` subresource; `None`: as the strategy says.
    fn has_status(&self) -> Option<bool> {
        None
    }

    /// Where the numbers of a `scale` subresource are, if this version has one and the LIST of subresources has not.
    fn scale(&self) -> Option<&crd::Scale> {
        None
    }

    /// See [`Strategy::deprecation`]; of this version alone.
    fn deprecation(&self) -> Option<&str> {
        None
    }

    /// What the table of this version says of its columns; `None`: as the strategy says.
    fn columns(&self) -> Option<Vec<Value>> {
        None
    }

    /// The cells of such a table for an object of this version.
    fn row(&self, _object: &dyn Fn() -> Value, _now: Timestamp) -> Option<Vec<Cell>> {
        None
    }
}

/// One group-version of a store's objects.
#[derive(Clone)]
pub struct Version {
    strategy: Arc<dyn Strategy>,
    stored: bool,
    /// `None`: the strategy says it all.
    conversion: Option<Arc<dyn Conversion>>,
    /// What tables say of the columns, once somebody has asked.
    columns: Arc<OnceLock<Vec<Value>>>,
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Version").field(&self.resource().api_version()).finish()
    }
}

impl Version {
    /// The version that is stored.
    pub fn stored(strategy: &Arc<dyn Strategy>) -> Self {
        Self {
            strategy: Arc::clone(strategy),
            stored: true,
            conversion: strategy.stored_version(),
            columns: Arc::default(),
        }
    }

    /// All versions of a strategy, the stored one first.
    pub(crate) fn all(strategy: &Arc<dyn Strategy>) -> Vec<Self> {
        let other = |conversion| Self {
            strategy: Arc::clone(strategy),
            stored: false,
            conversion: Some(conversion),
            columns: Arc::default(),
        };
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
        self.stored
    }

    /// Whether objects of this version can be had.
    pub fn is_served(&self) -> bool {
        !self.stored || self.strategy.serves_stored()
    }

    /// What makes objects of stored ones; `None`: they are the same.
    fn converting(&self) -> Option<&Arc<dyn Conversion>> {
        self.conversion.as_ref().filter(|conversion| !conversion.is_identity())
    }

    /// The schema of a kind that was added at run time.
    pub fn schema(&self) -> Option<&crd::Schema> {
        self.conversion.as_ref()?.schema()
    }

    /// How objects are taken apart.
    pub fn shape(&self) -> Shape<'_> {
        match self.schema() {
            Some(schema) => Shape::of_custom(schema),
            None => crate::patch::apply::shape(self.resource()),
        }
    }

    /// See [`Conversion::published`].
    pub fn published(&self) -> Option<crd::Published> {
        self.conversion.as_ref()?.published()
    }

    /// Whether there is a `status` subresource.
    pub fn has_status(&self) -> bool {
        let own = self.conversion.as_ref().and_then(|conversion| conversion.has_status());
        own.unwrap_or_else(|| self.strategy.has_status())
    }

    /// See [`Conversion::scale`].
    pub fn scale(&self) -> Option<&crd::Scale> {
        self.conversion.as_ref()?.scale()
    }

    /// A text for the `Warning:` header of every request.
    pub fn deprecation(&self) -> Option<&str> {
        let own = self.conversion.as_ref().and_then(|conversion| conversion.deprecation());
        own.or_else(|| self.strategy.deprecation())
    }

    /// What a table says of its columns.
    pub fn columns(&self) -> Cow<'_, [Value]> {
        if let Some(own) = self.conversion.as_ref().and_then(|conversion| conversion.columns()) {
            return own.into();
        }
        let definitions = || table::definitions(self.strategy.resource(), self.strategy.columns());
        self.columns.get_or_init(definitions).into()
    }

    /// The cells and the conditions of an object, as it is stored and as this version shows it.
    pub fn row(&self, stored: &Object, shown: &Object, now: Timestamp) -> (Vec<Cell>, Vec<Value>) {
        let own = self.conversion.as_ref().and_then(|conversion| conversion.row(&|| shown.to_value(), now));
        if let Some(cells) = own {
            return (cells, Vec::new());
        }
        let stored = stored.to_value();
        (self.strategy.row(&stored, now), self.strategy.row_conditions(&stored))
    }

    /// Puts a page of objects into the order of a list's rows.
    pub fn sort_rows(&self, objects: &mut [Arc<Object>]) {
        if let Some(order) = self.strategy.row_order() {
            objects.sort_by_cached_key(|object| order(&object.to_value()));
        }
    }

    /// Fills what is defined as default, if that is for this version alone to say; tells whether it is.
    pub(super) fn default_alone(&self, object: &mut Value) -> bool {
        let alone = self.conversion.as_ref().filter(|conversion| conversion.rules_alone());
        if let Some(conversion) = alone {
            conversion.default(object);
        }
        alone.is_some()
    }

    /// See [`Conversion::rules_alone`].
    pub(super) fn rules_alone(&self) -> bool {
        self.conversion.as_ref().is_some_and(|conversion| conversion.rules_alone())
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
        let Some(conversion) = self.converting() else { return Ok(object) };
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

    /// An object as this version has it that was stored when another one was.
    pub(super) async fn upgraded(&self, object: Value) -> Result<Value, Status> {
        match self.converting() {
            Some(conversion) => one(conversion.as_shown(vec![object]).await?),
            None => Ok(object),
        }
    }

    /// A stored object as this version has it.
    pub async fn of_stored<'a>(&self, object: &'a Value) -> Result<Cow<'a, Value>, Status> {
        let Some(conversion) = self.converting() else { return Ok(Cow::Borrowed(object)) };
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
        let Some(conversion) = self.converting() else { return Ok(objects) };
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
