//! Which requests match, as tables.

use super::*;
use crate::admission::{Alone, Lookup, Outcome, Sent};
use crate::auth::UserInfo;
use api::kind::{Resource, Scope as KindScope};
use component_base::Rng;
use serde_json::json;
use std::sync::Arc;

/// Namespace `n`, labelled `team: a`.
struct Namespaces;

impl Lookup for Namespaces {
    fn get(&self, _: &str, plural: &str, _: &str, name: &str) -> Option<Arc<Value>> {
        let found = plural == "namespaces" && name == "n";
        found.then(|| Arc::new(json!({"metadata": {"name": "n", "labels": {"team": "a"}}})))
    }

    fn list(&self, _: &str, _: &str, _: &str) -> Vec<Arc<Value>> {
        Vec::new()
    }
}

/// Whether, and in which form, a request for a resource matches.
fn matched(
    criteria: Value,
    (resource, subresource): (&Resource, &str),
    (namespace, operation): (&str, Operation),
    object: Option<Value>,
) -> Result<Option<usize>, String> {
    let (rng, user) = (Rng::seeded(1), UserInfo::default());
    let forms = ["v1", "v2"].map(|version| {
        let mut resource = resource.clone();
        resource.version = version.into();
        Form::of(&resource)
    });
    let attributes = Attributes {
        operation,
        resource,
        subresource,
        namespace,
        name: "x",
        user: &user,
        dry_run: false,
        now: jiff::Timestamp::UNIX_EPOCH,
        rng: &rng,
        lookup: &Namespaces,
        old: None,
        revision: 0,
        forms: &Alone(forms[0].clone()),
        sent: Sent::Nothing,
        reinvocation: crate::admission::Reinvocation::default(),
        outcome: Outcome::default(),
    };
    let criteria = Criteria::of_policy(&criteria);
    criteria.matches(&attributes, object.as_ref(), &forms).map_err(|status| status.message)
}

fn widgets() -> Resource {
    Resource::new("test.io", "v1", "Widget", "widgets", "widget", KindScope::Namespaced)
}

fn rule(operations: &[&str], version: &str, resource: &str) -> Value {
    json!({"operations": operations, "apiGroups": ["test.io"], "apiVersions": [version], "resources": [resource]})
}

#[test]
fn a_rule_names_operation_version_resource_and_subresource() {
    use Operation::{Connect, Create, Update};
    let table = [
        (rule(&["CREATE"], "v1", "widgets"), "", Create, Some(0)),
        (rule(&["CREATE"], "v1", "widgets"), "", Update, None),
        (rule(&["*"], "*", "*"), "", Update, Some(0)),
        (rule(&["*"], "*", "*"), "status", Update, None),
        (rule(&["*"], "*", "*/*"), "status", Update, Some(0)),
        (rule(&["*"], "*", "widgets/exec"), "exec", Connect, Some(0)),
        (rule(&["*"], "*", "*/exec"), "exec", Connect, Some(0)),
        (rule(&["*"], "*", "gadgets"), "", Create, None),
        // Another version of the same objects is as good.
        (rule(&["*"], "v2", "widgets"), "", Create, Some(1)),
    ];
    for (rule, subresource, operation, expected) in table {
        let criteria = json!({"resourceRules": [rule.clone()]});
        let found = matched(criteria, (&widgets(), subresource), ("n", operation), Some(json!({})));
        assert_eq!(found, Ok(expected), "{rule} {subresource}");
    }
    let exact = json!({"matchPolicy": "Exact", "resourceRules": [rule(&["*"], "v2", "widgets")]});
    assert_eq!(matched(exact, (&widgets(), ""), ("n", Create), Some(json!({}))), Ok(None));
    let except = json!({"resourceRules": [rule(&["*"], "*", "*")], "excludeResourceRules": [rule(&["*"], "v1", "widgets")]});
    assert_eq!(matched(except, (&widgets(), ""), ("n", Create), Some(json!({}))), Ok(None));
    let mut named = rule(&["*"], "*", "*");
    named["resourceNames"] = json!(["y"]);
    assert_eq!(matched(json!({"resourceRules": [named]}), (&widgets(), ""), ("n", Create), None), Ok(None));
}

#[test]
fn scope_tells_namespaces_from_what_is_in_them() {
    let namespaces = Resource::new("", "v1", "Namespace", "namespaces", "namespace", KindScope::Cluster);
    let table = [("Cluster", true, false), ("Namespaced", false, true), ("*", true, true)];
    for (scope, cluster, namespaced) in table {
        let mut rule =
            json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
        rule["scope"] = scope.into();
        let criteria = json!({"resourceRules": [rule]});
        let of = |resource: &Resource, namespace: &str| {
            let what = (namespace, Operation::Delete);
            matched(criteria.clone(), (resource, ""), what, None).unwrap().is_some()
        };
        assert_eq!((of(&namespaces, "x"), of(&widgets(), "n")), (cluster, namespaced), "{scope}");
    }
}

#[test]
fn selectors_look_at_the_object_and_its_namespace() {
    let all = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
    let found = |selector: &str, labels: Value, namespace: &str, object: Value| {
        let mut criteria = json!({"resourceRules": all});
        criteria[selector] = json!({"matchLabels": labels});
        matched(criteria, (&widgets(), ""), (namespace, Operation::Create), Some(object))
    };
    let red = json!({"metadata": {"labels": {"color": "red"}}});
    assert_eq!(found("objectSelector", json!({"color": "red"}), "n", red.clone()), Ok(Some(0)));
    assert_eq!(found("objectSelector", json!({"color": "blue"}), "n", red.clone()), Ok(None));
    assert_eq!(found("namespaceSelector", json!({"team": "a"}), "n", red.clone()), Ok(Some(0)));
    assert_eq!(found("namespaceSelector", json!({"team": "b"}), "n", red.clone()), Ok(None));
    let lost = found("namespaceSelector", json!({"team": "a"}), "gone", red.clone());
    assert_eq!(lost, Err("namespaces \"gone\" not found".to_owned()));
    // What is in no namespace is never exempt.
    assert_eq!(found("namespaceSelector", json!({"team": "b"}), "", red), Ok(Some(0)));
}
