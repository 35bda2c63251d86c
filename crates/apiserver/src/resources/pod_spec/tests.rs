//! Tables of PodSpecs: what they default to, how they are refused.

use super::*;
use api::field::{ErrorList, Path};
use serde_json::{Value, json};

fn defaulted(mut spec: Value) -> Value {
    default_pod_spec(&mut spec);
    spec
}

fn errors(spec: Value) -> Vec<String> {
    let mut errors = ErrorList::new();
    check_pod_spec(&mut errors, &Path::new("spec"), &defaulted(spec));
    errors.iter().map(ToString::to_string).collect()
}

fn with_container(container: Value) -> Value {
    let mut full = json!({"name": "c", "image": "i"});
    full.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    json!({"containers": [full]})
}

#[test]
fn fills_upstreams_defaults() {
    let spec = defaulted(json!({"containers": [{"name": "c", "image": "nginx",
        "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}, "requests": {"cpu": "100m"}},
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}}}],
        "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "x"}}]}));
    assert_eq!(
        spec,
        json!({
            "containers": [{"name": "c", "image": "nginx",
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Gi"}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"}],
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "x", "defaultMode": 420}}],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "enableServiceLinks": true, "securityContext": {}
        })
    );
    assert_eq!(defaulted(spec.clone()), spec, "idempotent");
}

#[test]
fn pulls_only_latest_again() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:v1", "IfNotPresent"),
        ("nginx@sha256:0123", "IfNotPresent"),
    ] {
        let spec = defaulted(json!({"containers": [{"name": "c", "image": image}]}));
        assert_eq!(spec["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn host_network_publishes_its_ports() {
    let spec = defaulted(json!({"hostNetwork": true,
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}));
    assert_eq!(spec["containers"][0]["ports"][0]["hostPort"], 80);
}

#[test]
fn accepts_a_rich_spec() {
    let found = errors(json!({
        "containers": [{"name": "c", "image": "i:1", "ports": [{"name": "http", "containerPort": 80}],
            "env": [{"name": "A", "value": "b"}, {"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}],
            "envFrom": [{"configMapRef": {"name": "x"}}],
            "readinessProbe": {"tcpSocket": {"port": "http"}}, "lifecycle": {"preStop": {"exec": {"command": ["a"]}}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "kube-api-access-abcde", "readOnly": true,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/lib", "type": "DirectoryOrCreate"}},
            {"name": "kube-api-access-abcde", "projected": {"sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}],
        "tolerations": [{"operator": "Exists"}, {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}}
    }));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn refuses_in_upstreams_words() {
    for (spec, expected) in [
        (json!({}), vec!["spec.containers: Required value"]),
        (
            json!({"containers": [{"name": "A", "image": ""}]}),
            vec![
                "spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "spec.containers[0].image: Required value",
            ],
        ),
        (
            json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}),
            vec!["spec.containers[1].name: Duplicate value: \"a\""],
        ),
        (
            with_container(json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}})),
            vec![
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            with_container(json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]})),
            vec!["spec.containers[0].volumeMounts[0].name: Not found: \"x\""],
        ),
        (
            with_container(json!({"env": [{"name": "a=b"}]})),
            vec![
                "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
            ],
        ),
        (
            with_container(json!({"ports": [{"containerPort": 70000}]})),
            vec![
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            with_container(json!({"imagePullPolicy": "Sometimes"})),
            vec![
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            with_container(json!({"livenessProbe": {}})),
            vec!["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i"}], "restartPolicy": "x", "tolerations": [{"value": "y"}]}),
            vec![
                "spec.restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i"}], "activeDeadlineSeconds": 0}),
            vec!["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
    ] {
        assert_eq!(errors(spec), expected);
    }
}
