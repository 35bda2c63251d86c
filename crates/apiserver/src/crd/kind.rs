//! A kind that was added at run time, as the registry sees it: a strategy whose hooks follow the schema.
//!
//! **Contract**: one of these is one generation of a definition; another takes its place when the definition changes.
//! Objects that were stored under an older one are read as this one has them: defaulted, and without what it does not know.
//! **Upstream**: `apiextensions-apiserver/pkg/registry/customresource`, `pkg/apiserver/customresource_handler.go`.

use super::conversion::{Converter, Outward};
use super::definition::Definition;
use super::schema::Schema;
use super::version::CustomVersion;
use super::{embedded, prune, rules, value};
use crate::registry::{Conversion, Strategy, WriteContext, encode_as};
use api::field::{Error, ErrorList, ErrorType, Path};
use api::kind::Resource;
use api::meta;
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// What can still be done while the definition waits for its objects to be gone.
const TERMINATING: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The strategy of a kind.
pub(crate) struct CustomKind {
    definition: Arc<Definition>,
    /// As the definition lists them.
    versions: Vec<Arc<CustomVersion>>,
    /// Which of them is stored.
    stored: usize,
    /// The fields that selectors of any version may name, as paths without the first dot.
    labels: Vec<String>,
}

impl CustomKind {
    /// The kind of an accepted definition; `None` if it stores nothing.
    pub(crate) fn new(definition: Arc<Definition>, outward: &Outward) -> Option<Arc<Self>> {
        let stored = definition.versions.iter().position(|version| version.storage)?;
        let converter = Converter::of(&definition, outward);
        let versions: Vec<Arc<CustomVersion>> = (0..definition.versions.len())
            .map(|index| Arc::new(CustomVersion::new(&definition, index, stored, converter.clone())))
            .collect();
        let mut labels: Vec<String> = versions.iter().flat_map(|version| version.labels()).collect();
        labels.sort();
        labels.dedup();
        Some(Arc::new(Self { definition, versions, stored, labels }))
    }

    fn stored(&self) -> &CustomVersion {
        &self.versions[self.stored]
    }

    fn schema(&self) -> &Schema {
        self.stored().schema_in_use()
    }

    fn check(&self, object: &Value, old: Option<&Value>) -> ErrorList {
        check(self.schema(), self.stored(), object, old)
    }
}

/// All errors of an object, or of what it became.
pub(super) fn check(
    schema: &Schema,
    version: &CustomVersion,
    object: &Value,
    old: Option<&Value>,
) -> ErrorList {
    let root = Path::default();
    let mut errors = value::check(&root, object, old, schema);
    errors.extend(version.check_scale(object));
    finish(schema, errors, object, old)
}

/// All errors of a changed status.
fn check_status(schema: &Schema, object: &Value, old: &Value) -> ErrorList {
    let errors = match (schema.property("status"), object.get("status")) {
        (Some(schema), Some(status)) => value::check(&Path::new("status"), status, old.get("status"), schema),
        _ => ErrorList::new(),
    };
    finish(schema, errors, object, Some(old))
}

/// What is asked of the object as a whole, once it is known whether its values are what they should be.
fn finish(schema: &Schema, mut errors: ErrorList, object: &Value, old: Option<&Value>) -> ErrorList {
    let root = Path::default();
    errors.extend(embedded::check(object, schema));
    if old.is_none_or(|old| value::check_lists(&root, old, schema).is_empty()) {
        errors.extend(value::check_lists(&root, object, schema));
    }
    if !schema.has_rules {
        return errors;
    }
    let blocks = |error: &Error| {
        use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
        matches!(error.error_type, NotSupported | Required | TooLong | TooMany | TypeInvalid)
    };
    if errors.iter().any(blocks) {
        let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.push(Error::invalid(&root, Value::Null, detail));
    } else {
        errors.extend(rules::check(schema, object, old));
    }
    errors
}

/// Makes an object what a schema has it be: without what it does not know, and with its defaults. Whether it was not.
pub(super) fn normalise(object: &mut Value, schema: &Schema) -> bool {
    let pruned = !prune::prune(object, schema).is_empty();
    let dropped = prune::drop_nulls(object, schema);
    let filled = prune::fill(object, schema);
    pruned || dropped || filled
}

impl Strategy for CustomKind {
    fn resource(&self) -> &Resource {
        self.stored().resource()
    }

    fn versions(&self) -> Vec<Arc<dyn Conversion>> {
        let others = self.versions.iter().enumerate().filter(|(i, v)| *i != self.stored && v.is_served());
        others.map(|(_, version)| Arc::clone(version) as Arc<dyn Conversion>).collect()
    }

    fn stored_version(&self) -> Option<Arc<dyn Conversion>> {
        Some(Arc::clone(&self.versions[self.stored]) as _)
    }

    fn serves_stored(&self) -> bool {
        self.stored().is_served()
    }

    fn read(&self, stored: &[u8]) -> Option<Bytes> {
        let mut object: Value = serde_json::from_slice(stored).ok()?;
        let written = {
            let (_, version) = api::kind::parse_api_version(object["apiVersion"].as_str()?);
            self.versions.iter().find(|known| known.name() == version)?
        };
        let changed = normalise(&mut object, written.schema_in_use());
        let shown = if written.name() == self.stored().name() || self.stored().is_webhook() {
            written
        } else {
            // Without a webhook versions differ in name only.
            &self.versions[self.stored]
        };
        let resource = shown.resource();
        if !Arc::ptr_eq(shown, written) {
            prune::prune(&mut object, shown.schema_in_use());
        }
        (changed || !Arc::ptr_eq(shown, written)).then(|| encode_as(resource, &object))
    }

    fn verbs(&self) -> &'static [&'static str] {
        if self.definition.terminating { TERMINATING } else { VERBS }
    }

    fn refusal(&self, verb: &str) -> Option<String> {
        (self.definition.terminating && VERBS.contains(&verb))
            .then(|| format!("{verb} not allowed while custom resource definition is terminating"))
    }

    fn has_status(&self) -> bool {
        self.stored().serves_status()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        normalise(object, self.schema());
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        if self.has_status()
            && let Some(fields) = object.as_object_mut()
        {
            fields.shift_remove("status");
        }
    }

    fn prepare_for_update(&self, _: &WriteContext<'_>, object: &mut Value, old: &Value) {
        // Without a subresource of its own the status is one of the things that the author wishes.
        if !self.has_status() && object.get("status") != old.get("status") {
            let generation = meta::generation(old) + 1;
            crate::registry::metadata::of(object).insert("generation".to_owned(), generation.into());
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        self.check(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        self.check(object, Some(old))
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        check_status(self.schema(), object, old)
    }

    fn has_fields(&self) -> bool {
        !self.labels.is_empty()
    }

    fn field_index(&self, label: &str) -> Option<usize> {
        self.labels.iter().position(|known| known == label)
    }

    fn selectable_paths(&self) -> Vec<&str> {
        self.labels.iter().map(String::as_str).collect()
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        let field = |label: &String| match label.split('.').try_fold(object, |at, name| at.get(name)) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        self.labels.iter().map(field).collect()
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
