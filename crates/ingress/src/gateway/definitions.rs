//! The CustomResourceDefinitions of the kinds that are served here: the standard channel's fields, with its limits.
//!
//! **Contract**: an object that upstream's own definitions take is taken, and means the same; descriptions are left out.
//! **Upstream**: `config/crd/standard` of `sigs.k8s.io/gateway-api`.

mod route;
mod schema;

use super::types::GROUP;
use route::{route_spec, route_status};
use schema::{
    HOSTNAME, KIND, NAMESPACE, SECTION, checked, conditions, group, list, object, one_of, or, pattern, port,
    reference, text,
};
use serde_json::{Value, json};

/// The channel and version that these are of. **Upstream**: `gateway.networking.k8s.io/bundle-version`.
const BUNDLE: &str = "v1.4.0";
const PROTOCOL: &str = r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+$";

/// All of them.
pub fn definitions() -> Vec<Value> {
    let ready = |path: &str| column(path, "string");
    vec![
        definition(
            "GatewayClass",
            "gatewayclasses",
            ("gatewayclass", "gc", "Cluster"),
            &[("v1", true)],
            &[
                ("Controller", column(".spec.controllerName", "string")),
                ("Accepted", ready(r#".status.conditions[?(@.type=="Accepted")].status"#)),
            ],
            (class_spec(), Some(conditions_status())),
        ),
        definition(
            "Gateway",
            "gateways",
            ("gateway", "gtw", "Namespaced"),
            &[("v1", true)],
            &[
                ("Class", column(".spec.gatewayClassName", "string")),
                ("Address", column(".status.addresses[*].value", "string")),
                ("Programmed", ready(r#".status.conditions[?(@.type=="Programmed")].status"#)),
            ],
            (gateway_spec(), Some(gateway_status())),
        ),
        definition(
            "HTTPRoute",
            "httproutes",
            ("httproute", "", "Namespaced"),
            &[("v1", true)],
            &[("Hostnames", column(".spec.hostnames", "string"))],
            (route_spec(), Some(route_status())),
        ),
        definition(
            "ReferenceGrant",
            "referencegrants",
            ("referencegrant", "refgrant", "Namespaced"),
            &[("v1beta1", true)],
            &[],
            (grant_spec(), None),
        ),
    ]
}

fn column(path: &str, kind: &str) -> Value {
    json!({"jsonPath": path, "type": kind})
}

fn definition(
    kind: &str,
    plural: &str,
    (singular, short, scope): (&str, &str, &str),
    versions: &[(&str, bool)],
    columns: &[(&str, Value)],
    (spec, status): (Value, Option<Value>),
) -> Value {
    let age = ("Age", column(".metadata.creationTimestamp", "date"));
    let columns: Vec<Value> = columns
        .iter()
        .chain([&age])
        .map(|(name, column)| {
            let mut column = column.clone();
            column["name"] = json!(name);
            column
        })
        .collect();
    let mut fields = vec![
        ("apiVersion", json!({"type": "string"})),
        ("kind", json!({"type": "string"})),
        ("metadata", json!({"type": "object"})),
        ("spec", spec),
    ];
    let subresources = if status.is_some() { json!({"status": {}}) } else { json!({}) };
    fields.extend(status.map(|status| ("status", status)));
    let schema = object(&["spec"], fields);
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, stored)| {
            json!({
                "name": version, "served": true, "storage": stored, "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": schema}, "subresources": subresources,
            })
        })
        .collect();
    let short: Vec<&str> = [short].into_iter().filter(|short| !short.is_empty()).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}"), "annotations": {
            // The group is protected: who defines its kinds says that it may.
            "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/3328",
            "gateway.networking.k8s.io/bundle-version": BUNDLE,
            "gateway.networking.k8s.io/channel": "standard",
        }},
        "spec": {
            "group": GROUP, "scope": scope, "versions": versions,
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular,
                "shortNames": short, "categories": ["gateway-api"],
            },
        },
    })
}

fn conditions_status() -> Value {
    let features = list(object(&["name"], vec![("name", json!({"type": "string"}))]), 64, &["name"]);
    object(&[], vec![("conditions", conditions()), ("supportedFeatures", features)])
}

fn class_spec() -> Value {
    let name = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$";
    let name = checked(pattern(name, 253), &[("self == oldSelf", "Value is immutable")]);
    let parameters = object(
        &["group", "kind", "name"],
        vec![
            ("group", group()),
            ("kind", pattern(KIND, 63)),
            ("name", pattern(".*", 253)),
            ("namespace", pattern(NAMESPACE, 63)),
        ],
    );
    object(
        &["controllerName"],
        vec![("controllerName", name), ("description", text(64)), ("parametersRef", parameters)],
    )
}

