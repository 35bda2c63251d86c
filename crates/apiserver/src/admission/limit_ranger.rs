//! Pods and claims keep to the LimitRanges of their namespace, and get defaults from them.
//!
//! **Contract**: defaults of all ranges first, in the order of their names; then every bound of every range, all errors of
//! one range at once. What is updated is not held to ranges that came later, claims and resizes excepted.
//! **Upstream**: `plugin/pkg/admission/limitranger`.

use super::refusal::forbidden;
use super::{Attributes, Operation, Plugin};
use api::pod::ResourceList;
use api::quantity::Quantity;
use api::quota::{amount, amounts};
use api::status::Status;
use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The plugin.
pub(super) struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        if subject(attributes) != Some(Subject::Pod) || !object["spec"].is_object() {
            return Ok(());
        }
        for range in ranges(attributes) {
            default_pod(object, &range);
        }
        Ok(())
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let (Some(subject), Some(object)) = (subject(attributes), object) else { return Ok(()) };
        if attributes.operation == Operation::Update && !object["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        for range in ranges(attributes) {
            let errors = match subject {
                Subject::Pod => pod_errors(object, &range),
                Subject::Claim => claim_errors(object, &range),
            };
            let why = match errors.as_slice() {
                [] => continue,
                [error] => error.clone(),
                errors => format!("[{}]", errors.join(", ")),
            };
            return Err(forbidden(attributes, Some(object), &why));
        }
        Ok(())
    }
}

/// What limit ranges have a say in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Pod,
    Claim,
}

fn subject(attributes: &Attributes<'_>) -> Option<Subject> {
    if !attributes.resource.group.is_empty() {
        return None;
    }
    match (&*attributes.resource.plural, attributes.subresource, attributes.operation) {
        ("pods", "", Operation::Create) | ("pods", "resize", Operation::Update) => Some(Subject::Pod),
        ("persistentvolumeclaims", "", Operation::Create | Operation::Update) => Some(Subject::Claim),
        _ => None,
    }
}

fn ranges(attributes: &Attributes<'_>) -> Vec<Arc<Value>> {
    attributes.lookup.list("", "limitranges", attributes.namespace)
}

fn limits<'a>(range: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let limits = range["spec"]["limits"].as_array().into_iter().flatten();
    limits.filter(move |limit| limit["type"] == kind)
}

