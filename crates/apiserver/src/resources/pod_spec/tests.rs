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
fn a_stop_signal_is_dropped() {
    for (lifecycle, expected) in [
        (json!({"stopSignal": "SIGUSR1"}), Value::Null),
        (
            json!({"stopSignal": "SIGUSR1", "preStop": {"sleep": {"seconds": 1}}}),
            json!({"preStop": {"sleep": {"seconds": 1}}}),
        ),
        (json!({}), json!({})),
    ] {
        let mut spec = json!({"containers": [{"name": "c", "image": "i", "lifecycle": lifecycle}]});
        default_pod_spec(&mut spec);
        assert_eq!(spec["containers"][0]["lifecycle"], expected);
    }
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
fn sources_that_are_switched_off_are_dropped() {
    let spec = defaulted(json!({"containers": [], "volumes": [{"name": "p", "projected": {"sources": [
        {"clusterTrustBundle": {"name": "a", "path": "ca.pem"}}, {"podCertificate": {"signerName": "a/b"}},
        {"secret": {"name": "s"}}]}}]}));
    assert_eq!(spec["volumes"][0]["projected"]["sources"], json!([{}, {}, {"secret": {"name": "s"}}]));
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

#[test]
fn a_template_may_leave_its_host_ports_to_its_pods() {
    let errors_of = |ports: Value| {
        let mut spec = with_container(json!({"ports": [ports]}));
        spec["hostNetwork"] = true.into();
        default_template_spec(&mut spec);
        let mut errors = ErrorList::new();
        check_pod_spec(&mut errors, &Path::new("spec"), &spec);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(errors_of(json!({"containerPort": 80})), Vec::<String>::new());
    assert_eq!(
        errors_of(json!({"containerPort": 80, "hostPort": 81})),
        [
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"
        ]
    );
}

/// A spec with a container and these fields.
fn with_fields(fields: Value) -> Value {
    let mut spec = with_container(json!({}));
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

#[test]
fn rights_are_refused_that_nobody_can_give() {
    let own = |context: Value| with_container(json!({"securityContext": context}));
    let of_pod = |context: Value| with_fields(json!({"securityContext": context}));
    for (spec, expected) in [
        (own(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"}})), vec![]),
        (
            own(json!({"seccompProfile": {"type": "Local"}})),
            vec![
                "spec.containers[0].securityContext.seccompProfile.type: Unsupported value: \"Local\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
            ],
        ),
        (
            of_pod(json!({"seccompProfile": {"type": "Localhost"}, "appArmorProfile": {}})),
            vec![
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                "spec.securityContext.appArmorProfile.type: Required value: type is required when appArmorProfile is set",
            ],
        ),
        (
            of_pod(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}})),
            vec![
                "spec.securityContext.seccompProfile.localhostProfile: Invalid value: \"../x\": must not contain '..'",
            ],
        ),
        (
            own(json!({"appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}})),
            vec![
                "spec.containers[0].securityContext.appArmorProfile.localhostProfile: Invalid value: \"x\": can only be set when AppArmor type is Localhost",
            ],
        ),
        (
            own(json!({"procMount": "Unmasked"})),
            vec![
                "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            ],
        ),
        (
            of_pod(json!({"fsGroupChangePolicy": "Sometimes", "supplementalGroupsPolicy": "Loose"})),
            vec![
                "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnRootMismatch\"",
                "spec.securityContext.supplementalGroupsPolicy: Unsupported value: \"Loose\": supported values: \"Merge\", \"Strict\"",
            ],
        ),
        (
            with_fields(json!({"hostNetwork": true, "hostIPC": true, "securityContext": {"sysctls": [
                {"name": "net.ipv4.tcp_syncookies", "value": "1"}, {"name": "kernel/shm_rmid_forced", "value": "1"}]}})),
            vec![
                "spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.tcp_syncookies\": may not be specified when 'hostNetwork' is true",
                "spec.securityContext.sysctls[1].name: Invalid value: \"kernel/shm_rmid_forced\": may not be specified when 'hostIPC' is true",
            ],
        ),
        (
            with_fields(json!({"hostUsers": false, "hostPID": true})),
            vec!["spec.HostPID: Forbidden: when `hostUsers` is false"],
        ),
    ] {
        assert_eq!(errors(spec), expected);
    }
}

#[test]
fn wishes_that_contradict_themselves_are_refused() {
    let rules = |rules: Value| with_container(json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
    let mount = |fields: Value| {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        mount.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let mut spec = with_container(json!({"volumeMounts": [mount]}));
        spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        spec
    };
    for (spec, expected) in [
        (
            rules(
                json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0]}},
                {"action": "Restart", "exitCodes": {"operator": "In", "values": []}}]),
            ),
            vec![],
        ),
        (
            rules(
                json!([{"action": "DoNotRestart", "exitCodes": {"operator": "Equals", "values": [3]}}, {"action": "Restart"}]),
            ),
            vec![
                "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"DoNotRestart\": supported values: \"Restart\", \"RestartAllContainers\"",
                "spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Equals\": supported values: \"In\", \"NotIn\"",
                "spec.containers[0].restartPolicyRules[1].exitCodes: Required value: must be specified",
            ],
        ),
        (
            with_container(
                json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}]}),
            ),
            vec![
                "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            ],
        ),
        (
            mount(json!({"readOnly": true, "recursiveReadOnly": "Enabled", "mountPropagation": "None"})),
            vec![],
        ),
        (
            mount(json!({"recursiveReadOnly": "Enabled"})),
            vec![
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            ],
        ),
        (
            with_container(json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "Sometimes"},
                {"resourceName": "cpu", "restartPolicy": "NotRequired"}]})),
            vec![
                "spec.containers[0].resizePolicy: Unsupported value: \"Sometimes\": supported values: \"NotRequired\", \"RestartContainer\"",
                "spec.containers[0].resizePolicy[1]: Duplicate value: \"cpu\"",
            ],
        ),
        (
            with_fields(json!({"hostnameOverride": "a.b", "hostNetwork": true})),
            vec!["spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true"],
        ),
        (
            with_container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}})),
            vec![
                "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ],
        ),
        (
            with_container(
                json!({"env": [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "f", "key": "K"}}}]}),
            ),
            vec!["spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: \"v\""],
        ),
        (
            with_container(json!({"volumeDevices": [{"name": "v", "devicePath": "/dev/../x"}]})),
            vec![
                "spec.containers[0].volumeDevices[0].name: Not found: \"v\"",
                "spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/dev/../x\": can not contain backsteps ('..')",
            ],
        ),
        (
            with_fields(json!({"os": {"name": "plan9"}})),
            vec!["spec.os.name: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""],
        ),
        (
            with_fields(json!({"volumes": [{"name": "p", "projected": {"sources": [
                {"secret": {"name": "a"}, "configMap": {"name": "b"}}]}}]})),
            vec![
                "spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
            ],
        ),
    ] {
        assert_eq!(errors(spec), expected);
    }
}
