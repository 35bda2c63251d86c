//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy, each behaviour under its name in the official suite.
//!
//! **Upstream**: `test/e2e/apimachinery/{validatingadmissionpolicy,mutatingadmissionpolicy}.go`.

use kube::Client;
use minik::Cluster;
use serde_json::{Value, json};
use testkit::{eventually, eventually_some};
use tests::DEADLINE;
use tests::raw::{create, delete, get, merge, message, text};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::builder().nodes(0).start().await.expect("it starts");
    let client = cluster.client();
    tests::settled(&client).await;
    (cluster, client)
}

fn rules(groups: &[&str], resources: &[&str]) -> Value {
    let rule = json!({"operations": ["CREATE", "UPDATE"], "apiGroups": groups, "apiVersions": ["*"], "resources": resources});
    json!({"resourceRules": [rule]})
}

/// Creates a policy of this kind with these fields, and a binding of it.
async fn policy(client: &Client, kind: &str, name: &str, mut spec: Value, mut binding: Value) {
    if spec["matchConstraints"].is_null() {
        spec["matchConstraints"] = rules(&[""], &["configmaps"]);
    }
    let path = format!("{GROUP}/{kind}admissionpolicies");
    create(client, &path, &json!({"metadata": {"name": name}, "spec": spec})).await.expect("a policy");
    binding["policyName"] = name.into();
    if kind == "validating" && binding["validationActions"].is_null() {
        binding["validationActions"] = json!(["Deny"]);
    }
    let path = format!("{GROUP}/{kind}admissionpolicybindings");
    create(client, &path, &json!({"metadata": {"name": format!("{name}-binding")}, "spec": binding}))
        .await
        .expect("a binding");
}

fn deployment(name: &str, replicas: i64) -> Value {
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "template": template,
        "selector": {"matchLabels": {"a": "b"}}}})
}

