//! CustomResourceDefinition: a kind that is added at run time.
//!
//! **Not here**: what a definition must say (`spec`), schemas (`crate::crd`), serving the kind.
//! **Upstream**: `apiextensions-apiserver/pkg/registry/customresourcedefinition`.

use super::spec;
use crate::crd::{self, naming};
use crate::registry::{Strategy, WriteContext, metadata};
use crate::resources::check;
use crate::resources::edit::{self, items, text};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::meta;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// **Upstream**: `KubeAPIApprovedAnnotation`.
const APPROVED: &str = "api-approved.kubernetes.io";
/// Formats of strings and numbers that values are checked against. **Upstream**: `supportedVersionedFormats`.
const FORMATS: &str = "bsonobjectid byte cidr creditcard date date-time datetime double duration email float hexcolor \
    hostname int32 int64 ipv4 ipv6 isbn isbn10 isbn13 k8s-long-name k8s-short-name mac password rgbcolor ssn uri uuid \
    uuid3 uuid4 uuid5";

/// The strategy of CustomResourceDefinitions.
pub(crate) struct CustomResourceDefinition(Resource);

impl CustomResourceDefinition {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("customresourcedefinitions", "customresourcedefinition");
        let resource = Resource::new(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            plural,
            singular,
            Scope::Cluster,
        );
        Self(resource.short(&["crd", "crds"]).in_categories(&["api-extensions"]))
    }
}

fn storage_version(object: &Value) -> Option<&str> {
    items(&object["spec"], "versions").iter().find(|v| v["storage"] == true).map(|v| text(v, "name"))
}

/// Adds the version in which objects are stored to those in which some may be.
fn remember_storage_version(object: &mut Value) {
    let Some(version) = storage_version(object).map(str::to_owned) else { return };
    let Some(status) = edit::child_or_new(object, "status") else { return };
    edit::set_default(status, "storedVersions", json!([]));
    if let Some(stored) = status["storedVersions"].as_array_mut()
        && !stored.iter().any(|known| *known == version)
    {
        stored.push(version.into());
    }
}

fn is_established(object: &Value) -> bool {
    let mut conditions = items(&object["status"], "conditions").iter();
    conditions.any(|c| c["type"] == "Established" && c["status"] == "True")
}

/// The versions in which objects may be stored must be served still.
fn check_stored_versions(errors: &mut ErrorList, object: &Value) {
    let path = Path::new("status").child("storedVersions");
    let stored = items(&object["status"], "storedVersions");
    if stored.is_empty() {
        errors.push(Error::invalid(&path, json!(stored), "must have at least one stored version"));
        return;
    }
    if let Some(version) = storage_version(object).filter(|v| !stored.iter().any(|s| s == v)) {
        let detail = format!("must have the storage version {version}");
        errors.push(Error::invalid(&path, json!(stored), &detail));
    }
    for (i, version) in stored.iter().enumerate() {
        let name = version.as_str().unwrap_or("");
        if !items(&object["spec"], "versions").iter().any(|v| text(v, "name") == name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(Error::invalid(&path.index(i), name, &detail));
        }
    }
}

/// Whether a group of the project's own is approved, and what is wrong if it is not.
fn approval(object: &Value) -> Result<&'static str, String> {
    let text = object["metadata"]["annotations"][APPROVED].as_str().unwrap_or("");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    let is_url = text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/') && !rest.contains(' ')
    });
    match text {
        "" => Err(format!("protected groups must have approval annotation {APPROVED:?}, {see}")),
        text if text.starts_with("unapproved") => Ok("bypassed"),
        _ if is_url => Ok("approved"),
        _ => Err(format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {see}"
        )),
    }
}

fn check_approval(errors: &mut ErrorList, object: &Value, old: Option<&Value>) {
    let group = text(&object["spec"], "group");
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    if !protected || old.is_some_and(|old| approval(old) == approval(object)) {
        return;
    }
    if let Err(why) = approval(object) {
        let path = Path::new("metadata").child("annotations").key(APPROVED);
        let value = &object["metadata"]["annotations"][APPROVED];
        errors.push(match value {
            Value::Null => Error::required(&path, &why),
            value if *value == "" => Error::required(&path, &why),
            value => Error::invalid(&path, value.clone(), &why),
        });
    }
}

/// What may be stored but will not do what its author may expect.
fn warnings(object: &Value) -> BTreeSet<String> {
    let mut warnings = BTreeSet::new();
    for version in items(&object["spec"], "versions") {
        crd::walk(&version["schema"]["openAPIV3Schema"], &mut |schema| {
            let format = text(schema, "format");
            if !format.is_empty() && !FORMATS.split_whitespace().any(|known| known == format) {
                warnings.insert(format!("unrecognized format {format:?}"));
            }
        });
    }
    warnings
}

