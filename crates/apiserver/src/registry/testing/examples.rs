//! One small valid object of each kind, some invalid ones with their errors, and fields that may not change.

#[path = "examples/others.rs"]
mod others;
#[path = "examples/workloads.rs"]
mod workloads;

use serde_json::{Value, json};

/// What the suite needs to know of a kind.
pub(super) struct Example {
    /// The kind.
    pub(super) kind: &'static str,
    /// An object that is accepted, without kind and apiVersion.
    pub(super) valid: Value,
    /// Objects that are not, and why.
    pub(super) invalid: Vec<(Value, Vec<&'static str>)>,
    /// Changes that are refused: JSON pointer, new value, beginning of the error.
    pub(super) immutable: Vec<(&'static str, Value, &'static str)>,
}

fn example(kind: &'static str, valid: Value) -> Example {
    Example { kind, valid, invalid: Vec::new(), immutable: Vec::new() }
}

impl Example {
    fn invalid(mut self, object: Value, errors: &[&'static str]) -> Self {
        self.invalid.push((object, errors.to_vec()));
        self
    }

    fn immutable(mut self, pointer: &'static str, value: Value, error: &'static str) -> Self {
        self.immutable.push((pointer, value, error));
        self
    }
}

/// The examples, in the order of THE LIST.
pub(super) fn all() -> Vec<Example> {
    let mut all = core();
    all.extend(groups());
    all.extend(workloads::all());
    all.extend(others::all());
    all
}

fn core() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let container = json!({"name": "c", "image": "nginx:1", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "b"}],
        "resources": {"requests": {"cpu": "100m"}}, "livenessProbe": {"httpGet": {"port": 80}},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    vec![
        example("ConfigMap", json!({"metadata": meta, "immutable": true, "data": {"a": "b"}}))
            .invalid(
                json!({"metadata": meta, "data": {"a b": ""}}),
                &["data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"],
            )
            .immutable("/data/a", json!("c"), "data: Forbidden: field is immutable when `immutable` is set"),
        example(
            "Endpoints",
            json!({"metadata": meta, "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
        )
        .invalid(
            json!({"metadata": meta, "subsets": [{"addresses": [{"ip": "x"}], "ports": [{"port": 0}]}]}),
            &[
                "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        example(
            "Event",
            json!({"metadata": {"name": "example.1"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
                "reason": "Started", "message": "Container started", "type": "Normal", "count": 1,
                "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"}),
        )
        .invalid(
            json!({"metadata": meta, "involvedObject": {"namespace": "other"}}),
            &["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"],
        ),
        example("Namespace", json!({"metadata": meta})).invalid(
            json!({"metadata": meta, "spec": {"finalizers": ["x"]}}),
            &["spec.finalizers: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified"],
        ),
        example("Node", json!({"metadata": meta, "spec": {"podCIDR": "10.244.0.0/24", "providerID": "minik://a"}}))
            .invalid(
                json!({"metadata": meta, "spec": {"taints": [{"key": "a", "effect": "x"}]}}),
                &["spec.taints[0].effect: Unsupported value: \"x\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""],
            )
            .immutable(
                "/spec/providerID",
                json!("other"),
                "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
            ),
        example(
            "Pod",
            json!({"metadata": meta, "spec": {"containers": [container], "initContainers": [{"name": "i", "image": "i"}],
                "volumes": [{"name": "v", "configMap": {"name": "x"}}], "tolerations": [{"operator": "Exists"}],
                "nodeSelector": {"a": "b"}}}),
        )
        .invalid(json!({"metadata": meta, "spec": {}}), &["spec.containers: Required value"])
        .immutable(
            "/spec/restartPolicy",
            json!("Never"),
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,",
        ),
        example("Secret", json!({"metadata": meta, "data": {"a": "Yg=="}, "stringData": {"c": "d"}}))
            .invalid(
                json!({"metadata": meta, "type": "kubernetes.io/tls"}),
                &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
            )
            .immutable("/type", json!("x"), "type: Invalid value: \"x\": field is immutable"),
        example("Service", json!({"metadata": meta, "spec": {"selector": {"a": "b"}, "type": "NodePort", "ports": [{"port": 80}]}}))
            .invalid(json!({"metadata": meta, "spec": {}}), &["spec.ports: Required value"])
            .immutable(
                "/spec/clusterIPs",
                json!(["None"]),
                "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set",
            ),
        example("ServiceAccount", json!({"metadata": meta, "secrets": [{"name": "x"}]})),
    ]
}

fn groups() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let no_verbs =
        json!({"metadata": meta, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": []}]});
    let verbs = "rules[0].verbs: Required value: verbs must contain at least one value";
    let binding = |kind: &str| {
        json!({"metadata": meta, "roleRef": {"kind": kind, "name": "r"},
            "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]})
    };
    let nobody = |kind: &str| json!({"metadata": meta, "roleRef": {"kind": kind, "name": ""}});
    vec![
        example(
            "Lease",
            json!({"metadata": meta, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 40,
                "renewTime": "2026-01-01T00:00:00.000000Z"}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"leaseDurationSeconds": 0}}),
            &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        ),
        example(
            "EndpointSlice",
            json!({"metadata": meta, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
        )
        .invalid(
            json!({"metadata": meta, "addressType": "IPv4", "endpoints": [{"addresses": []}]}),
            &["endpoints[0].addresses: Required value: must contain at least 1 address"],
        )
        .immutable("/addressType", json!("FQDN"), "addressType: Invalid value: \"FQDN\": field is immutable"),
        example("ClusterRole", json!({"metadata": {"name": "system:example"}, "rules": rules})).invalid(no_verbs.clone(), &[verbs]),
        example("ClusterRoleBinding", binding("ClusterRole"))
            .invalid(nobody("ClusterRole"), &["roleRef.name: Required value"])
            .immutable("/roleRef/name", json!("x"), "roleRef: Invalid value: "),
        example("Role", json!({"metadata": meta, "rules": rules})).invalid(no_verbs, &[verbs]),
        example("RoleBinding", binding("Role"))
            .invalid(
                nobody("x"),
                &[
                    "roleRef.kind: Unsupported value: \"x\": supported values: \"Role\", \"ClusterRole\"",
                    "roleRef.name: Required value",
                ],
            )
            .immutable("/roleRef/name", json!("x"), "roleRef: Invalid value: "),
        example("PriorityClass", json!({"metadata": meta, "value": 1000}))
            .invalid(
                json!({"metadata": meta, "value": 1_000_000_001}),
                &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
            )
            .invalid(
                json!({"metadata": {"name": "system-x"}, "value": 1}),
                &["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class"],
            )
            .immutable("/value", json!(5), "value: Forbidden: may not be changed in an update."),
    ]
}
