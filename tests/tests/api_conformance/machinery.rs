//! sig-api-machinery: discovery, lists, watches, tables, quotas, namespaces, and the kinds that configure the server.

use super::operations::{Case, operations};
use super::wire::{MERGE, STRATEGIC, Wire, revision};
use serde_json::{Value, json};

fn flow_schema(_: &str) -> Value {
    json!({"spec": {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "example-e2e-non-existent"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}})
}

fn priority_level(_: &str) -> Value {
    json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}})
}

fn rules() -> Value {
    json!([{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["nothing"]}])
}

fn webhooks(_: &str) -> Value {
    json!({"webhooks": [{"name": "a.example.com", "rules": rules(), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore", "clientConfig": {"service": {"name": "s", "namespace": "default"}}}]})
}

fn validating_policy(_: &str) -> Value {
    json!({"spec": {"matchConstraints": {"resourceRules": rules()}, "validations": [{"expression": "true"}]}})
}

fn mutating_policy(_: &str) -> Value {
    json!({"spec": {"matchConstraints": {"resourceRules": rules()}, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}})
}

fn validating_binding(_: &str) -> Value {
    json!({"spec": {"policyName": "none.example.com", "validationActions": ["Deny"]}})
}

fn mutating_binding(_: &str) -> Value {
    json!({"spec": {"policyName": "none.example.com"}})
}

fn quota(_: &str) -> Value {
    json!({"spec": {"hard": {"cpu": "1", "memory": "500Mi"}}})
}

fn definition(name: &str) -> Value {
    let (plural, group) = name.split_once('.').expect("a definition is named plural.group");
    json!({"spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": format!("K{plural}")},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
}

fn service(name: &str) -> Value {
    let (version, group) = name.split_once('.').expect("a service is named version.group");
    json!({"spec": {"group": group, "version": version, "groupPriorityMinimum": 1000, "versionPriority": 15,
        "service": {"name": "none", "namespace": "default"}}})
}

fn autoscaler(name: &str) -> Value {
    json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}}})
}

const ADMISSION: &str = "admissionregistration.k8s.io/v1";

operations! {
    api_priority_and_fairness_should_support_flow_schema_api_operations:
        Case::new("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "flowschemas", flow_schema)
            .cluster_scoped()
            .wish(json!({"spec": {"matchingPrecedence": 9999}}))
            .status(json!({"conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}));
    api_priority_and_fairness_should_support_priority_level_configuration_api_operations:
        Case::new("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", priority_level)
            .cluster_scoped()
            .wish(json!({"spec": {"limited": {"nominalConcurrencyShares": 4}}}))
            .status(json!({"conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}));
    admission_webhook_listing_patching_and_updating_mutating_webhooks_should_work:
        Case::new(ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", webhooks).cluster_scoped();
    admission_webhook_listing_patching_and_updating_validating_webhooks_should_work:
        Case::new(ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", webhooks)
            .cluster_scoped();
    validating_admission_policy_should_support_validating_admission_policy_api_operations:
        Case::new(ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", validating_policy)
            .cluster_scoped()
            .wish(json!({"spec": {"validations": [{"expression": "1 == 1"}]}}))
            .status(json!({"observedGeneration": 1}));
    validating_admission_policy_should_support_validating_admission_policy_binding_api_operations:
        Case::new(ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", validating_binding)
            .cluster_scoped();
    mutating_admission_policy_should_support_mutating_admission_policy_api_operations:
        Case::new(ADMISSION, "MutatingAdmissionPolicy", "mutatingadmissionpolicies", mutating_policy).cluster_scoped();
    mutating_admission_policy_should_support_mutating_admission_policy_binding_api_operations:
        Case::new(ADMISSION, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", mutating_binding)
            .cluster_scoped();
    resource_quota_should_manage_the_lifecycle_of_a_resource_quota:
        Case::new("v1", "ResourceQuota", "resourcequotas", quota);
    custom_resource_definitions_are_stored_listed_and_have_a_status:
        Case::new("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", definition)
            .cluster_scoped()
            .named("ones.example.com", "twos.example.com");
    api_services_are_stored_listed_and_have_a_status:
        Case::new("apiregistration.k8s.io/v1", "APIService", "apiservices", service)
            .cluster_scoped()
            .named("v1.one.example.com", "v1.two.example.com");
    horizontal_pod_autoscalers_of_version_1: Case::new(
        "autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", autoscaler)
        .status(json!({"currentReplicas": 1, "desiredReplicas": 1}));
    horizontal_pod_autoscalers_of_version_2: Case::new(
        "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", autoscaler)
        .status(json!({"currentReplicas": 1, "desiredReplicas": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_quota_should_apply_changes_to_a_resource_quota_status() {
    let wire = Wire::start().await;
    let path = "/api/v1/namespaces/default/resourcequotas";
    let mut object = json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}});
    object["spec"] = quota("")["spec"].clone();
    wire.post(path, &object).await.ok();
    let hard = |answer: &super::wire::Answer| answer.body["status"]["hard"]["cpu"] == "1";
    wire.eventually(&format!("{path}/q"), hard).await;
    let patch = json!({"metadata": {"annotations": {"patched": "true"}}});
    wire.patch(MERGE, &format!("{path}/q/status"), &patch).await.ok();
    wire.eventually(&format!("{path}/q/status"), hard).await;
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregated_discovery_should_support_raw_aggregated_discovery_endpoint_accept_headers() {
    let wire = Wire::start().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    for path in ["/api", "/apis"] {
        let answer = wire.send("GET", path, &[("accept", accept)], Vec::new()).await;
        assert_eq!(answer.headers["content-type"], accept);
        assert_eq!(
            (&answer.body["kind"], &answer.body["apiVersion"]),
            (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"))
        );
        assert!(!answer.body["items"].as_array().expect("groups").is_empty());
        let etag = answer.headers["etag"].to_str().expect("text").to_owned();
        let again = wire.send("GET", path, &[("accept", accept), ("if-none-match", &etag)], Vec::new()).await;
        assert_eq!(again.code, 304);
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_should_validate_preferred_version_for_each_api_group() {
    let wire = Wire::start().await;
    let groups = wire.get("/apis").await.ok();
    for group in groups["groups"].as_array().expect("groups") {
        let name = group["name"].as_str().expect("a name");
        let document = wire.get(&format!("/apis/{name}")).await.ok();
        let preferred = &document["preferredVersion"]["groupVersion"];
        assert_eq!(*preferred, group["preferredVersion"]["groupVersion"]);
        let mut versions = document["versions"].as_array().into_iter().flatten();
        assert!(versions.any(|v| v["groupVersion"] == *preferred), "{name}");
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_should_locate_the_group_version_and_a_resource_within_each_api_group() {
    let wire = Wire::start().await;
    let table = [
        ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
        ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
        ("apiregistration.k8s.io/v1", "apiservices"),
        ("apps/v1", "deployments"),
        ("authentication.k8s.io/v1", "tokenreviews"),
        ("authorization.k8s.io/v1", "selfsubjectaccessreviews"),
        ("autoscaling/v1", "horizontalpodautoscalers"),
        ("autoscaling/v2", "horizontalpodautoscalers"),
        ("batch/v1", "jobs"),
        ("certificates.k8s.io/v1", "certificatesigningrequests"),
        ("coordination.k8s.io/v1", "leases"),
        ("discovery.k8s.io/v1", "endpointslices"),
        ("events.k8s.io/v1", "events"),
        ("networking.k8s.io/v1", "ingresses"),
        ("node.k8s.io/v1", "runtimeclasses"),
        ("policy/v1", "poddisruptionbudgets"),
        ("rbac.authorization.k8s.io/v1", "roles"),
        ("scheduling.k8s.io/v1", "priorityclasses"),
        ("storage.k8s.io/v1", "csinodes"),
    ];
    for (group_version, resource) in table {
        let document = wire.get(&format!("/apis/{group_version}")).await.ok();
        assert_eq!(document["groupVersion"], group_version);
        let mut resources = document["resources"].as_array().into_iter().flatten();
        assert!(resources.any(|r| r["name"] == resource), "{resource} in {group_version}");
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_validation_should_detect_unknown_and_duplicate_fields_of_a_typed_object() {
    let wire = Wire::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict";
    let body = |metadata: &str, spec: &str| {
        format!(
            r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"name":"d"{metadata}}},"spec":{{{spec}
            "selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},
            "spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}}}}}"#
        )
    };
    let headers = [("content-type", "application/json")];
    let unknown = body("", r#""unknownField":"foo","replicas":1,"replicas":2,"#);
    let refused = wire.send("POST", path, &headers, unknown.into()).await.refused(400);
    assert!(
        refused.contains(
            r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#
        ),
        "{refused}"
    );
    // And of its metadata.
    let metadata = body(r#","unknownMeta":"foo""#, "");
    let refused = wire.send("POST", path, &headers, metadata.clone().into()).await.refused(400);
    assert!(refused.contains(r#"unknown field "metadata.unknownMeta""#), "{refused}");
    let warned = wire.send("POST", path.split('?').next().expect("a path"), &headers, metadata.into()).await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"metadata.unknownMeta\"""#);
    warned.ok();
    wire.stop().await;
}

const NAMESPACES: &str = "/api/v1/namespaces";

fn namespace(name: &str) -> Value {
    json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_should_patch_a_namespace_and_apply_an_update() {
    let wire = Wire::start().await;
    wire.post(NAMESPACES, &namespace("team")).await.ok();
    let at = format!("{NAMESPACES}/team");
    let patched =
        wire.patch(STRATEGIC, &at, &json!({"metadata": {"labels": {"testLabel": "testValue"}}})).await.ok();
    assert_eq!(patched["metadata"]["labels"]["testLabel"], "testValue");
    assert_eq!(patched["metadata"]["labels"]["kubernetes.io/metadata.name"], "team");
    let updated = wire.update(&at, |n| n["metadata"]["labels"]["updated"] = "yes".into()).await;
    assert_eq!(updated["metadata"]["labels"]["updated"], "yes");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_should_apply_changes_to_a_namespace_status() {
    let wire = Wire::start().await;
    wire.post(NAMESPACES, &namespace("team")).await.ok();
    let at = format!("{NAMESPACES}/team/status");
    let condition = |message: &str| json!({"status": {"conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": message}]}});
    let patched = wire.patch(MERGE, &at, &condition("Patched by an e2e test")).await.ok();
    assert_eq!(patched["status"]["conditions"][0]["message"], "Patched by an e2e test");
    let updated = wire
        .update(&at, |n| {
            n["status"]["conditions"] = condition("Updated by an e2e test")["status"]["conditions"].clone()
        })
        .await;
    assert_eq!(updated["status"]["conditions"][0]["message"], "Updated by an e2e test");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_should_apply_a_finalizer_to_a_namespace() {
    let wire = Wire::start().await;
    let created = wire.post(NAMESPACES, &namespace("team")).await.ok();
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    let at = format!("{NAMESPACES}/team/finalize");
    let mut object = wire.get(&format!("{NAMESPACES}/team")).await.ok();
    object["spec"]["finalizers"] = json!(["kubernetes", "e2e.example.com/fakeFinalizer"]);
    let updated = wire.put(&at, &object).await.ok();
    assert_eq!(updated["spec"]["finalizers"], json!(["kubernetes", "e2e.example.com/fakeFinalizer"]));
    wire.delete(&format!("{NAMESPACES}/team")).await.ok();
    let held = |answer: &super::wire::Answer| {
        answer.body["spec"]["finalizers"] == json!(["e2e.example.com/fakeFinalizer"])
    };
    let mut object = wire.eventually(&format!("{NAMESPACES}/team"), held).await.ok();
    assert_eq!(object["status"]["phase"], "Terminating");
    object["spec"]["finalizers"] = json!([]);
    wire.put(&at, &object).await.ok();
    wire.eventually(&format!("{NAMESPACES}/team"), |answer| answer.code == 404).await;
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_should_ensure_that_all_services_are_removed_when_a_namespace_is_deleted() {
    let wire = Wire::start().await;
    wire.post(NAMESPACES, &namespace("team")).await.ok();
    let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    wire.post(&format!("{NAMESPACES}/team/services"), &service).await.ok();
    wire.delete(&format!("{NAMESPACES}/team")).await.ok();
    wire.eventually(&format!("{NAMESPACES}/team"), |answer| answer.code == 404).await;
    let services = wire.get(&format!("{NAMESPACES}/team/services")).await.ok();
    assert_eq!(services["items"], json!([]));
    wire.stop().await;
}

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";

async fn templates(wire: &Wire, count: usize) {
    for i in 0..count {
        let template = json!({"kind": "PodTemplate", "apiVersion": "v1", "metadata": {"name": format!("template-{i:04}")},
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
        wire.post(TEMPLATES, &template).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_support_for_api_chunking_should_return_chunks_of_results_for_list_calls() {
    let wire = Wire::start().await;
    templates(&wire, 40).await;
    let (mut token, mut found, mut revisions) = (String::new(), 0, Vec::new());
    loop {
        let list = wire.get(&format!("{TEMPLATES}?limit=17&continue={token}")).await.ok();
        let items = list["items"].as_array().expect("items").len();
        found += items;
        revisions.push(revision(&list));
        token = list["metadata"]["continue"].as_str().unwrap_or("").to_owned();
        assert_eq!(list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0), 40 - found as u64);
        if token.is_empty() {
            break;
        }
        assert_eq!(items, 17);
    }
    assert_eq!((found, revisions.len()), (40, 3));
    assert!(revisions.iter().all(|r| *r == revisions[0]), "{revisions:?}");
    let all = wire.get(&format!("{TEMPLATES}?limit=0")).await.ok();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(40));
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_support_for_api_chunking_should_support_continue_listing_from_the_last_key_if_compacted()
 {
    let wire = Wire::start().await;
    templates(&wire, 10).await;
    let first = wire.get(&format!("{TEMPLATES}?limit=4")).await.ok();
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    // What changes meanwhile shows in the remainder, once the first page's state is forgotten.
    wire.delete(&format!("{TEMPLATES}/template-0005")).await.ok();
    let storage = wire.cluster.storage();
    storage.compact(storage.current_revision().await.expect("a revision")).await.expect("compacted");
    let expired = wire.get(&format!("{TEMPLATES}?limit=4&continue={token}")).await;
    assert_eq!((expired.code, &expired.body["reason"]), (410, &json!("Expired")));
    let token = expired.body["metadata"]["continue"].as_str().expect("another token").to_owned();
    let rest = wire.get(&format!("{TEMPLATES}?limit=4&continue={token}")).await.ok();
    let names: Vec<&str> = rest["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|t| t["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["template-0004", "template-0006", "template-0007", "template-0008"]);
    assert!(revision(&rest) > revision(&first));
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_support_for_table_transformation_should_return_a_406_for_a_backend_without_metadata() {
    let wire = Wire::start().await;
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "services"}}});
    let headers =
        [("content-type", "application/json"), ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = wire.send("POST", path, &headers, review.to_string().into()).await;
    assert_eq!((answer.code, &answer.body["reason"]), (406, &json!("NotAcceptable")));
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_version_should_find_the_server_version() {
    let wire = Wire::start().await;
    let version = wire.get("/version").await.ok();
    assert_eq!(version["major"].as_str().map(str::len), Some(1));
    assert!(version["minor"].as_str().is_some_and(|minor| minor.bytes().all(|b| b.is_ascii_digit())));
    wire.stop().await;
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, label: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": {"watch": label}}})
}

fn selecting(label: &str) -> String {
    format!("labelSelector=watch%3D{label}")
}

async fn now(wire: &Wire) -> String {
    revision(&wire.get(MAPS).await.ok()).to_string()
}

async fn mutate(wire: &Wire, name: &str, number: u64) {
    wire.patch(MERGE, &format!("{MAPS}/{name}"), &json!({"data": {"mutation": number.to_string()}}))
        .await
        .ok();
}

fn mutation(number: &'static str) -> impl Fn(&Value) -> bool {
    move |object| object["data"]["mutation"] == number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_should_observe_add_update_and_delete_watch_notifications_on_config_maps() {
    let wire = Wire::start().await;
    let from = now(&wire).await;
    let mut a = wire.watch(MAPS, &from, &selecting("a")).await;
    let mut both = wire.watch(MAPS, &from, "labelSelector=watch%20in%20(a,b)").await;
    let mut b = wire.watch(MAPS, &from, &selecting("b")).await;
    wire.post(MAPS, &map("map-a", "a")).await.ok();
    mutate(&wire, "map-a", 1).await;
    mutate(&wire, "map-a", 2).await;
    wire.delete(&format!("{MAPS}/map-a")).await.ok();
    wire.post(MAPS, &map("map-b", "b")).await.ok();
    wire.delete(&format!("{MAPS}/map-b")).await.ok();
    let of_a = [("ADDED", "map-a"), ("MODIFIED", "map-a"), ("MODIFIED", "map-a"), ("DELETED", "map-a")];
    let of_b = [("ADDED", "map-b"), ("DELETED", "map-b")];
    for (watch, expected) in
        [(&mut a, of_a.to_vec()), (&mut b, of_b.to_vec()), (&mut both, [&of_a[..], &of_b].concat())]
    {
        for (change, name) in expected {
            let (seen, object) = watch.next().await;
            assert_eq!((seen, &object["metadata"]["name"]), (change, &json!(name)));
        }
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_should_be_able_to_start_watching_from_a_specific_resource_version() {
    let wire = Wire::start().await;
    wire.post(MAPS, &map("m", "v")).await.ok();
    mutate(&wire, "m", 1).await;
    let first = now(&wire).await;
    mutate(&wire, "m", 2).await;
    wire.delete(&format!("{MAPS}/m")).await.ok();
    let mut watch = wire.watch(MAPS, &first, &selecting("v")).await;
    let (change, object) = watch.next().await;
    assert!(change == "MODIFIED" && mutation("2")(&object), "{change} {object}");
    assert_eq!(watch.next().await.0, "DELETED");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_should_be_able_to_restart_watching_from_the_last_resource_version_observed() {
    let wire = Wire::start().await;
    let mut watch = wire.watch(MAPS, &now(&wire).await, &selecting("v")).await;
    wire.post(MAPS, &map("m", "v")).await.ok();
    mutate(&wire, "m", 1).await;
    assert_eq!(watch.next().await.0, "ADDED");
    let last = revision(&watch.next().await.1).to_string();
    drop(watch);
    mutate(&wire, "m", 2).await;
    wire.delete(&format!("{MAPS}/m")).await.ok();
    let mut watch = wire.watch(MAPS, &last, &selecting("v")).await;
    let (change, object) = watch.next().await;
    assert!(change == "MODIFIED" && mutation("2")(&object));
    assert_eq!(watch.next().await.0, "DELETED");
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_should_observe_an_object_deletion_if_it_stops_meeting_the_requirements_of_the_selector() {
    let wire = Wire::start().await;
    let mut watch = wire.watch(MAPS, &now(&wire).await, &selecting("v")).await;
    wire.post(MAPS, &map("m", "v")).await.ok();
    mutate(&wire, "m", 1).await;
    let label = |value: &str| json!({"metadata": {"labels": {"watch": value}}});
    let at = format!("{MAPS}/m");
    wire.patch(MERGE, &at, &label("other")).await.ok();
    mutate(&wire, "m", 2).await;
    wire.patch(MERGE, &at, &label("v")).await.ok();
    mutate(&wire, "m", 3).await;
    wire.delete(&at).await.ok();
    for (change, number) in [
        ("ADDED", Value::Null),
        ("MODIFIED", json!("1")),
        ("DELETED", json!("1")),
        ("ADDED", json!("2")),
        ("MODIFIED", json!("3")),
        ("DELETED", json!("3")),
    ] {
        let (seen, object) = watch.next().await;
        assert_eq!((seen, &object["data"]["mutation"]), (change, &number));
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_should_receive_events_on_concurrent_watches_in_same_order() {
    let wire = Wire::start().await;
    let from = now(&wire).await;
    let mut versions = Vec::new();
    for i in 0..20 {
        versions.push(revision(&wire.post(MAPS, &map(&format!("m{i}"), "v")).await.ok()));
        mutate(&wire, &format!("m{}", i / 2), i).await;
    }
    let mut orders = Vec::new();
    for start in std::iter::once(from).chain(versions.iter().take(5).map(u64::to_string)) {
        let mut watch = wire.watch(MAPS, &start, &selecting("v")).await;
        let mut seen = Vec::new();
        while seen.last() < versions.last() {
            seen.push(revision(&watch.next().await.1));
        }
        assert!(seen.is_sorted(), "{seen:?}");
        orders.push(seen);
    }
    for order in &orders {
        assert!(orders[0].ends_with(order), "{order:?}");
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admission_webhook_should_include_webhook_resources_in_discovery_documents() {
    let wire = Wire::start().await;
    let document = wire.get("/apis/admissionregistration.k8s.io/v1").await.ok();
    let names: Vec<&str> = document["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    for name in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        assert!(names.contains(&name), "{names:?}");
    }
    wire.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_puts_a_pod_on_its_node() {
    let wire = Wire::start().await;
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    wire.post("/api/v1/namespaces/default/pods", &pod).await.ok();
    let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = wire.post("/api/v1/namespaces/default/bindings", &binding).await;
    assert_eq!((bound.code, &bound.body["status"]), (201, &json!("Success")), "{}", bound.body);
    let pod = wire.get("/api/v1/namespaces/default/pods/p").await.ok();
    assert_eq!(pod["spec"]["nodeName"], "n");
    wire.post("/api/v1/namespaces/default/bindings", &binding).await.refused(409);
    wire.stop().await;
}
