//! Examples of the smaller groups.

use super::{Example, example};
use serde_json::json;

pub(super) fn all() -> Vec<Example> {
    let mut all = certificates();
    all.extend(admission());
    all.extend(extension());
    all.extend(networking());
    all.extend(scheduling());
    all.extend(storage());
    all.extend(devices());
    all
}

fn extension() -> Vec<Example> {
    let meta = json!({"name": "examples.example.com"});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}});
    let spec = json!({"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "examples", "kind": "Example"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]});
    let local =
        json!({"group": "example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15});
    vec![
        example("CustomResourceDefinition", json!({"metadata": meta, "spec": spec}))
            .invalid(
                json!({"metadata": meta, "spec": {"names": {"plural": "examples"}, "group": "example.com", "scope": "World"}}),
                &[
                    "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
                    "spec.versions: Invalid value: []: must have exactly one version marked as storage version",
                    "spec.names.singular: Required value",
                    "spec.names.kind: Required value",
                    "spec.names.listKind: Required value",
                    "status.storedVersions: Invalid value: []: must have at least one stored version",
                ],
            )
            .immutable("/spec/group", json!("example.org"), "spec.group: Invalid value: \"example.org\": field is immutable"),
        example("APIService", json!({"metadata": {"name": "v1.example.com"}, "spec": local})).invalid(
            json!({"metadata": {"name": "x"}, "spec": {"group": "example.com", "version": "v1", "versionPriority": 2000,
                "service": {"name": "s"}, "insecureSkipTLSVerify": true, "caBundle": "YQ=="}}),
            &[
                "metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\"",
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 2000: must be positive and less than 1000",
                "spec.service.namespace: Required value",
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ],
        ),
    ]
}

fn admission() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let rules =
        json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
    let webhooks = json!([{"name": "a.example.com", "clientConfig": {"service": {"name": "s", "namespace": "n"}},
        "rules": rules, "sideEffects": "None", "admissionReviewVersions": ["v1"]}]);
    let bad = json!([{"name": "a", "clientConfig": {}, "timeoutSeconds": 31}]);
    let wrong = [
        "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots",
        "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
        "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
        "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
    ];
    let matching = json!({"resourceRules": rules});
    let binding = json!({"policyName": "p", "paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}});
    let mut validating = binding.clone();
    validating["validationActions"] = json!(["Deny"]);
    vec![
        example("MutatingWebhookConfiguration", json!({"metadata": meta, "webhooks": webhooks}))
            .invalid(json!({"metadata": meta, "webhooks": bad}), &wrong),
        example("ValidatingWebhookConfiguration", json!({"metadata": meta, "webhooks": webhooks}))
            .invalid(json!({"metadata": meta, "webhooks": bad}), &wrong),
        example(
            "MutatingAdmissionPolicy",
            json!({"metadata": meta, "spec": {"matchConstraints": matching, "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/spec/x'}]"}}]}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"reinvocationPolicy": "Never"}}),
            &["spec.matchConstraints: Required value", "spec.mutations: Required value: mutations must contain at least one item"],
        ),
        example(
            "ValidatingAdmissionPolicy",
            json!({"metadata": meta, "spec": {"matchConstraints": matching, "validations": [{"expression": "true"}]}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"matchConstraints": matching, "validations": [{"expression": " "}]}}),
            &["spec.validations[0].expression: Required value: expression is not specified"],
        ),
        example("MutatingAdmissionPolicyBinding", json!({"metadata": meta, "spec": binding}))
            .invalid(json!({"metadata": meta, "spec": {}}), &["spec.policyName: Required value"]),
        example("ValidatingAdmissionPolicyBinding", json!({"metadata": meta, "spec": validating})).invalid(
            json!({"metadata": meta, "spec": {"policyName": "p", "validationActions": ["Deny", "Warn"]}}),
            &["spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"],
        ),
    ]
}

