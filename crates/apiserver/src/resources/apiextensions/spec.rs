//! What a CustomResourceDefinition must say: names, versions, columns, subresources, conversion.
//!
//! **Contract**: what all versions have in common is reported once, where upstream's internal type has it
//! (`spec.validation`, `spec.subresources`, …), and otherwise version by version.
//! **Upstream**: `apiextensions-apiserver/pkg/apis/apiextensions/validation`.

use crate::crd::{self, FieldPath};
use crate::resources::check;
use crate::resources::edit::{is_empty, items, text};
use crate::resources::webhook_client;
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "binary", "password"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// **Upstream**: `MaxSelectableFields`.
const MAX_SELECTABLE_FIELDS: usize = 8;
const MAX_DEPRECATION_WARNING: usize = 256;
/// What a schema may say at its root if the status is checked apart from the rest, and how upstream calls it.
const ROOT_FIELDS: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// The parts of a version that upstream's internal type has at the top when all versions agree.
const PARTS: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// All errors of `spec`. What was accepted once may not be by a later server: the schema of a version that is what it was
/// in `old` is not held against what is asked of schemas again.
pub(super) fn check(spec: &Value, old: Option<&Value>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    check_group(&mut errors, &path.child("group"), text(spec, "group"));
    check::one_of(&mut errors, &path.child("scope"), &spec["scope"], &["Cluster", "Namespaced"]);
    let versions = items(spec, "versions");
    check_schemas_are_there(&mut errors, path, versions);
    check_versions(&mut errors, path, versions, old);
    let names = &spec["names"];
    for field in ["plural", "singular", "kind", "listKind"] {
        check::required(&mut errors, &path.child("names").child(field), &names[field]);
    }
    check_names(&mut errors, &path.child("names"), names);
    if let Some(first) = versions.first() {
        let shared: BTreeSet<&str> = shared(versions).collect();
        check_parts(&mut errors, path, (first, old), |part| shared.contains(part), |_, top| top.to_owned());
    }
    if spec["preserveUnknownFields"] == true {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(Error::invalid(&path.child("preserveUnknownFields"), true, detail));
    }
    check_conversion(&mut errors, &path.child("conversion"), &spec["conversion"]);
    errors
}

/// The parts in which all versions agree.
fn shared(versions: &[Value]) -> impl Iterator<Item = &'static str> {
    let agree = |part: &str| versions.iter().all(|v| v[part] == versions[0][part]);
    PARTS.iter().map(|(part, _)| *part).filter(move |part| agree(part)).collect::<Vec<_>>().into_iter()
}

fn check_group(errors: &mut ErrorList, path: &Path, group: &str) {
    let messages = names::dns_subdomain(group, false);
    if group.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !messages.is_empty() {
        errors.push(Error::invalid(path, group, &messages.join(",")));
    } else if !group.contains('.') {
        errors.push(Error::invalid(path, group, "should be a domain with at least one dot"));
    }
}

fn check_schemas_are_there(errors: &mut ErrorList, path: &Path, versions: &[Value]) {
    for (i, version) in versions.iter().enumerate() {
        if version["schema"]["openAPIV3Schema"].is_null() {
            let path = path.child("versions").index(i).child("schema").child("openAPIV3Schema");
            errors.push(Error::required(&path, ""));
        }
    }
}

/// Whether a version had the same schema before.
fn is_known(version: &Value, old: &Value) -> bool {
    let before = items(old, "versions").iter().find(|before| before["name"] == version["name"]);
    before.is_some_and(|before| before["schema"]["openAPIV3Schema"] == version["schema"]["openAPIV3Schema"])
}

