//! The FlowSchemas and priority levels that exist from the start.
//!
//! **Contract**: mandatory ones are kept as they are here; suggested ones while their annotation `autoupdate-spec` says
//! so. All are made again when somebody deletes them.
//! **Upstream**: `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go`,
//! `pkg/registry/flowcontrol/ensurer`.

use super::GROUP;
use serde_json::{Value, json};

const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const MASTERS: &str = "system:masters";
const EVERYBODY: &[Subject] =
    &[Subject::Group("system:unauthenticated"), Subject::Group("system:authenticated")];
const KUBE_SYSTEM: Subject = Subject::Account("*");
const MANAGER: Subject = Subject::User("system:kube-controller-manager");
const SCHEDULER: Subject = Subject::User("system:kube-scheduler");
const NODES: &[Subject] = &[Subject::Group("system:nodes")];

/// What a schema or level is to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Mandatory,
    Suggested,
}
use Need::{Mandatory, Suggested};

/// Shares, lendable percent and queues (number, hand, length; none: reject) of each level.
type Level = (Need, &'static str, i64, i64, Option<(i64, i64, i64)>);

const LEVELS: &[Level] = &[
    (Mandatory, "catch-all", 5, 0, None),
    (Suggested, "system", 30, 33, Some((64, 6, 50))),
    (Suggested, "node-high", 40, 25, Some((64, 6, 50))),
    (Suggested, "leader-election", 10, 0, Some((16, 4, 50))),
    (Suggested, "workload-high", 40, 50, Some((128, 6, 50))),
    (Suggested, "workload-low", 100, 90, Some((128, 6, 50))),
    (Suggested, "global-default", 20, 50, Some((128, 6, 50))),
];

#[derive(Clone, Copy)]
enum Subject {
    User(&'static str),
    Group(&'static str),
    /// In `kube-system`.
    Account(&'static str),
}

#[derive(Clone, Copy)]
enum Rule {
    /// Everything.
    All,
    /// Getting these paths.
    Paths(&'static [&'static str]),
    /// Verbs, group, resources, namespace, cluster scope too.
    Resources(&'static [&'static str], &'static str, &'static [&'static str], &'static str, bool),
}

struct Schema {
    need: Need,
    name: &'static str,
    level: &'static str,
    precedence: i64,
    distinguisher: &'static str,
    subjects: &'static [Subject],
    rules: &'static [Rule],
}

const ELECTING: &[&str] = &["get", "create", "update"];
const LEASES: Rule = Rule::Resources(ELECTING, "coordination.k8s.io", &["leases"], "*", false);
const USER: &str = "ByUser";
const NAMESPACE: &str = "ByNamespace";

const fn schema(
    name: &'static str,
    level: &'static str,
    precedence: i64,
    distinguisher: &'static str,
    subjects: &'static [Subject],
    rules: &'static [Rule],
) -> Schema {
    Schema { need: Suggested, name, level, precedence, distinguisher, subjects, rules }
}

const SCHEMAS: &[Schema] = &[
    Schema { need: Mandatory, ..schema("exempt", "exempt", 1, "", &[Subject::Group(MASTERS)], &[Rule::All]) },
    Schema { need: Mandatory, ..schema("catch-all", "catch-all", 10000, USER, EVERYBODY, &[Rule::All]) },
    schema("probes", "exempt", 2, "", EVERYBODY, &[Rule::Paths(&["/healthz", "/readyz", "/livez"])]),
    schema(
        "system-leader-election",
        "leader-election",
        100,
        USER,
        &[MANAGER, SCHEDULER, KUBE_SYSTEM],
        &[LEASES],
    ),
    schema(
        "endpoint-controller",
        "workload-high",
        150,
        USER,
        &[
            MANAGER,
            Subject::Account("endpoint-controller"),
            Subject::Account("endpointslicemirroring-controller"),
        ],
        &[Rule::Resources(ELECTING, "", &["endpoints"], "*", false)],
    ),
    schema(
        "workload-leader-election",
        "leader-election",
        200,
        USER,
        &[KUBE_SYSTEM],
        &[Rule::Resources(ELECTING, "", &["endpoints", "configmaps"], "*", false), LEASES],
    ),
    schema(
        "system-node-high",
        "node-high",
        400,
        USER,
        NODES,
        &[
            Rule::Resources(&["*"], "", &["nodes", "nodes/status"], "*", true),
            Rule::Resources(&["*"], "coordination.k8s.io", &["leases"], "*", false),
        ],
    ),
    schema("system-nodes", "system", 500, USER, NODES, &[Rule::All]),
    schema("kube-controller-manager", "workload-high", 800, NAMESPACE, &[MANAGER], &[Rule::All]),
    schema("kube-scheduler", "workload-high", 800, NAMESPACE, &[SCHEDULER], &[Rule::All]),
    schema("kube-system-service-accounts", "workload-high", 900, NAMESPACE, &[KUBE_SYSTEM], &[Rule::All]),
    schema(
        "service-accounts",
        "workload-low",
        9000,
        USER,
        &[Subject::Group("system:serviceaccounts")],
        &[Rule::All],
    ),
    schema("global-default", "global-default", 9900, USER, EVERYBODY, &[Rule::All]),
];

/// Every object with the plural of its resource, levels first.
pub(crate) fn objects() -> Vec<(&'static str, Value)> {
    let levels = std::iter::once(exempt()).chain(LEVELS.iter().map(level));
    let levels = levels.map(|level| (super::LEVELS, level));
    levels.chain(SCHEMAS.iter().map(|schema| (super::SCHEMAS, flow_schema(schema)))).collect()
}

/// The existing object with the spec that it should have; `None` if it has it, or may have its own.
pub(crate) fn reconciled(existing: &Value, expected: &Value) -> Option<Value> {
    let name = expected["metadata"]["name"].as_str().unwrap_or_default();
    let kept = match existing["metadata"]["annotations"][AUTOUPDATE].as_str() {
        _ if is_mandatory(name) => true,
        Some(wish) => wish == "true",
        // Nobody has said so: the server's own as long as nobody has changed it.
        None => existing["metadata"]["generation"] == 1,
    };
    if !kept {
        return None;
    }
    // Of the level `exempt`, people may set what it lends.
    let mut expected = expected["spec"].clone();
    if name == "exempt" && expected["type"] == "Exempt" {
        expected["exempt"] = existing["spec"]["exempt"].clone();
    }
    if existing["spec"] == expected {
        return None;
    }
    let mut object = existing.clone();
    object["spec"] = expected;
    Some(object)
}

fn is_mandatory(name: &str) -> bool {
    matches!(name, "exempt" | "catch-all")
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "kind": kind,
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": { "name": name, "annotations": { AUTOUPDATE: "true" } },
        "spec": spec,
    })
}

fn exempt() -> Value {
    let spec = json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } });
    object("PriorityLevelConfiguration", "exempt", &spec)
}