fn networking() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    vec![
        example(
            "Ingress",
            json!({"metadata": meta, "spec": {"ingressClassName": "c", "tls": [{"hosts": ["a.example.com"]}], "rules": [
                {"host": "*.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {}}),
            &["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
        )
        .invalid(
            json!({"metadata": meta, "spec": {"rules": [{"host": "10.0.0.1", "http": {"paths": [
                {"path": "x//y", "pathType": "Exact", "backend": {}}]}}]}}),
            &[
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
                "spec.rules[0].http.paths[0].path: Invalid value: \"x//y\": must be an absolute path",
                "spec.rules[0].http.paths[0].path: Invalid value: \"x//y\": must not contain '//'",
                "spec.rules[0].http.paths[0].backend: Invalid value: \"\": resource or service backend is required",
            ],
        ),
        example(
            "IngressClass",
            json!({"metadata": meta, "spec": {"controller": "example.com/c", "parameters": {"kind": "K", "name": "n"}}}),
        )
        .invalid(json!({"metadata": meta, "spec": {}}), &["spec.controller: Required value"])
        .immutable("/spec/controller", json!("example.com/d"), "spec.controller: Invalid value: \"example.com/d\": field is immutable"),
        example(
            "IPAddress",
            json!({"metadata": {"name": "10.96.0.7"}, "spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "n"}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {}}),
            &[
                "metadata.name: Invalid value: \"example\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.parentRef: Required value",
            ],
        )
        .immutable("/spec/parentRef/name", json!("x"), "spec.parentRef: Invalid value: "),
        example(
            "NetworkPolicy",
            json!({"metadata": meta, "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "ingress": [{"ports": [{"port": 80}],
                "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"egress": [{"to": [{}], "ports": [{"port": 80, "endPort": 70}]}]}}),
            &[
                "spec.egress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`",
                "spec.egress[0].to[0]: Required value: must specify a peer",
            ],
        ),
        example("ServiceCIDR", json!({"metadata": meta, "spec": {"cidrs": ["10.97.0.0/16"]}}))
            .invalid(json!({"metadata": meta, "spec": {}}), &["spec.cidrs: Required value: at least one CIDR required"])
            .immutable("/spec/cidrs", json!(["10.98.0.0/16"]), "spec.cidrs: Invalid value: [\"10.98.0.0/16\"]: field is immutable"),
    ]
}

fn scheduling() -> Vec<Example> {
    let meta = json!({"name": "example"});
    vec![
        example(
            "PodDisruptionBudget",
            json!({"metadata": meta, "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"minAvailable": "101%"}}),
            &["spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"],
        ),
        example(
            "HorizontalPodAutoscaler",
            json!({"metadata": meta, "spec": {"maxReplicas": 3, "behavior": {"scaleDown": {}},
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"minReplicas": 0, "maxReplicas": 0, "scaleTargetRef": {"kind": "Deployment"},
                "metrics": [{"type": "Resource"}]}}),
            &[
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.scaleTargetRef.name: Required value",
                "spec.metrics[0].resource: Required value: must populate information for the given metric source",
            ],
        ),
        example("RuntimeClass", json!({"metadata": meta, "handler": "runc", "overhead": {"podFixed": {"cpu": "100m"}}}))
            .invalid(
                json!({"metadata": meta, "handler": "a.b"}),
                &["handler: Invalid value: \"a.b\": must not contain dots"],
            )
            .immutable("/handler", json!("x"), "handler: Invalid value: \"x\": field is immutable"),
        example(
            "FlowSchema",
            json!({"metadata": meta, "spec": {"priorityLevelConfiguration": {"name": "global-default"}, "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "jane"}}],
                "resourceRules": [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"matchingPrecedence": 10001, "rules": [{"subjects": [{"kind": "x"}]}]}}),
            &[
                "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
                "spec.rules[0].subjects[0].kind: Unsupported value: \"x\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ],
        ),
        example(
            "PriorityLevelConfiguration",
            json!({"metadata": meta, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"type": "Limited"}}),
            &["spec.limited: Required value: must not be empty when type is Limited"],
        ),
    ]
}

fn storage() -> Vec<Example> {
    let meta = json!({"name": "example"});
    vec![
        example("CSIDriver", json!({"metadata": meta, "spec": {}}))
            .invalid(
                json!({"metadata": meta, "spec": {"fsGroupPolicy": "x"}}),
                &["spec.fsGroupPolicy: Unsupported value: \"x\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\""],
            )
            .immutable("/spec/attachRequired", json!(false), "spec.attachRequired: Invalid value: false: field is immutable"),
        example("CSINode", json!({"metadata": meta, "spec": {"drivers": [{"name": "a.example.com", "nodeID": "n"}]}}))
            .invalid(
                json!({"metadata": meta, "spec": {"drivers": [{"name": "a", "nodeID": ""}]}}),
                &["spec.drivers[0].nodeID: Required value"],
            )
            .immutable("/spec/drivers/0/nodeID", json!("x"), "spec.drivers: Invalid value: "),
        example("CSIStorageCapacity", json!({"metadata": meta, "storageClassName": "fast", "capacity": "1024Mi"}))
            .immutable("/storageClassName", json!("x"), "storageClassName: Invalid value: \"x\": field is immutable"),
        example("StorageClass", json!({"metadata": meta, "provisioner": "example.com/p", "parameters": {"a": "b"}}))
            .invalid(json!({"metadata": meta}), &["provisioner: Required value"])
            .immutable("/provisioner", json!("x"), "provisioner: Forbidden: updates to provisioner are forbidden."),
        example(
            "VolumeAttachment",
            json!({"metadata": meta, "spec": {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "p"}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"attacher": "a", "source": {}}}),
            &[
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                "spec.nodeName: Required value",
            ],
        )
        .immutable("/spec/nodeName", json!("x"), "spec: Invalid value: "),
        example("VolumeAttributesClass", json!({"metadata": meta, "driverName": "a.example.com", "parameters": {"a": "b"}}))
            .invalid(
                json!({"metadata": meta, "driverName": "a"}),
                &["parameters: Required value: must contain at least one key/value pair"],
            )
            .immutable("/driverName", json!("x"), "driverName: Forbidden: updates to driverName are forbidden."),
    ]
}

fn devices() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let spec = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    let bad = json!({"devices": {"requests": [{"name": "r"}]}});
    vec![
        example("DeviceClass", json!({"metadata": meta, "spec": {"selectors": [{"cel": {"expression": "true"}}]}})).invalid(
            json!({"metadata": meta, "spec": {"selectors": [{}]}}),
            &["spec.selectors[0].cel: Required value"],
        ).invalid(
            json!({"metadata": meta, "spec": {"selectors": [{"cel": {"expression": "gpu"}}]}}),
            &["spec.selectors[0].cel.expression: Invalid value: \"gpu\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'gpu' (in container '')\n | gpu\n | ^"],
        ),
        example("ResourceClaim", json!({"metadata": meta, "spec": spec}))
            .invalid(
                json!({"metadata": meta, "spec": bad}),
                &["spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"],
            )
            .immutable("/spec/devices/requests/0/name", json!("x"), "spec: Invalid value: "),
        example("ResourceClaimTemplate", json!({"metadata": meta, "spec": {"spec": spec}}))
            .invalid(
                json!({"metadata": meta, "spec": {"spec": bad}}),
                &["spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"],
            )
            .immutable("/spec/spec/devices/requests/0/name", json!("x"), "spec: Invalid value: "),
        example(
            "ResourceSlice",
            json!({"metadata": meta, "spec": {"driver": "a.example.com", "nodeName": "n", "devices": [{"name": "d"}],
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"driver": "a", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}),
            &["spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"],
        )
        .immutable("/spec/nodeName", json!("x"), "spec.nodeName: Invalid value: \"x\": field is immutable"),
    ]
}

fn certificates() -> Vec<Example> {
    let meta = json!({"name": "example"});
    let request = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
    vec![
        example(
            "CertificateSigningRequest",
            json!({"metadata": meta, "spec": {"request": request, "usages": ["client auth"],
                "signerName": "kubernetes.io/kube-apiserver-client"}}),
        )
        .invalid(
            json!({"metadata": meta, "spec": {"request": "eA==", "signerName": "x", "expirationSeconds": 5}}),
            &[
                "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
                "spec.usages: Required value",
                "spec.signerName: Invalid value: \"x\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
                "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        ),
    ]
}
