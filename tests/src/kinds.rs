//! Every kind that a server serves, from its discovery document, with an object of each to try it with.
//!
//! **Not here**: the objects themselves, which the apiserver's suite of kinds has; here they get names, and what clients need
//! to get the same object back as they wrote.

use api::schema::{FieldType, Schema};
use http::Request;
use serde_json::{Value, json};

#[path = "../../crates/apiserver/src/registry/testing/examples.rs"]
mod examples;

/// Which forms of a discovery document we want.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A kind as discovery has it.
#[derive(Debug, Clone)]
pub struct Kind {
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Path segment.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Subresources.
    pub subresources: Vec<String>,
}

/// Kinds whose objects are made when somebody asks; `tests/tests/resource_metrics.rs` does.
const COMPUTED: &str = "metrics.k8s.io";

/// Asks a server for every kind that has objects of its own, in the order of its documents.
///
/// # Panics
/// If it does not answer.
pub async fn served(client: &kube::Client) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for path in ["/api", "/apis"] {
        let request = Request::get(path).header("accept", AGGREGATED).body(Vec::new()).expect("a request");
        let document: Value = client.request(request).await.expect("discovery answers");
        for group in list(&document["items"]) {
            for version in list(&group["versions"]) {
                for resource in list(&version["resources"]) {
                    kinds.push(kind(text(&group["metadata"]["name"]), text(&version["version"]), resource));
                }
            }
        }
    }
    kinds.retain(|kind: &Kind| kind.group != COMPUTED);
    assert!(kinds.len() > 50, "discovery is complete: {}", kinds.len());
    kinds
}