fn map(name: &str, data: &Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_validate_against_a_deployment() {
    let (cluster, client) = cluster().await;
    let spec = json!({"matchConstraints": rules(&["apps"], &["deployments"]), "validations": [
        {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name == 'default'", "message": "wrong namespace"}]});
    policy(&client, "validating", "replicas", spec, json!({})).await;
    create(&client, DEPLOYMENTS, &deployment("good", 2)).await.expect("allowed");
    let refused = create(&client, DEPLOYMENTS, &deployment("bad", 1)).await.expect_err("a refusal");
    assert_eq!(
        refused["message"],
        "deployments.apps \"bad\" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'replicas-binding' denied request: wants replicas > 1, got 1"
    );
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(422), &json!("Invalid")));
    // Whoever takes the binding away lets everything through again.
    delete(&client, &format!("{GROUP}/validatingadmissionpolicybindings/replicas-binding"))
        .await
        .expect("deleted");
    create(&client, DEPLOYMENTS, &deployment("bad", 1)).await.expect("allowed");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_allow_expressions_to_refer_variables() {
    let (cluster, client) = cluster().await;
    let spec = json!({"matchConstraints": rules(&["apps"], &["deployments"]),
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
            {"name": "broken", "expression": "object.spec.missing.deeper"}],
        "validations": [
            {"expression": "variables.replicas > 1"},
            {"expression": "variables.oddReplicas", "reason": "Forbidden"},
            {"expression": "variables.replicas < 7 || variables.broken == 1"}]});
    policy(&client, "validating", "odd", spec, json!({})).await;
    create(&client, DEPLOYMENTS, &deployment("odd", 3)).await.expect("allowed");
    let refused = create(&client, DEPLOYMENTS, &deployment("even", 2)).await.expect_err("a refusal");
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(403), &json!("Forbidden")));
    assert!(
        refused["message"]
            .as_str()
            .is_some_and(|m| m.ends_with("denied request: failed expression: variables.oddReplicas")),
        "{refused}"
    );
    let failed = message(create(&client, DEPLOYMENTS, &deployment("many", 9)).await);
    assert!(
        failed.ends_with(
            "expression 'variables.replicas < 7 || variables.broken == 1' resulted in error: composited variable \"broken\" \
             fails to evaluate: expression 'object.spec.missing.deeper' resulted in error: no such key: missing"
        ),
        "{failed}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_gives_parameters_and_says_what_becomes_of_none() {
    let (cluster, client) = cluster().await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "no-params", "expression": "object.metadata.name != 'limit' && !('limit' in object.?metadata.?labels.orValue({}))"}],
        "validations": [{"expression": "size(object.data) <= int(params.data.limit)",
            "messageExpression": "'at most ' + params.data.limit + ' by ' + params.metadata.name"}]});
    let reference = json!({"paramRef": {"name": "limit", "parameterNotFoundAction": "Deny"}});
    policy(&client, "validating", "limited", spec, reference).await;
    let two = map("two", &json!({"a": "1", "b": "2"}));
    let refused = message(create(&client, MAPS, &two).await);
    assert!(refused.ends_with("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"), "{refused}");
    // The binding that wants a parameter concerns the parameter itself, too; it is let go for a moment.
    let binding = format!("{GROUP}/validatingadmissionpolicybindings/limited-binding");
    let allow = json!({"spec": {"paramRef": {"parameterNotFoundAction": "Allow"}}});
    merge(&client, &binding, &allow).await.expect("patched");
    create(&client, MAPS, &map("limit", &json!({"limit": "1"}))).await.expect("nothing to hold it against");
    assert!(message(create(&client, MAPS, &two).await).ends_with("at most 1 by limit"));
    // By a selector there may be several, all of which must be content.
    let selected =
        json!({"spec": {"paramRef": {"name": null, "selector": {"matchLabels": {"limit": "yes"}}}}});
    merge(&client, &binding, &selected).await.expect("patched");
    create(&client, MAPS, &two).await.expect("nothing is selected");
    let mut other = map("other-limit", &json!({"limit": "0"}));
    other["metadata"]["labels"] = json!({"limit": "yes"});
    create(&client, MAPS, &other).await.expect("created");
    let refused = message(create(&client, MAPS, &map("one", &json!({"a": "1"}))).await);
    assert!(refused.ends_with("at most 0 by other-limit"), "{refused}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_says_what_a_failure_means_and_where() {
    let (cluster, client) = cluster().await;
    let spec = json!({"validations": [{"expression": "has(object.data)", "message": "no data"}]});
    let where_ = json!({"validationActions": ["Warn", "Audit"], "matchResources": {"namespaceSelector": {"matchLabels": {"team": "a"}}}});
    policy(&client, "validating", "warns", spec, where_).await;
    let namespace = json!({"metadata": {"name": "team-a", "labels": {"team": "a"}}});
    create(&client, "/api/v1/namespaces", &namespace).await.expect("a namespace");
    for (namespace, warned) in [("team-a", true), ("default", false)] {
        let request = http::Request::post(format!("/api/v1/namespaces/{namespace}/configmaps"))
            .header("content-type", "application/json")
            .body(kube::client::Body::from(br#"{"metadata": {"name": "m"}}"#.to_vec()))
            .expect("a request");
        let response = client.send(request).await.expect("an answer");
        assert_eq!(response.status(), 201);
        let warning = response.headers().get("warning").and_then(|value| value.to_str().ok());
        let text = "299 - \"Validation failed for ValidatingAdmissionPolicy 'warns' with binding 'warns-binding': no data\"";
        assert_eq!(warning, warned.then_some(text), "{namespace}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_may_ask_what_else_the_user_may_do() {
    let (cluster, client) = cluster().await;
    let spec = json!({"validations": [
        {"expression": "authorizer.group('').resource('secrets').namespace('default').check('list').allowed()", "message": "no reader of secrets"},
        {"expression": "authorizer.requestResource.check('delete').allowed() && request.userInfo.groups.exists(g, g == 'system:authenticated')"}]});
    policy(&client, "validating", "privileged", spec, json!({})).await;
    create(&client, MAPS, &map("mine", &json!({}))).await.expect("an administrator may");
    let role = json!({"metadata": {"name": "maps"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    create(&client, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role)
        .await
        .expect("a role");
    let binding = json!({"metadata": {"name": "maps"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "somebody"}]});
    create(&client, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding)
        .await
        .expect("a binding");
    let somebody = cluster.client_as("somebody", &[]);
    let refused = message(create(&somebody, MAPS, &map("theirs", &json!({}))).await);
    assert!(refused.ends_with("denied request: no reader of secrets"), "{refused}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_compile_is_refused_and_failures_may_be_ignored() {
    let (cluster, client) = cluster().await;
    let bad = |spec: Value| json!({"metadata": {"name": "bad"}, "spec": spec});
    let path = format!("{GROUP}/validatingadmissionpolicies");
    let constraints = rules(&[""], &["configmaps"]);
    for (validation, text) in [
        (
            json!({"expression": "object."}),
            "spec.validations[0].expression: Invalid value: \"object.\": compilation failed: ERROR: <input>:1:",
        ),
        (json!({"expression": "params.x"}), "undeclared reference to 'params' (in container '')"),
        (json!({"expression": "1 + 1"}), "must evaluate to bool but got int"),
        (json!({"expression": "object.spec.paused"}), "must evaluate to bool but got dyn"),
        (
            json!({"expression": "request.userInfo.nope == 'x'"}),
            "ERROR: <input>:1:17: undefined field 'nope'",
        ),
        (json!({"expression": "variables.size == 1"}), "1:10: undefined field 'size'"),
        (
            json!({"expression": "true", "messageExpression": "true"}),
            "spec.validations[0].messageExpression: Invalid value: \"true\": must evaluate to string",
        ),
    ] {
        let variables = json!([{"name": "number", "expression": "1"}]);
        let spec =
            json!({"matchConstraints": constraints, "variables": variables, "validations": [validation]});
        let refused = message(create(&client, &path, &bad(spec)).await);
        assert!(refused.contains(text), "{refused}");
    }
    let path = format!("{GROUP}/mutatingadmissionpolicies");
    for (kind, field, expression, text) in [
        (
            "ApplyConfiguration",
            "applyConfiguration",
            "{'spec': 1}",
            "must evaluate to Object but got map(string, int)",
        ),
        (
            "JSONPatch",
            "jsonPatch",
            "JSONPatch{op: 'add'}",
            "must evaluate to list(JSONPatch) but got JSONPatch",
        ),
        (
            "JSONPatch",
            "jsonPatch",
            "[JSONPatch{op: variables.number}]",
            "expected type of field 'op' is 'string'",
        ),
    ] {
        let mutation = json!({"patchType": kind, field: {"expression": expression}});
        let spec = json!({"matchConstraints": constraints, "reinvocationPolicy": "Never", "mutations": [mutation],
            "variables": [{"name": "number", "expression": "1"}]});
        let refused = message(create(&client, &path, &bad(spec)).await);
        assert!(refused.contains(text), "{refused}");
    }
    let spec =
        json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.data.missing == 'x'"}]});
    policy(&client, "validating", "ignores", spec, json!({})).await;
    create(&client, MAPS, &map("m", &json!({"a": "b"}))).await.expect("failures are ignored");
    let refused = message(create(&client, MAPS, &map("n", &json!({"missing": "y"}))).await);
    assert!(refused.ends_with("failed expression: object.data.missing == 'x'"), "{refused}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_what_expressions_get_wrong_about_the_kinds_they_match() {
    let (cluster, client) = cluster().await;
    let definition = json!({"metadata": {"name": "foos.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                "properties": {"replicas": {"type": "integer"}, "name": {"type": "string"}}}}}}}]}});
    create(&client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition)
        .await
        .expect("a definition");
    eventually(DEADLINE, async || get(&client, "/apis/example.org/v1/foos").await.is_ok()).await;
    let mut constraints = rules(&["apps", "example.org"], &["deployments", "foos"]);
    constraints["resourceRules"][0]["apiVersions"] = json!(["v1"]);
    let spec = json!({"matchConstraints": constraints, "validations": [
        {"expression": "object.spec.replicas > 1 && 'x' in object.metadata.labels"},
        {"expression": "object.spec.nope > 1", "messageExpression": "'not ' + object.spec.name"}]});
    policy(&client, "validating", "typed", spec, json!({})).await;
    let path = format!("{GROUP}/validatingadmissionpolicies/typed");
    let seen = eventually_some(DEADLINE, async || {
        let policy = get(&client, &path).await.ok()?;
        (policy["status"]["observedGeneration"] == 1).then_some(policy)
    })
    .await;
    let warnings = &seen["status"]["typeChecking"]["expressionWarnings"];
    assert_eq!(warnings.as_array().map(Vec::len), Some(2), "{warnings}");
    assert_eq!(warnings[0]["fieldRef"], "spec.validations[1].expression");
    assert_eq!(
        warnings[0]["warning"],
        "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nope'\n | object.spec.nope > 1\n | ...........^\n\n\
         example.org/v1, Kind=Foo: ERROR: <input>:1:12: undefined field 'nope'\n | object.spec.nope > 1\n | ...........^\n"
    );
    assert_eq!(warnings[1]["fieldRef"], "spec.validations[1].messageExpression");
    // Nothing is wrong with the next generation.
    merge(&client, &path, &json!({"spec": {"validations": [{"expression": "object.spec.replicas > 1"}]}}))
        .await
        .expect("patched");
    let seen = eventually_some(DEADLINE, async || {
        let policy = get(&client, &path).await.ok()?;
        (policy["status"]["observedGeneration"] == 2).then_some(policy)
    })
    .await;
    assert_eq!(seen["status"]["typeChecking"], json!({}));
    // Verdicts are counted.
    create(&client, DEPLOYMENTS, &deployment("few", 1)).await.expect_err("a refusal");
    let metrics = text(&client, "/metrics").await;
    let counted = |line: &str| {
        line.starts_with("apiserver_validating_admission_policy_check_total{")
            && [
                "policy=\"typed\"",
                "policy_binding=\"typed-binding\"",
                "enforcement_action=\"deny\"",
                "error_type=\"no_error\"",
            ]
            .iter()
            .all(|label| line.contains(label))
    };
    assert!(metrics.lines().any(counted), "no such line among the metrics");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn should_mutate_a_deployment() {
    let (cluster, client) = cluster().await;
    let apply = "Object{metadata: Object.metadata{annotations: {'by': 'policy'}}, spec: Object.spec{replicas: object.spec.replicas + 1, \
        template: Object.spec.template{spec: Object.spec.template.spec{\
        containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{name: c.name, imagePullPolicy: 'Never'})}}}}";
    let patch = "[JSONPatch{op: 'test', path: '/spec/replicas', value: 3}, JSONPatch{op: 'add', path: '/metadata/labels', value: {'size': string(object.spec.replicas)}}]";
    let spec = json!({"matchConstraints": rules(&["apps"], &["deployments"]), "reinvocationPolicy": "Never",
        "matchConditions": [{"name": "small", "expression": "object.spec.replicas < 10"}],
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": apply}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}]});
    policy(&client, "mutating", "grows", spec, json!({})).await;
    let made = create(&client, DEPLOYMENTS, &deployment("d", 2)).await.expect("created");
    assert_eq!(
        (&made["spec"]["replicas"], &made["metadata"]["annotations"]["by"]),
        (&json!(3), &json!("policy"))
    );
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["imagePullPolicy"]), (&json!("i"), &json!("Never")));
    assert_eq!(made["metadata"]["labels"], json!({"size": "3"}));
    // A test in a patch that fails is no failure.
    let made = create(&client, DEPLOYMENTS, &deployment("e", 5)).await.expect("created");
    assert_eq!((&made["spec"]["replicas"], &made["metadata"]["labels"]), (&json!(6), &Value::Null));
    let big = create(&client, DEPLOYMENTS, &deployment("f", 10)).await.expect("created");
    assert_eq!(big["spec"]["replicas"], 10);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_that_would_lose_something_is_refused() {
    let (cluster, client) = cluster().await;
    let apply = |expression: &str| {
        json!({"matchConstraints": rules(&["apps"], &["deployments"]), "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]})
    };
    let atomic = "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'c'}}}}";
    policy(&client, "mutating", "loses", apply(atomic), json!({})).await;
    let refused = message(create(&client, DEPLOYMENTS, &deployment("d", 1)).await);
    assert_eq!(
        refused,
        "policy 'loses' with binding 'loses-binding' denied request: error applying patch: invalid ApplyConfiguration: \
         may not mutate atomic arrays, maps or structs: .spec.selector"
    );
    let path = format!("{GROUP}/mutatingadmissionpolicies/loses");
    let wrong = apply("Object{spec: Object.wrong{replicas: 1}}");
    merge(&client, &path, &json!({"spec": wrong})).await.expect("patched");
    let refused = message(create(&client, DEPLOYMENTS, &deployment("d", 1)).await);
    assert!(
        refused.contains("type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\""),
        "{refused}"
    );
    assert!(get(&client, DEPLOYMENTS).await.expect("a list")["items"].as_array().is_some_and(Vec::is_empty));
    cluster.stop().await;
}