impl Strategy for CustomResourceDefinition {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn storage_version(&self) -> &str {
        "v1beta1"
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        edit::set_default(spec, "conversion", json!({"strategy": "None"}));
        let service = edit::child(spec, "conversion")
            .and_then(|conversion| edit::child(conversion, "webhook"))
            .and_then(|webhook| edit::child(webhook, "clientConfig"))
            .and_then(|client| edit::child(client, "service"));
        if let Some(service) = service {
            edit::set_default(service, "port", 443);
        }
        let Some(names) = edit::child_or_new(spec, "names") else { return };
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            edit::set_default_text(names, "singular", &kind.to_lowercase());
            edit::set_default_text(names, "listKind", &format!("{kind}List"));
        }
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({"acceptedNames": {"plural": "", "kind": ""}}));
        remember_storage_version(object);
    }

    fn prepare_for_update(&self, _: &WriteContext<'_>, object: &mut Value, _: &Value) {
        remember_storage_version(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let names = &object["spec"]["names"];
        let required = format!("{}.{}", text(names, "plural"), text(&object["spec"], "group"));
        if meta::name(object) != required {
            let path = Path::new("metadata").child("name");
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.push(Error::invalid(&path, meta::name(object), detail));
        }
        errors.extend(spec::check(&object["spec"], None, &Path::new("spec")));
        errors.extend(self.validate_status_update(object, &Value::Null));
        check_stored_versions(&mut errors, object);
        check_approval(&mut errors, object, None);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let (spec, old_spec) = (&object["spec"], &old["spec"]);
        let path = Path::new("spec");
        let mut errors = spec::check(spec, Some(old_spec), &path);
        let (names, old_names) = (&spec["names"], &old_spec["names"]);
        if is_established(old) {
            check::immutable(&mut errors, &path.child("scope"), &spec["scope"], &old_spec["scope"]);
            check::immutable(
                &mut errors,
                &path.child("names").child("kind"),
                &names["kind"],
                &old_names["kind"],
            );
        }
        check::immutable(&mut errors, &path.child("group"), &spec["group"], &old_spec["group"]);
        let plural = path.child("names").child("plural");
        check::immutable(&mut errors, &plural, &names["plural"], &old_names["plural"]);
        errors.extend(self.validate_status_update(object, old));
        check_stored_versions(&mut errors, object);
        check_approval(&mut errors, object, Some(old));
        errors
    }

    fn validate_status_update(&self, object: &Value, _: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status").child("acceptedNames");
        spec::check_names(&mut errors, &path, &object["status"]["acceptedNames"]);
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let known = old.map(warnings).unwrap_or_default();
        warnings(object).difference(&known).cloned().collect()
    }

    fn is_held(&self, object: &Value) -> bool {
        // A definition goes after its objects; whoever deletes them lets it go.
        meta::deletion_timestamp(object).is_none()
    }

    fn prepare_for_delete(&self, object: &mut Value) {
        if naming::is(object, "Terminating") {
            return;
        }
        let at = api::time::from_value(&object["metadata"]["deletionTimestamp"]).unwrap_or_default();
        let mut finalizers = metadata::finalizers(object);
        if !finalizers.iter().any(|name| name == crd::CLEANUP) {
            finalizers.push(crd::CLEANUP.to_owned());
            metadata::set_finalizers(object, finalizers);
        }
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        naming::set(object, "Terminating", "True", "InstanceDeletionPending", message, at);
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_the_project_need_approval() {
        let object = |group: &str, annotation: &str| json!({"metadata": {"annotations": {APPROVED: annotation}}, "spec": {"group": group}});
        let table = [
            ("example.com", "", true),
            ("notk8s.io", "", true),
            ("x.k8s.io", "", false),
            ("x.k8s.io", "unapproved, a test", true),
            ("kubernetes.io", "https://example.com/1", true),
            ("kubernetes.io", "yes", false),
        ];
        for (group, annotation, accepted) in table {
            let mut errors = ErrorList::new();
            check_approval(&mut errors, &object(group, annotation), None);
            assert_eq!(errors.is_empty(), accepted, "{group} {annotation}");
        }
    }

    #[test]
    fn a_former_storage_version_must_stay() {
        let mut object = json!({"spec": {"versions": [{"name": "v1", "storage": true}]},
            "status": {"storedVersions": ["v1beta1"]}});
        remember_storage_version(&mut object);
        assert_eq!(object["status"]["storedVersions"], json!(["v1beta1", "v1"]));
        let mut errors = ErrorList::new();
        check_stored_versions(&mut errors, &object);
        assert!(errors[0].to_string().starts_with(
            "status.storedVersions[0]: Invalid value: \"v1beta1\": missing from spec.versions; v1beta1 was"
        ));
    }
}
