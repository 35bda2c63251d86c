//! FlowSchema: which requests belong to which priority level.
//!
//! **Upstream**: `pkg/registry/flowcontrol/flowschema`, `ValidateFlowSchema`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::{items, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

/// **Upstream**: `FlowSchemaDefaultMatchingPrecedence`, `FlowSchemaMaxMatchingPrecedence`.
const DEFAULT_PRECEDENCE: i32 = 1000;
const MAX_PRECEDENCE: i64 = 10000;
const VERBS: [&str; 9] =
    ["*", "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The strategy of FlowSchemas.
pub(crate) struct FlowSchema(Resource);

impl FlowSchema {
    pub(crate) fn new() -> Self {
        let scope = Scope::Cluster;
        Self(Resource::new(super::GROUP, "v1", "FlowSchema", "flowschemas", "flowschema", scope))
    }
}

fn check_subject(errors: &mut ErrorList, path: &Path, subject: &Value) {
    let fields = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = text(subject, "kind");
    let Some((_, own)) = fields.iter().find(|(name, _)| *name == kind) else {
        errors.push(Error::not_supported(&path.child("kind"), kind, &fields.map(|(name, _)| name)));
        return;
    };
    for (name, field) in fields {
        let (body, path) = (&subject[field], path.child(field));
        if field != *own {
            if body.is_object() {
                let detail = format!("{field} is forbidden when subject kind is not '{name}'");
                errors.push(Error::forbidden(&path, &detail));
            }
            continue;
        }
        if !body.is_object() {
            errors
                .push(Error::required(&path, &format!("{field} is required when subject kind is '{name}'")));
            continue;
        }
        check::required(errors, &path.child("name"), &body["name"]);
        if kind == "ServiceAccount" {
            check::required(errors, &path.child("namespace"), &body["namespace"]);
        }
    }
}

fn check_list(errors: &mut ErrorList, path: &Path, rule: &Value, field: &str) {
    let list = items(rule, field);
    if list.is_empty() {
        errors.push(Error::required(&path.child(field), ""));
    } else if list.len() > 1 && list.iter().any(|item| item == "*") {
        let detail = "if '*' is present, must not specify other ";
        errors.push(Error::invalid(&path.child(field), rule[field].clone(), &format!("{detail}{field}")));
    }
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if field == "verbs" && path.as_str().contains("resourceRules") && !list.iter().all(known) {
        errors.push(Error::not_supported(&path.child(field), rule[field].clone(), &VERBS));
    }
}

fn check_rule(errors: &mut ErrorList, path: &Path, rule: &Value) {
    let subjects = items(rule, "subjects");
    if subjects.is_empty() {
        errors.push(Error::required(&path.child("subjects"), "subjects must contain at least one value"));
    }
    for (i, subject) in subjects.iter().enumerate() {
        check_subject(errors, &path.child("subjects").index(i), subject);
    }
    let (resources, urls) = (items(rule, "resourceRules"), items(rule, "nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(Error::required(path, detail));
    }
    for (i, resource) in resources.iter().enumerate() {
        let path = path.child("resourceRules").index(i);
        for field in ["verbs", "apiGroups", "resources"] {
            check_list(errors, &path, resource, field);
        }
        if items(resource, "namespaces").is_empty() && resource["clusterScope"] != true {
            let detail = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.push(Error::required(&path.child("namespaces"), detail));
        }
    }
    for (i, url) in urls.iter().enumerate() {
        let path = path.child("nonResourceRules").index(i);
        check_list(errors, &path, url, "verbs");
        check_list(errors, &path, url, "nonResourceURLs");
    }
}

impl Strategy for FlowSchema {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        if edit::is_empty(&spec["matchingPrecedence"]) {
            edit::set(spec, "matchingPrecedence", DEFAULT_PRECEDENCE);
        }
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let (precedence, at) =
            (spec["matchingPrecedence"].as_i64().unwrap_or(0), path.child("matchingPrecedence"));
        if precedence <= 0 {
            errors.push(Error::invalid(&at, precedence, "must be a positive value"));
        }
        if precedence > MAX_PRECEDENCE {
            errors.push(Error::invalid(&at, precedence, "must not be greater than 10000"));
        }
        if precedence == 1 && api::meta::name(object) != "exempt" {
            errors.push(Error::invalid(
                &at,
                1,
                "only the schema named 'exempt' may have matchingPrecedence 1",
            ));
        }
        let method = &spec["distinguisherMethod"];
        if method.is_object() {
            let path = path.child("distinguisherMethod").child("type");
            if !matches!(text(method, "type"), "ByUser" | "ByNamespace") {
                errors.push(Error::not_supported(&path, text(method, "type"), &["ByNamespace", "ByUser"]));
            }
        }
        let level = path.child("priorityLevelConfiguration").child("name");
        match text(&spec["priorityLevelConfiguration"], "name") {
            "" => errors.push(Error::required(&level, "must reference a priority level")),
            name => check::invalid(&mut errors, &level, &name.into(), check::subdomain(name)),
        }
        for (i, rule) in items(spec, "rules").iter().enumerate() {
            check_rule(&mut errors, &path.child("rules").index(i), rule);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("PriorityLevel", "string").field("spec.priorityLevelConfiguration.name"),
                Column::new("MatchingPrecedence", "string").field("spec.matchingPrecedence"),
                Column::new("DistinguisherMethod", "string").field("spec.distinguisherMethod"),
                cells::AGE,
                Column::new("MissingPL", "string")
                    .text("references a broken or non-existent PriorityLevelConfiguration"),
            ]
        }
    }

    fn row_order(&self) -> Option<fn(&Value) -> i64> {
        Some(|object| object["spec"]["matchingPrecedence"].as_i64().unwrap_or(0))
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        let dangling = items(&object["status"], "conditions").iter().find(|c| c["type"] == "Dangling");
        vec![
            cells::name(object),
            text(&spec["priorityLevelConfiguration"], "name").into(),
            spec["matchingPrecedence"].as_i64().unwrap_or(0).into(),
            cells::text_or_none(&spec["distinguisherMethod"]["type"]),
            cells::age(object, now),
            dangling.map_or("?", |condition| text(condition, "status")).into(),
        ]
    }
}