fn kind(group: String, version: String, resource: &Value) -> Kind {
    Kind {
        group,
        version,
        plural: text(&resource["resource"]),
        kind: text(&resource["responseKind"]["kind"]),
        namespaced: resource["scope"] == "Namespaced",
        verbs: list(&resource["verbs"]).iter().map(text).collect(),
        subresources: list(&resource["subresources"]).iter().map(|s| text(&s["subresource"])).collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Kind {
    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.v1.apps`, `pods`: one resource and no other, for every kubectl.
    pub fn argument(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}.{}", self.plural, self.version, self.group)
        }
    }

    /// `deployment.apps`: what clients print before a name.
    pub fn printed(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { kind } else { format!("{kind}.{}", self.group) }
    }

    /// Whether it has this verb.
    pub fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// Whether objects have a status of their own.
    pub fn has_status(&self) -> bool {
        self.subresources.iter().any(|known| known == "status")
    }

    /// `Deployment`, and the group with it where two have the kind.
    pub fn label(&self) -> String {
        match (self.kind.as_str(), self.group.as_str()) {
            ("Event", "") => "Event (core)".to_owned(),
            ("HorizontalPodAutoscaler", "autoscaling") => format!("{} {}", self.kind, self.version),
            _ => self.kind.clone(),
        }
    }

    /// The path of the collection.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}", self.api_version())
        };
        let inside =
            namespace.filter(|_| self.namespaced).map_or(String::new(), |name| format!("/namespaces/{name}"));
        format!("{root}{inside}/{}", self.plural)
    }

    /// A patch of the status that one sees in the answer: JSON of the whole body.
    pub fn status_patch(&self) -> Value {
        let condition = json!({"type": "Matrix", "status": "True", "reason": "Tried", "message": "by the matrix",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = match self.kind.as_str() {
            "Ingress" => json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}),
            "CronJob" => json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}),
            "Job" => json!({"active": 1}),
            "VolumeAttachment" => json!({"attached": true}),
            "ResourceQuota" => json!({"hard": {"pods": "9"}}),
            "PersistentVolume" => json!({"phase": "Released"}),
            "ResourceClaim" => json!({"allocation": {"devices": {"results": [
                {"request": "r", "driver": "a.example.com", "pool": "p", "device": "d"}]}}}),
            "HorizontalPodAutoscaler" if self.version == "v1" => json!({"currentReplicas": 3}),
            _ if self.condition_has("reason") => json!({"conditions": [condition]}),
            _ => json!({"conditions": [{"type": "Matrix", "status": "True"}]}),
        };
        json!({"status": status})
    }

    fn condition_has(&self, field: &str) -> bool {
        let has = || {
            let ty = Schema::get().type_by_gvk(&self.group, &self.version, &self.kind)?;
            let FieldType::Ref(status) = &ty.field("status")?.ty else { return None };
            let FieldType::Array(condition) = &status.resolve().field("conditions")?.ty else { return None };
            let FieldType::Ref(condition) = &**condition else { return None };
            condition.resolve().field(field).map(|_| ())
        };
        has().is_some()
    }

    /// An object that the server accepts, called `name` where the kind leaves a choice; `number` tells apart what has none.
    ///
    /// # Panics
    /// If there is no example of the kind.
    pub fn object(&self, name: &str, namespace: &str, labels: &Value, number: u8) -> Value {
        let mut object = self.example();
        object["apiVersion"] = self.api_version().into();
        object["kind"] = self.kind.as_str().into();
        object["metadata"] = json!({"name": name, "labels": labels});
        if self.namespaced {
            object["metadata"]["namespace"] = namespace.into();
        }
        let never = json!({"matchLabels": {"never": "there"}});
        match self.kind.as_str() {
            "IPAddress" => object["metadata"]["name"] = format!("10.96.200.{number}").into(),
            "Event" if self.group.is_empty() => object["involvedObject"]["namespace"] = namespace.into(),
            "Event" => object["regarding"]["namespace"] = namespace.into(),
            "CustomResourceDefinition" => {
                let group = format!("g{number}.{}", text(&object["spec"]["group"]));
                object["metadata"]["name"] =
                    format!("{}.{group}", text(&object["spec"]["names"]["plural"])).into();
                object["spec"]["group"] = group.into();
            }
            "APIService" => {
                let group = format!("g{number}.{}", text(&object["spec"]["group"]));
                object["metadata"]["name"] = format!("{}.{group}", text(&object["spec"]["version"])).into();
                object["spec"]["group"] = group.into();
            }
            // What would judge the others' objects.
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
                for webhook in object["webhooks"].as_array_mut().expect("it has some") {
                    webhook["objectSelector"] = never.clone();
                }
            }
            "MutatingAdmissionPolicy" | "ValidatingAdmissionPolicy" => {
                object["spec"]["matchConstraints"]["objectSelector"] = never;
            }
            // Written, not read: whoever applies it twice changes it twice.
            "Secret" => drop(object.as_object_mut().expect("an object").remove("stringData")),
            _ => {}
        }
        canonical(&mut object);
        object
    }

    fn example(&self) -> Value {
        match (self.group.as_str(), self.version.as_str(), self.kind.as_str()) {
            ("events.k8s.io", _, "Event") => json!({
                "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "Started", "action": "Start", "type": "Normal",
                "note": "Container started", "reportingController": "example.com/c", "reportingInstance": "c-1",
                "regarding": {"kind": "Pod", "name": "p"}}),
            ("autoscaling", "v1", _) => json!({"spec": {"maxReplicas": 3,
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}),
            _ => {
                let found = examples::all().into_iter().find(|example| example.kind == self.kind);
                found.unwrap_or_else(|| panic!("no example of {}", self.kind)).valid
            }
        }
    }
}

/// Amounts as the server writes them: an applier that reads others finds a difference each time.
fn canonical(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(canonical),
        Value::Array(items) => items.iter_mut().for_each(canonical),
        Value::String(text) => {
            for (other, ours) in [("1000m", "1"), ("0.1", "100m"), ("1024Mi", "1Gi")] {
                if text == other {
                    ours.clone_into(text);
                }
            }
        }
        _ => {}
    }
}

/// The questions: kinds that are created and answered, but not stored.
pub fn question(kind: &str, namespace: &str) -> Option<Value> {
    let access = json!({"namespace": namespace, "verb": "get", "resource": "pods"});
    Some(match kind {
        "TokenReview" => json!({"spec": {"token": "none"}}),
        "SelfSubjectReview" => json!({}),
        "SelfSubjectAccessReview" => json!({"spec": {"resourceAttributes": access}}),
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            json!({"spec": {"user": "jane", "resourceAttributes": access}})
        }
        "SelfSubjectRulesReview" => json!({"spec": {"namespace": namespace}}),
        _ => return None,
    })
}