fn selector() -> Value {
    let expression = object(
        &["key", "operator"],
        vec![
            ("key", json!({"type": "string"})),
            ("operator", json!({"type": "string"})),
            (
                "values",
                json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"}),
            ),
        ],
    );
    let mut selector = object(
        &[],
        vec![
            (
                "matchExpressions",
                json!({"type": "array", "items": expression, "x-kubernetes-list-type": "atomic"}),
            ),
            ("matchLabels", json!({"type": "object", "additionalProperties": {"type": "string"}})),
        ],
    );
    selector["x-kubernetes-map-type"] = json!("atomic");
    selector
}

fn gateway_spec() -> Value {
    let kinds = object(&["kind"], vec![("group", or(group(), json!(GROUP))), ("kind", pattern(KIND, 63))]);
    let namespaces = object(
        &[],
        vec![("from", or(one_of(&["All", "Selector", "Same"]), json!("Same"))), ("selector", selector())],
    );
    let allowed = or(
        object(
            &[],
            vec![("kinds", list(kinds, 8, &[])), ("namespaces", or(namespaces, json!({"from": "Same"})))],
        ),
        json!({"namespaces": {"from": "Same"}}),
    );
    let options = json!({"type": "object", "additionalProperties": text(4096), "maxProperties": 16});
    let tls = checked(
        object(
            &[],
            vec![
                ("certificateRefs", list(reference("", "Secret", Vec::new()), 64, &[])),
                ("mode", or(one_of(&["Terminate", "Passthrough"]), json!("Terminate"))),
                ("options", options),
            ],
        ),
        &[(
            "self.mode == 'Terminate' ? size(self.certificateRefs) > 0 || size(self.options) > 0 : true",
            "certificateRefs or options must be specified when mode is Terminate",
        )],
    );
    let listener = object(
        &["name", "port", "protocol"],
        vec![
            ("allowedRoutes", allowed),
            ("hostname", pattern(HOSTNAME, 253)),
            ("name", pattern(SECTION, 253)),
            ("port", port()),
            ("protocol", pattern(PROTOCOL, 255)),
            ("tls", tls),
        ],
    );
    let mut listeners = checked(
        list(listener, 64, &["name"]),
        &[
            (
                "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
                "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
            ),
            (
                "self.all(l, (l.protocol == 'HTTPS' && has(l.tls)) ? (l.tls.mode == '' || l.tls.mode == 'Terminate') : true)",
                "tls mode must be Terminate for protocol HTTPS",
            ),
            (
                "self.all(l, l.protocol in ['TCP', 'UDP'] ? (!has(l.hostname) || l.hostname == '') : true)",
                "hostname must not be specified for protocols ['TCP', 'UDP']",
            ),
            (
                "self.all(l1, self.exists_one(l2, l1.name == l2.name))",
                "Listener name must be unique within the Gateway",
            ),
            (
                "self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol && (has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : !has(l1.hostname) && !has(l2.hostname))))",
                "Combination of port, protocol and hostname must be unique for each listener",
            ),
        ],
    );
    listeners["minItems"] = json!(1);
    let address =
        object(&[], vec![("type", or(pattern(".*", 253), json!("IPAddress"))), ("value", text(253))]);
    let labels =
        |most: u32| json!({"type": "object", "additionalProperties": text(4096), "maxProperties": most});
    let parameters = object(
        &["group", "kind", "name"],
        vec![("group", group()), ("kind", pattern(KIND, 63)), ("name", pattern(".*", 253))],
    );
    let infrastructure =
        object(&[], vec![("annotations", labels(8)), ("labels", labels(8)), ("parametersRef", parameters)]);
    object(
        &["gatewayClassName", "listeners"],
        vec![
            ("addresses", list(address, 16, &[])),
            ("gatewayClassName", pattern(".*", 253)),
            ("infrastructure", infrastructure),
            ("listeners", listeners),
        ],
    )
}

fn gateway_status() -> Value {
    let address = object(
        &["value"],
        vec![("type", or(pattern(".*", 253), json!("IPAddress"))), ("value", pattern(".*", 253))],
    );
    let kinds = object(&["kind"], vec![("group", or(group(), json!(GROUP))), ("kind", pattern(KIND, 63))]);
    let listener = object(
        &["attachedRoutes", "conditions", "name"],
        vec![
            ("attachedRoutes", json!({"type": "integer", "format": "int32"})),
            ("conditions", conditions()),
            ("name", pattern(SECTION, 253)),
            ("supportedKinds", list(kinds, 8, &[])),
        ],
    );
    object(
        &[],
        vec![
            ("addresses", list(address, 16, &[])),
            ("conditions", conditions()),
            ("listeners", list(listener, 64, &["name"])),
        ],
    )
}

fn grant_spec() -> Value {
    let from = object(
        &["group", "kind", "namespace"],
        vec![("group", group()), ("kind", pattern(KIND, 63)), ("namespace", pattern(NAMESPACE, 63))],
    );
    let to = object(
        &["group", "kind"],
        vec![("group", group()), ("kind", pattern(KIND, 63)), ("name", pattern(".*", 253))],
    );
    let least = |mut list: Value| {
        list["minItems"] = json!(1);
        list
    };
    object(&["from", "to"], vec![("from", least(list(from, 16, &[]))), ("to", least(list(to, 16, &[])))])
}