fn check_versions(errors: &mut ErrorList, path: &Path, versions: &[Value], old: Option<&Value>) {
    let path = path.child("versions");
    let shared: BTreeSet<&str> =
        if versions.is_empty() { BTreeSet::new() } else { shared(versions).collect() };
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (i, version) in versions.iter().enumerate() {
        let (name, path) = (text(version, "name"), path.index(i));
        unique &= seen.insert(name);
        let messages = names::dns_1035_label(name, false);
        if !messages.is_empty() {
            errors.push(Error::invalid(&path.child("name"), name, &messages.join(",")));
        }
        check_deprecation(errors, &path.child("deprecationWarning"), version);
        let wanted = |part: &str| !shared.contains(part);
        check_parts(errors, &path, (version, old), wanted, |part, _| part.to_owned());
    }
    let internal = || Value::from(versions.iter().map(|v| internal(v, &shared)).collect::<Vec<_>>());
    if !unique {
        errors.push(Error::invalid(&path, internal(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(Error::invalid(&path, internal(), detail));
    }
}

/// A version as upstream prints it: its internal type.
fn internal(version: &Value, shared: &BTreeSet<&str>) -> Value {
    let mut printed = Map::new();
    for field in ["name", "served", "storage", "deprecated", "deprecationWarning"] {
        let absent =
            if matches!(field, "served" | "storage" | "deprecated") { json!(false) } else { Value::Null };
        let value = Some(version[field].clone()).filter(|v| !v.is_null()).unwrap_or(absent);
        printed.insert(capitalised(field), value);
    }
    for (part, _) in PARTS {
        let value = if shared.contains(part) { Value::Null } else { version[part].clone() };
        printed.insert(capitalised(part), value);
    }
    Value::Object(printed)
}

fn capitalised(field: &str) -> String {
    let mut letters = field.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn check_deprecation(errors: &mut ErrorList, path: &Path, version: &Value) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let mut refuse = |detail: &str| errors.push(Error::invalid(path, warning, detail));
    if version["deprecated"] != true {
        return refuse("can only be set for deprecated versions");
    }
    if warning.len() > MAX_DEPRECATION_WARNING {
        refuse("must be <= 256 characters long");
    }
    if warning.is_empty() {
        refuse("must not be an empty string");
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let what = "must only contain printable UTF-8 characters; non-printable character found at index";
        refuse(&format!("{what} {at}"));
    }
}

/// The parts of a version that are to be looked at here; `name`: what the part is called, of (here, at the top).
fn check_parts(
    errors: &mut ErrorList,
    path: &Path,
    (version, old): (&Value, Option<&Value>),
    wanted: impl Fn(&str) -> bool,
    name: impl Fn(&str, &str) -> String,
) {
    let schema = &version["schema"]["openAPIV3Schema"];
    for (part, top) in PARTS.into_iter().filter(|(part, _)| wanted(part)) {
        let path = path.child(&name(part, top));
        match part {
            "schema" if schema.is_object() => {
                let status = !version["subresources"]["status"].is_null();
                let path = path.child("openAPIV3Schema");
                check_root(errors, &path, schema, status);
                if !old.is_some_and(|old| is_known(version, old)) {
                    errors.extend(crd::check(&path, schema));
                }
            }
            "subresources" => check_scale(errors, &path, &version[part]["scale"]),
            "additionalPrinterColumns" => {
                for (i, column) in items(version, part).iter().enumerate() {
                    check_column(errors, &path.index(i), column);
                }
            }
            "selectableFields" => check_selectable(errors, &path, items(version, part), schema),
            _ => {}
        }
    }
}

/// What a schema may say at its root.
fn check_root(errors: &mut ErrorList, path: &Path, schema: &Value, status: bool) {
    let mut said = schema.as_object().into_iter().flatten().filter(|(_, value)| !is_empty(value));
    if status && !matches!(text(schema, "type"), "" | "object") {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(Error::invalid(&path.child("type"), text(schema, "type"), detail));
    } else if status && said.any(|(field, _)| !ROOT_FIELDS.iter().any(|(name, _)| name == field)) {
        let allowed: Vec<&str> = ROOT_FIELDS.iter().map(|(_, name)| *name).collect();
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            allowed.join(" ")
        );
        errors.push(Error::invalid(path, schema.clone(), &detail));
    }
    if schema["nullable"] == true {
        errors.push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
}

/// The names of a kind, as far as they are there.
pub(super) fn check_names(errors: &mut ErrorList, path: &Path, names: &Value) {
    let mut label = |path: &Path, name: &str, mixed: bool| {
        let messages =
            names::dns_1035_label(&if mixed { name.to_lowercase() } else { name.to_owned() }, false);
        if !name.is_empty() && !messages.is_empty() {
            let mixed = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(Error::invalid(path, name, &format!("{mixed}{}", messages.join(","))));
        }
    };
    for (field, mixed) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        label(&path.child(field), text(names, field), mixed);
    }
    for field in ["shortNames", "categories"] {
        for (i, name) in items(names, field).iter().enumerate() {
            label(&path.child(field).index(i), name.as_str().unwrap_or(""), false);
        }
    }
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.child("listKind"), kind, detail));
    }
}