fn level((_, name, shares, lendable, queues): &Level) -> Value {
    let response = match queues {
        None => json!({ "type": "Reject" }),
        Some((queues, hand, length)) => json!({
            "type": "Queue",
            "queuing": { "queues": queues, "handSize": hand, "queueLengthLimit": length },
        }),
    };
    let spec = json!({
        "type": "Limited",
        "limited": { "nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable },
    });
    object("PriorityLevelConfiguration", name, &spec)
}

fn flow_schema(schema: &Schema) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": { "name": schema.level },
        "matchingPrecedence": schema.precedence,
    });
    if !schema.distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({ "type": schema.distinguisher });
    }
    let subjects: Vec<Value> = schema.subjects.iter().map(subject).collect();
    let mut rules = json!({ "subjects": subjects });
    let mut add = |list: &str, rule: Value| match rules[list].as_array_mut() {
        Some(rules) => rules.push(rule),
        None => rules[list] = json!([rule]),
    };
    for rule in schema.rules {
        match rule {
            Rule::All => {
                add(
                    "resourceRules",
                    json!({
                        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                        "namespaces": ["*"],
                    }),
                );
                add("nonResourceRules", json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }));
            }
            Rule::Paths(paths) => {
                add("nonResourceRules", json!({ "verbs": ["get"], "nonResourceURLs": paths }));
            }
            Rule::Resources(verbs, group, resources, namespace, cluster) => {
                let mut rule = json!({ "verbs": verbs, "apiGroups": [group], "resources": resources });
                if *cluster {
                    rule["clusterScope"] = json!(true);
                }
                rule["namespaces"] = json!([namespace]);
                add("resourceRules", rule);
            }
        }
    }
    spec["rules"] = json!([rules]);
    debug_assert_eq!(schema.need == Mandatory, is_mandatory(schema.name));
    object("FlowSchema", schema.name, &spec)
}

fn subject(subject: &Subject) -> Value {
    match subject {
        Subject::User(name) => json!({ "kind": "User", "user": { "name": name } }),
        Subject::Group(name) => json!({ "kind": "Group", "group": { "name": name } }),
        Subject::Account(name) => {
            json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": "kube-system", "name": name } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eight_levels_and_every_schema_has_its_own() {
        let objects = objects();
        let names = |plural: &str| -> Vec<String> {
            let of = objects.iter().filter(|(p, _)| *p == plural);
            of.map(|(_, o)| o["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let (levels, schemas) = (names(super::super::LEVELS), names(super::super::SCHEMAS));
        assert_eq!((levels.len(), schemas.len()), (8, 13));
        for (plural, object) in &objects {
            if *plural == super::super::SCHEMAS {
                let level = object["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap();
                assert!(levels.iter().any(|name| name == level), "{level}");
            }
        }
    }

    #[test]
    fn keeps_what_is_mandatory_and_what_people_have_not_taken_over() {
        let find = |name: &str| objects().into_iter().find(|(_, o)| o["metadata"]["name"] == name).unwrap().1;
        let changed = |name: &str, annotation: Option<&str>| {
            let mut object = find(name);
            object["spec"]["limited"]["nominalConcurrencyShares"] = json!(7);
            object["metadata"]["annotations"] = annotation.map_or(json!({}), |a| json!({ AUTOUPDATE: a }));
            object["metadata"]["generation"] = json!(2);
            object
        };
        for (name, annotation, repaired) in [
            ("catch-all", Some("false"), true),
            ("system", Some("true"), true),
            ("system", Some("false"), false),
            ("system", None, false),
        ] {
            let result = reconciled(&changed(name, annotation), &find(name));
            assert_eq!(result.is_some(), repaired, "{name} {annotation:?}");
            assert!(result.is_none_or(|object| object["spec"] == find(name)["spec"]));
        }
        assert_eq!(reconciled(&find("system"), &find("system")), None);
        let mut lending = find("exempt");
        lending["spec"]["exempt"]["lendablePercent"] = json!(50);
        assert_eq!(reconciled(&lending, &find("exempt")), None);
    }
}
