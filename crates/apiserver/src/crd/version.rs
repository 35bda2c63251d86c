//! One version of a kind that was added at run time.
//!
//! **Contract**: its schema is made ready when the first object needs it, for most kinds of a large cluster are never used.
//! **Not here**: how objects become those of another version: `conversion`.

use super::columns::Columns;
use super::conversion::Converter;
use super::definition::{self, Definition, Scale};
use super::prune;
use super::published::Published;
use super::schema::Schema;
use crate::registry::Conversion;
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// A version.
pub(crate) struct CustomVersion {
    definition: Arc<Definition>,
    index: usize,
    resource: Resource,
    stored_api_version: String,
    columns: Columns,
    deprecation: Option<String>,
    /// `None`: versions differ in name only.
    converter: Option<Arc<Converter>>,
    schema: OnceLock<Schema>,
}

impl CustomVersion {
    pub(super) fn new(
        definition: &Arc<Definition>,
        index: usize,
        stored: usize,
        converter: Option<Arc<Converter>>,
    ) -> Self {
        let version = &definition.versions[index];
        let names = &definition.accepted;
        let owned = |names: &[String]| names.iter().map(|name| name.clone().into()).collect();
        let resource = Resource {
            group: definition.group.clone().into(),
            version: version.name.clone().into(),
            kind: names.kind.clone().into(),
            plural: definition.plural.clone().into(),
            singular: names.singular.clone().into(),
            short_names: owned(&names.short_names),
            categories: owned(&names.categories),
            scope: if definition.namespaced { Scope::Namespaced } else { Scope::Cluster },
            list_kind: Some(names.list_kind.clone().into()),
        };
        Self {
            columns: Columns::of(&version.additional_printer_columns),
            deprecation: definition.deprecation(version),
            stored_api_version: api::kind::api_version(&definition.group, &definition.versions[stored].name),
            definition: Arc::clone(definition),
            index,
            resource,
            converter,
            schema: OnceLock::new(),
        }
    }

    fn written(&self) -> &definition::Version {
        &self.definition.versions[self.index]
    }

    pub(super) fn name(&self) -> &str {
        &self.written().name
    }

    pub(super) fn is_served(&self) -> bool {
        self.written().served
    }

    pub(super) fn is_webhook(&self) -> bool {
        self.converter.is_some()
    }

    pub(super) fn serves_status(&self) -> bool {
        self.written().subresources.status.is_some()
    }

    /// The schema, made ready.
    pub(super) fn schema_in_use(&self) -> &Schema {
        self.schema.get_or_init(|| self.definition.schema(self.name()))
    }

    /// The fields that selectors may name.
    pub(super) fn labels(&self) -> Vec<String> {
        let fields = self.written().selectable_fields.iter();
        fields.map(|field| field.json_path.trim_start_matches('.').to_owned()).collect()
    }

    /// Whether the numbers of a scale are some.
    pub(super) fn check_scale(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(scale) = &self.written().subresources.scale else { return errors };
        for path in [&scale.spec_replicas_path, &scale.status_replicas_path] {
            let value = at(object, path);
            let detail = match value {
                None => continue,
                Some(value) => match value.as_i64() {
                    None => format!(
                        "{path} accessor error: {} is of the type {}, expected int64",
                        api::golang::plain(value),
                        go_type(value)
                    ),
                    Some(number) if number < 0 => "should be a non-negative integer".to_owned(),
                    Some(number) if number > i64::from(i32::MAX) => {
                        format!("should be less than or equal to {}", i32::MAX)
                    }
                    Some(_) => continue,
                },
            };
            let number = value.and_then(Value::as_i64).unwrap_or(0);
            errors.push(Error::invalid(&Path::new(path), number, &detail));
        }
        errors
    }

    fn converts(&self, objects: &[Value], wanted: &str) -> bool {
        self.converter.is_some() && objects.iter().any(|object| object["apiVersion"] != wanted)
    }

    async fn convert(&self, objects: Vec<Value>, wanted: &str) -> Result<Vec<Value>, Status> {
        match &self.converter {
            Some(converter) if self.converts(&objects, wanted) => converter.convert(objects, wanted).await,
            _ => Ok(objects),
        }
    }
}

/// What stands at a simple path, `.spec.replicas`.
pub(crate) fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut names = path.trim_start_matches('.').split('.');
    names.try_fold(object, |at, name| at.get(name)).filter(|value| !value.is_null())
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[async_trait]
impl Conversion for CustomVersion {
    fn resource(&self) -> &Resource {
        &self.resource
    }

    async fn as_shown(&self, objects: Vec<Value>) -> Result<Vec<Value>, Status> {
        let wanted = self.resource.api_version();
        let mut shown = self.convert(objects, &wanted).await?;
        for object in &mut shown {
            object["apiVersion"] = wanted.as_str().into();
            prune::prune(object, self.schema_in_use());
        }
        Ok(shown)
    }

    async fn to_stored(&self, objects: Vec<Value>) -> Result<Vec<Value>, Status> {
        self.convert(objects, &self.stored_api_version).await
    }

    fn rules_alone(&self) -> bool {
        self.converter.is_none()
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> ErrorList {
        if self.converter.is_some() {
            return ErrorList::new();
        }
        super::kind::check(self.schema_in_use(), self, object, old)
    }

    fn is_identity(&self) -> bool {
        self.converter.is_none() && self.resource.api_version() == self.stored_api_version
    }

    fn default(&self, object: &mut Value) {
        super::kind::normalise(object, self.schema_in_use());
    }

    fn stored_label<'a>(&self, label: &'a str) -> Option<&'a str> {
        let meta = label == "metadata.name" || label == "metadata.namespace" && self.resource.namespaced();
        let own = || {
            let mut fields = self.written().selectable_fields.iter();
            fields.any(|field| field.json_path.strip_prefix('.') == Some(label))
        };
        (meta || own()).then_some(label)
    }

    fn schema(&self) -> Option<&Schema> {
        Some(self.schema_in_use())
    }

    fn published(&self) -> Option<Published> {
        Some(Published::new(&self.definition, self.index))
    }

    fn has_status(&self) -> Option<bool> {
        Some(self.serves_status())
    }

    fn scale(&self) -> Option<&Scale> {
        self.written().subresources.scale.as_ref()
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn columns(&self) -> Option<Vec<Value>> {
        Some(self.columns.definitions())
    }

    fn row(&self, object: &dyn Fn() -> Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(self.columns.row(&object(), now))
    }
}