fn check_simple_path(errors: &mut ErrorList, path: &Path, json_path: &str) -> bool {
    if json_path.starts_with('.') {
        return true;
    }
    errors.push(Error::invalid(path, json_path, "must be a simple json path starting with ."));
    false
}

fn check_scale(errors: &mut ErrorList, path: &Path, scale: &Value) {
    if scale.is_null() {
        return;
    }
    let path = path.child("scale");
    for (field, prefix, within) in
        [("specReplicasPath", ".spec.", ".spec"), ("statusReplicasPath", ".status.", ".status")]
    {
        let (value, path) = (text(scale, field), path.child(field));
        if value.is_empty() {
            errors.push(Error::required(&path, ""));
        } else if check_simple_path(errors, &path, value) && !value.starts_with(prefix) {
            errors.push(Error::invalid(&path, value, &format!("should be a json path under {within}")));
        }
    }
    let (selector, path) = (text(scale, "labelSelectorPath"), path.child("labelSelectorPath"));
    if !selector.is_empty()
        && check_simple_path(errors, &path, selector)
        && !selector.starts_with(".spec.")
        && !selector.starts_with(".status.")
    {
        let detail = "should be a json path under either .spec or .status";
        errors.push(Error::invalid(&path, selector, detail));
    }
}

fn check_column(errors: &mut ErrorList, path: &Path, column: &Value) {
    check::required(errors, &path.child("name"), &column["name"]);
    let (kind, at) = (text(column, "type"), path.child("type"));
    let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        errors.push(Error::required(&at, &detail));
    } else if !COLUMN_TYPES.contains(&kind) {
        errors.push(Error::invalid(&at, kind, &detail));
    }
    let format = text(column, "format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let mut formats = COLUMN_FORMATS;
        formats.sort_unstable();
        let detail = format!("must be one of {}", formats.join(","));
        errors.push(Error::invalid(&path.child("format"), format, &detail));
    }
    let at = path.child("JSONPath");
    match text(column, "jsonPath") {
        "" => errors.push(Error::required(&at, "")),
        value => drop(check_simple_path(errors, &at, value)),
    }
}

fn check_selectable(errors: &mut ErrorList, path: &Path, fields: &[Value], schema: &Value) {
    if !fields.is_empty() && !schema.is_object() {
        let detail = "may only be set when `version.schema.openAPIV3Schema` is not included";
        errors.push(Error::invalid(path, "", detail));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, field) in fields.iter().enumerate() {
        let (value, path) = (text(field, "jsonPath"), path.index(i).child("jsonPath"));
        if value.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        let found = match FieldPath::parse(value, schema) {
            Ok(found) => found,
            Err(why) => {
                errors.push(Error::invalid(&path, value, &format!("is an invalid path: {why}")));
                continue;
            }
        };
        if found.names.first().is_some_and(|root| root == "metadata") {
            errors.push(Error::invalid(&path, value, "must not point to fields in metadata"));
        }
        if !matches!(text(found.schema, "type"), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(Error::invalid(&path, value, detail));
        }
        if !seen.insert(found.names) {
            errors.push(Error::duplicate(&path, value));
        }
    }
    if seen.len() > MAX_SELECTABLE_FIELDS {
        errors.push(Error::too_many(path, seen.len(), MAX_SELECTABLE_FIELDS));
    }
}