fn default_pod(pod: &mut Value, range: &Value) {
    let (mut requests, mut maxima) = (BTreeMap::new(), BTreeMap::new());
    for limit in limits(range, "Container") {
        requests.extend(limit["defaultRequest"].as_object().into_iter().flatten());
        maxima.extend(limit["default"].as_object().into_iter().flatten());
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (field, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &maxima)]
            {
                let set = fill(container, field, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        pod["metadata"]["annotations"][ANNOTATION] =
            format!("LimitRanger plugin set: {}", notes.join("; ")).into();
    }
}

/// Adds the amounts that a container does not state; returns their names.
fn fill(container: &mut Value, field: &str, defaults: &BTreeMap<&String, &Value>) -> Vec<String> {
    let known = |name: &str| !container["resources"][field][name].is_null();
    let set: Vec<String> = defaults.keys().filter(|name| !known(name)).map(|name| (*name).clone()).collect();
    if set.is_empty() {
        return set;
    }
    for path in ["", field] {
        let holder =
            if path.is_empty() { &mut container["resources"] } else { &mut container["resources"][path] };
        if !holder.is_object() {
            *holder = Value::Object(Map::new());
        }
    }
    for name in &set {
        container["resources"][field][name] = json!(defaults[name]);
    }
    set
}

fn pod_errors(pod: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in range["spec"]["limits"].as_array().into_iter().flatten() {
        match limit["type"].as_str() {
            Some("Container") => {
                for list in ["containers", "initContainers"] {
                    for container in pod["spec"][list].as_array().into_iter().flatten() {
                        let resources = &container["resources"];
                        let asked = (amounts(&resources["requests"]), amounts(&resources["limits"]));
                        check(&mut errors, limit, &asked.0, &asked.1);
                    }
                }
            }
            Some("Pod") => {
                let Ok(mut spec) = PodSpec::deserialize(&pod["spec"]) else { continue };
                spec.overhead = None; // not of the user's choosing
                check(&mut errors, limit, &api::pod::requests(&spec), &api::pod::limits(&spec));
            }
            _ => {}
        }
    }
    errors
}

fn claim_errors(claim: &Value, range: &Value) -> Vec<String> {
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let mut errors = Vec::new();
    for limit in limits(range, "PersistentVolumeClaim") {
        for (name, least) in amounts(&limit["min"]) {
            errors.extend(min_error("PersistentVolumeClaim", &name, least, &requests, &ResourceList::new()));
        }
        for (name, most) in amounts(&limit["max"]) {
            let bound = format!("maximum {name} usage per PersistentVolumeClaim is {most}");
            match requests.get(&name) {
                None => errors.push(format!("{bound}.  No request is specified")),
                Some(asked) if *asked > most => errors.push(format!("{bound}, but request is {asked}")),
                Some(_) => {}
            }
        }
    }
    errors
}

fn check(errors: &mut Vec<String>, limit: &Value, requests: &ResourceList, maxima: &ResourceList) {
    let kind = limit["type"].as_str().unwrap_or_default();
    for (name, least) in amounts(&limit["min"]) {
        errors.extend(min_error(kind, &name, least, requests, maxima));
    }
    for (name, most) in amounts(&limit["max"]) {
        let bound = format!("maximum {name} usage per {kind} is {most}");
        let (request, maximum) = (requests.get(&name), maxima.get(&name));
        errors.extend(match (request, maximum) {
            (_, None) => Some(format!("{bound}.  No limit is specified")),
            (_, Some(maximum)) if *maximum > most => Some(format!("{bound}, but limit is {maximum}")),
            (Some(request), _) if *request > most => Some(format!("{bound}, but request is {request}")),
            _ => None,
        });
    }
    for name in limit["maxLimitRequestRatio"].as_object().into_iter().flatten().map(|(name, _)| name) {
        let most = amount(&limit["maxLimitRequestRatio"][name]).unwrap_or_default();
        errors.extend(ratio_error(kind, name, most, requests.get(name), maxima.get(name)));
    }
}

fn min_error(
    kind: &str,
    name: &str,
    least: Quantity,
    requests: &ResourceList,
    maxima: &ResourceList,
) -> Option<String> {
    let bound = format!("minimum {name} usage per {kind} is {least}");
    match (requests.get(name), maxima.get(name)) {
        (None, _) => Some(format!("{bound}.  No request is specified")),
        (Some(request), _) if *request < least => Some(format!("{bound}, but request is {request}")),
        (_, Some(maximum)) if *maximum < least => Some(format!("{bound}, but limit is {maximum}")),
        _ => None,
    }
}

fn ratio_error(
    kind: &str,
    name: &str,
    most: Quantity,
    request: Option<&Quantity>,
    maximum: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("{name} max limit to request ratio per {kind} is {most}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{bound}, but no request is specified or request is 0"));
    };
    let Some(maximum) = maximum.filter(|maximum| !maximum.is_zero()) else {
        return Some(format!("{bound}, but no limit is specified or limit is 0"));
    };
    let ratio = maximum.as_f64() / request.as_f64();
    (ratio > most.as_f64()).then(|| format!("{bound}, but provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
    }

    #[test]
    fn containers_get_what_they_leave_out() {
        let range = json!({"spec": {"limits": [{"type": "Container",
            "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "500m"}}]}});
        let mut object = pod(
            json!([{"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}}]),
        );
        object["spec"]["initContainers"] = json!([{"name": "i", "resources": {"requests": {"cpu": "1"}}}]);
        default_pod(&mut object, &range);
        let containers = &object["spec"]["containers"];
        assert_eq!(
            containers[0]["resources"],
            json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}})
        );
        assert_eq!(containers[1]["resources"]["limits"], json!({"cpu": "2", "memory": "1Gi"}));
        assert_eq!(
            object["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; \
             memory limit for container b; cpu, memory limit for init container i"
        );
    }

    #[test]
    fn bounds_are_told_in_upstreams_words() {
        let with = |kind: &str, bound: &str, amounts: Value| json!({"spec": {"limits": [{"type": kind, bound: amounts}]}});
        let cpu = |request: &str, limit: &str| json!([{"name": "c", "resources": {"requests": {"cpu": request}, "limits": {"cpu": limit}}}]);
        let one = json!({"cpu": "1"});
        for (kind, bound, containers, error) in [
            ("Container", "min", cpu("2", "3"), None),
            (
                "Container",
                "min",
                json!([{"name": "c"}]),
                Some("minimum cpu usage per Container is 1.  No request is specified"),
            ),
            (
                "Container",
                "min",
                cpu("500m", "3"),
                Some("minimum cpu usage per Container is 1, but request is 500m"),
            ),
            ("Pod", "max", cpu("500m", "1"), None),
            (
                "Pod",
                "max",
                json!([{"name": "c"}]),
                Some("maximum cpu usage per Pod is 1.  No limit is specified"),
            ),
            ("Pod", "max", cpu("1", "2"), Some("maximum cpu usage per Pod is 1, but limit is 2")),
            ("Container", "maxLimitRequestRatio", cpu("1", "1"), None),
            (
                "Container",
                "maxLimitRequestRatio",
                cpu("1", "1500m"),
                Some("cpu max limit to request ratio per Container is 1, but provided ratio is 1.500000"),
            ),
            (
                "Container",
                "maxLimitRequestRatio",
                json!([{"name": "c"}]),
                Some(
                    "cpu max limit to request ratio per Container is 1, but no request is specified or request is 0",
                ),
            ),
        ] {
            let errors = pod_errors(&pod(containers), &with(kind, bound, one.clone()));
            assert_eq!(errors.first().map(String::as_str), error, "{kind} {bound}");
        }
        let claim = json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}});
        let errors = |bound: &str| {
            claim_errors(
                &claim,
                &with(
                    "PersistentVolumeClaim",
                    bound,
                    json!({"storage": if bound == "min" { "2Gi" } else { "1Mi" }}),
                ),
            )
        };
        assert_eq!(
            errors("min"),
            ["minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi"]
        );
        assert_eq!(
            errors("max"),
            ["maximum storage usage per PersistentVolumeClaim is 1Mi, but request is 1Gi"]
        );
    }

    #[test]
    fn a_pod_is_measured_as_a_whole() {
        let range = json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}});
        let mut object = pod(
            json!([{"name": "a", "resources": {"limits": {"cpu": "600m"}}}, {"name": "b", "resources": {"limits": {"cpu": "600m"}}}]),
        );
        assert_eq!(pod_errors(&object, &range), ["maximum cpu usage per Pod is 1, but limit is 1200m"]);
        object["spec"]["resources"] = json!({"limits": {"cpu": "1"}});
        assert!(pod_errors(&object, &range).is_empty());
    }
}
