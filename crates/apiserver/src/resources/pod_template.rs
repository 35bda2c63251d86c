//! What workloads share: a template for pods, a selector that must fit it, and the cells that show them.
//!
//! **Contract**: a template's PodSpec has the defaults of templates, which are fewer than a pod's.
//! **Upstream**: `ValidatePodTemplateSpec`, `ValidatePodTemplateSpecForReplicaSet`, `layoutContainerCells`.

use super::pod_spec::{check_annotations, check_apparmor_agrees, check_pod_spec, default_template_spec};
use super::{check, edit};
use crate::registry::{Cell, Column, metadata};
use crate::resources::edit::{items, text};
use api::field::{Error, ErrorList, Path};
use api::selector::LabelSelector;
use serde_json::{Value, json};

/// The names of the containers, wide.
pub(crate) const CONTAINERS: Column =
    Column::wide("Containers", "string").text("Names of each container in the template.");
/// Their images, wide.
pub(crate) const IMAGES: Column =
    Column::wide("Images", "string").text("Images referenced by each container in the template.");
/// The selector, wide.
pub(crate) const SELECTOR: Column = Column::wide("Selector", "string");

/// Fills the defaults of the template in `holder.template`.
pub(crate) fn default_template(holder: &mut Value) {
    if let Some(template) = edit::child_or_new(holder, "template") {
        edit::set_default(template, "metadata", json!({}));
        if let Some(spec) = edit::child_or_new(template, "spec") {
            default_template_spec(spec);
        }
    }
}

/// All errors of a template.
pub(crate) fn check_template(errors: &mut ErrorList, path: &Path, template: &Value) {
    let meta = path.child("metadata");
    errors.extend(metadata::validate_labels(&template["metadata"]["labels"], &meta.child("labels")));
    let annotations = &template["metadata"]["annotations"];
    errors.extend(metadata::validate_annotations(annotations, &meta.child("annotations")));
    check_annotations(errors, &path.child("annotations"), annotations, &template["spec"]);
    check_pod_spec(errors, &path.child("spec"), &template["spec"]);
    check_apparmor_agrees(errors, &path.child("spec"), annotations, &template["spec"]);
    if !edit::is_empty(&template["spec"]["ephemeralContainers"]) {
        let path = path.child("spec").child("ephemeralContainers");
        errors.push(Error::forbidden(&path, "ephemeral containers not allowed in pod template"));
    }
}

/// Whether a selector in JSON, if it can be read, selects a template's labels.
pub(crate) fn check_match(errors: &mut ErrorList, path: &Path, selector: &LabelSelector, template: &Value) {
    let labels = &template["metadata"]["labels"];
    if !selector.is_everything() && !selector.matches(|key| labels[key].as_str()) {
        let path = path.child("metadata").child("labels");
        let shown = if labels.is_null() { json!({}) } else { labels.clone() };
        errors.push(Error::invalid(&path, shown, "`selector` does not match template `labels`"));
    }
}

/// A template whose pods run for ever: they restart, and have no deadline.
pub(crate) fn check_lasting(errors: &mut ErrorList, path: &Path, template: &Value, kind: &str) {
    let (spec, path) = (&template["spec"], path.child("spec"));
    let policy = text(spec, "restartPolicy");
    if policy != "Always" {
        errors.push(Error::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if !spec["activeDeadlineSeconds"].is_null() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(Error::forbidden(&path.child("activeDeadlineSeconds"), &detail));
    }
}

fn listed(template: &Value, field: &str) -> Cell {
    let list: Vec<&str> = items(&template["spec"], "containers").iter().map(|c| text(c, field)).collect();
    list.join(",").into()
}

/// The cells of [`CONTAINERS`] and [`IMAGES`].
pub(crate) fn container_cells(template: &Value) -> [Cell; 2] {
    [listed(template, "name"), listed(template, "image")]
}

/// A label selector as tables print it.
pub(crate) fn selector_cell(selector: &Value) -> Cell {
    match LabelSelector::from_json(selector) {
        _ if selector.is_null() => "".into(),
        Ok(selector) if selector.is_everything() => super::cells::NONE.into(),
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<error>".into(),
    }
}

/// All errors of `spec.selector` and `spec.template`, as ReplicaSets and Deployments have them.
pub(crate) fn check_selected(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let selector_path = path.child("selector");
    check::workload_selector(errors, &selector_path, &spec["selector"], "deployment");
    let (template, path) = (&spec["template"], path.child("template"));
    match LabelSelector::from_json(&spec["selector"]) {
        Err(_) => {
            errors.push(Error::invalid(&selector_path, spec["selector"].clone(), "invalid label selector"))
        }
        Ok(selector) => {
            if !spec["selector"].is_null() {
                check_match(errors, &path, &selector, template);
            }
            check_template(errors, &path, template);
            check_lasting(errors, &path, template, "ReplicaSet");
        }
    }
}

/// `status` figures that may not be more than others: (figure, bound, what to call the bound).
pub(crate) fn check_bounds(errors: &mut ErrorList, status: &Value, bounds: &[(&str, &str, &str)]) {
    let path = Path::new("status");
    let of = |field: &str| status[field].as_i64().unwrap_or(0);
    for (field, bound, name) in bounds {
        if of(field) > of(bound) {
            let detail = format!("cannot be greater than {name}");
            errors.push(Error::invalid(&path.child(field), of(field), &detail));
        }
    }
}

/// `status.collisionCount` only ever grows.
pub(crate) fn check_collisions(errors: &mut ErrorList, status: &Value, old: &Value) {
    let path = Path::new("status").child("collisionCount");
    check::not_negative(errors, &path, &status["collisionCount"]);
    let of = |status: &Value| status["collisionCount"].as_i64().unwrap_or(0);
    if of(status) < of(old) {
        errors.push(Error::invalid(&path, of(status), "cannot be decremented"));
    }
}

/// A workload without labels has those of its pods.
pub(crate) fn labels_from_template(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if edit::is_empty(&object["metadata"]["labels"])
        && labels.as_object().is_some_and(|labels| !labels.is_empty())
        && let Some(metadata) = edit::child_or_new(object, "metadata")
    {
        edit::set(metadata, "labels", labels);
    }
}