fn check_conversion(errors: &mut ErrorList, path: &Path, conversion: &Value) {
    if conversion.is_null() {
        return;
    }
    let strategy = &conversion["strategy"];
    check::one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"]);
    let (client, at) = (&conversion["webhook"]["clientConfig"], path.child("webhookClientConfig"));
    let versions = items(&conversion["webhook"], "conversionReviewVersions");
    let versions_path = path.child("conversionReviewVersions");
    if *strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if !client.is_null() {
            errors.push(Error::forbidden(&at, detail));
        }
        if !versions.is_empty() {
            errors.push(Error::forbidden(&versions_path, detail));
        }
        return;
    }
    if client.is_null() {
        errors.push(Error::required(&at, "required when strategy is set to Webhook"));
    } else {
        webhook_client::check(errors, &at, client);
    }
    webhook_client::check_versions(errors, &versions_path, versions, &REVIEW_VERSIONS, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut spec = json!({"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"color": {"type": "string"}}}}}}}]});
        change(&mut spec);
        check(&spec, None, &Path::new("spec")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_schema_that_was_accepted_once_may_stay() {
        let version = |name: &str, rule: &str| {
            let rules = json!([{"rule": rule}]);
            json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-validations": rules, "properties": {"a": {"type": "integer"}}}}})
        };
        let spec = |versions: &[Value]| {
            json!({"group": "example.com", "scope": "Cluster", "versions": versions,
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}})
        };
        let (wrong, fine) = ("self.a == 'x'", "self.a == 1");
        let old = spec(&[version("v1", wrong)]);
        let count = |new: &[Value]| check(&spec(new), Some(&old), &Path::new("spec")).len();
        assert_eq!(check(&old, None, &Path::new("spec")).len(), 1);
        assert_eq!(count(&[version("v1", wrong)]), 0, "it is what it was");
        assert_eq!(count(&[version("v1", wrong), version("v2", fine)]), 0, "another version is right");
        assert_eq!(count(&[version("v1", fine), version("v2", wrong)]), 1, "another version has it");
        assert_eq!(count(&[version("v1", "self.a == 'y'")]), 1, "it is another rule");
    }

    #[test]
    fn tells_what_is_wrong_with_a_definition() {
        /// A change of the example, and its errors.
        type Case = (fn(&mut Value), &'static [&'static str]);
        let table: [Case; 9] = [
            (|_| {}, &[]),
            (
                |spec| spec["group"] = "nodots".into(),
                &["spec.group: Invalid value: \"nodots\": should be a domain with at least one dot"],
            ),
            (
                |spec| spec["versions"][0]["storage"] = false.into(),
                &[
                    "spec.versions: Invalid value: [{\"Name\":\"v1\",\"Served\":true,\"Storage\":false,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]: must have exactly one version marked as storage version",
                ],
            ),
            (
                |spec| {
                    spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["type"] =
                        Value::Null
                },
                &[
                    "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
                ],
            ),
            (
                |spec| {
                    spec["versions"][0]["additionalPrinterColumns"] =
                        json!([{"name": "C", "type": "text", "jsonPath": "x"}])
                },
                &[
                    "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
                    "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"x\": must be a simple json path starting with .",
                ],
            ),
            (
                |spec| {
                    spec["versions"][0]["selectableFields"] =
                        json!([{"jsonPath": ".spec"}, {"jsonPath": ".spec.color"}, {"jsonPath": ".spec.no"}])
                },
                &[
                    "spec.selectableFields[0].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
                    "spec.selectableFields[2].jsonPath: Invalid value: \".spec.no\": is an invalid path: does not refer to a valid field",
                ],
            ),
            (
                |spec| spec["conversion"] = json!({"strategy": "Webhook"}),
                &[
                    "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
                    "spec.conversion.conversionReviewVersions: Required value",
                ],
            ),
            (
                |spec| {
                    spec["versions"][0]["subresources"] =
                        json!({"scale": {"specReplicasPath": ".status.x", "statusReplicasPath": ""}})
                },
                &[
                    "spec.subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec",
                    "spec.subresources.scale.statusReplicasPath: Required value",
                ],
            ),
            (
                |spec| spec["names"]["listKind"] = "Widget".into(),
                &["spec.names.listKind: Invalid value: \"Widget\": kind and listKind may not be the same"],
            ),
        ];
        for (change, expected) in table {
            assert_eq!(errors(change), expected);
        }
    }

    #[test]
    fn versions_that_differ_are_reported_one_by_one() {
        let found = errors(|spec| {
            let mut second = spec["versions"][0].clone();
            second["name"] = "v2".into();
            second["storage"] = false.into();
            second["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({});
            spec["versions"].as_array_mut().unwrap().push(second);
        });
        assert_eq!(
            found,
            [
                "spec.versions[1].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"
            ]
        );
    }
}
