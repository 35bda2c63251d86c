//! The plugins on plain values, with other objects made up.

mod defaults;
mod quota;

use super::*;
use crate::auth::rbac::PolicyRule;
use crate::auth::{Action, Authorizer, Decision};
use api::kind::Scope;
use futures::FutureExt;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Default)]
struct Fake(BTreeMap<(String, String, String), Arc<Value>>);

impl Fake {
    fn with(mut self, plural: &str, object: Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        self.0.insert((plural.to_owned(), text("namespace"), text("name")), Arc::new(object));
        self
    }

    fn namespace() -> Self {
        Self::default()
            .with("namespaces", json!({ "metadata": { "name": "n" }, "status": { "phase": "Active" } }))
            .with("serviceaccounts", json!({ "metadata": { "name": "default", "namespace": "n" } }))
    }
}

impl Lookup for Fake {
    fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.get(&(plural.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }
    fn list(&self, _: &str, plural: &str, _: &str) -> Vec<Arc<Value>> {
        self.0.iter().filter(|(key, _)| key.0 == plural).map(|(_, object)| Arc::clone(object)).collect()
    }
}

/// Grants reading pods, and nothing else.
struct Reader;

impl Authorizer for Reader {
    fn authorize(&self, _: &Action<'_>) -> Decision {
        Decision::default()
    }
    fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<PolicyRule> {
        vec![PolicyRule::from_json(
            &json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] }),
        )]
    }
}

struct Case<'a> {
    operation: Operation,
    resource: Resource,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    user: UserInfo,
    lookup: Fake,
    old: Option<Value>,
    enabled: Vec<String>,
}

impl<'a> Case<'a> {
    /// With these plugins besides those that are on anyway.
    fn with(mut self, plugins: &[&str]) -> Self {
        self.enabled = plugins.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    fn create(kind: &'static str, plural: &'static str, namespace: &'a str) -> Self {
        let scope = if namespace.is_empty() { Scope::Cluster } else { Scope::Namespaced };
        Self {
            operation: Operation::Create,
            resource: Resource::new("", "v1", kind, plural, "", scope),
            subresource: "",
            namespace,
            name: "",
            user: UserInfo::default(),
            lookup: Fake::namespace(),
            old: None,
            enabled: Vec::new(),
        }
    }

    fn run(&self, object: Option<Value>) -> Result<Value, Status> {
        self.admit(object).map(|(object, _)| object)
    }

    fn outcome(&self, object: Value) -> Outcome {
        self.admit(Some(object)).unwrap().1
    }

    fn admit(&self, object: Option<Value>) -> Result<(Value, Outcome), Status> {
        let rng = Rng::seeded(1);
        let mut attributes = Attributes {
            operation: self.operation,
            resource: &self.resource,
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            user: &self.user,
            dry_run: false,
            now: Timestamp::UNIX_EPOCH,
            rng: &rng,
            lookup: &self.lookup,
            old: self.old.as_ref(),
            revision: 0,
            forms: &Alone(Form::of(&self.resource)),
            sent: Sent::Nothing,
            reinvocation: Reinvocation::default(),
            outcome: Outcome::default(),
        };
        let authorizer: Arc<dyn Authorizer> = Arc::new(Reader);
        let choice = plugins::Choice { enabled: self.enabled.clone(), ..plugins::Choice::default() };
        let chain = plugins::chain(&authorizer, &choice, Vec::new()).unwrap();
        let mut object = object;
        let now = "plugins do not wait";
        if object.is_some() {
            chain.mutate(Part::All, &mut attributes, object.as_mut()).now_or_never().expect(now)?;
        }
        chain.validate(Part::All, &mut attributes, object.as_ref()).now_or_never().expect(now)?;
        Ok((object.unwrap_or_default(), attributes.outcome))
    }

    fn refusal(&self, object: Option<Value>) -> (u16, String) {
        let status = self.run(object).unwrap_err();
        (status.code, status.message)
    }
}

fn pod() -> Value {
    json!({ "metadata": { "name": "p" }, "spec": {} })
}

#[test]
fn a_pod_gets_its_account_priority_and_tolerations() {
    let pod = Case::create("Pod", "pods", "n").run(Some(pod())).unwrap();
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert_eq!(pod["spec"]["serviceAccount"], "default");
    assert_eq!(pod["spec"]["priority"], 0);
    assert_eq!(pod["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    let keys: Vec<_> =
        pod["spec"]["tolerations"].as_array().unwrap().iter().map(|t| t["key"].clone()).collect();
    assert_eq!(keys, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
}

#[test]
fn tolerations_of_ones_own_are_kept() {
    let mut own = pod();
    own["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
    let pod = Case::create("Pod", "pods", "n").run(Some(own)).unwrap();
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 1);
}

#[test]
fn nothing_is_created_where_no_namespace_is_or_stays() {
    let case = Case { lookup: Fake::default(), ..Case::create("ConfigMap", "configmaps", "n") };
    let object = json!({ "metadata": { "name": "c" } });
    assert_eq!(case.refusal(Some(object.clone())), (404, "namespaces \"n\" not found".to_owned()));

    let going = json!({ "metadata": { "name": "n" }, "status": { "phase": "Terminating" } });
    let case = Case { lookup: Fake::default().with("namespaces", going), ..case };
    let status = case.run(Some(object.clone())).unwrap_err();
    assert_eq!(
        status.message,
        "configmaps \"c\" is forbidden: unable to create new content in namespace n because it is being terminated"
    );
    let cause = &status.details.unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.message.as_str()),
        ("NamespaceTerminating", "namespace n is being terminated")
    );

    let case = Case { operation: Operation::Update, name: "c", ..case };
    assert!(case.run(Some(object)).is_ok());
}

#[test]
fn the_first_namespaces_are_immortal() {
    for (name, refused) in
        [("default", true), ("kube-system", true), ("kube-node-lease", false), ("n", false)]
    {
        let case = Case { operation: Operation::Delete, name, ..Case::create("Namespace", "namespaces", "") };
        let result = case.run(None);
        assert_eq!(result.is_err(), refused, "{name}");
        if let Err(status) = result {
            let expected = format!("namespaces {name:?} is forbidden: this namespace may not be deleted");
            assert_eq!(status.message, expected);
        }
    }
}

#[test]
fn a_missing_account_or_class_is_named() {
    let case = Case::create("Pod", "pods", "n");
    let mut object = pod();
    object["spec"]["serviceAccountName"] = json!("x");
    assert_eq!(
        case.refusal(Some(object)).1,
        "pods \"p\" is forbidden: error looking up service account n/x: serviceaccount \"x\" not found"
    );
    let mut object = pod();
    object["spec"]["priorityClassName"] = json!("x");
    assert_eq!(
        case.refusal(Some(object)).1,
        "pods \"p\" is forbidden: no PriorityClass with name x was found"
    );
}

#[test]
fn a_class_decides_the_priority() {
    let class = json!({ "metadata": { "name": "high" }, "value": 9, "globalDefault": true });
    let case =
        Case { lookup: Fake::namespace().with("priorityclasses", class), ..Case::create("Pod", "pods", "n") };
    let admitted = case.run(Some(pod())).unwrap();
    assert_eq!(
        (&admitted["spec"]["priority"], &admitted["spec"]["priorityClassName"]),
        (&json!(9), &json!("high"))
    );
    let mut object = pod();
    object["spec"]["priority"] = json!(3);
    assert!(case.refusal(Some(object)).1.contains("the integer value of priority (3) must not be provided"));
}

#[test]
fn a_new_node_takes_no_pods_yet() {
    let node = Case::create("Node", "nodes", "").run(Some(json!({ "metadata": { "name": "a" } }))).unwrap();
    assert_eq!(
        node["spec"]["taints"],
        json!([{ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }])
    );
}

#[test]
fn a_node_writes_only_what_is_its_own() {
    let user = UserInfo::authenticated("system:node:a", ["system:nodes".to_owned()]);
    let node = |name: &str| json!({ "metadata": { "name": name } });
    let case = Case { user: user.clone(), ..Case::create("Node", "nodes", "") };
    assert!(case.run(Some(node("a"))).is_ok());
    assert_eq!(
        case.refusal(Some(node("b"))).1,
        "nodes \"b\" is forbidden: node \"a\" is not allowed to modify node \"b\""
    );

    let on = |node: &str| json!({ "metadata": { "name": "p" }, "spec": { "nodeName": node } });
    for (operation, subresource, node, allowed) in [
        (Operation::Update, "status", "a", true),
        (Operation::Update, "status", "b", false),
        (Operation::Delete, "", "a", true),
        (Operation::Delete, "", "b", false),
        (Operation::Create, "", "a", false),
    ] {
        let case = Case {
            operation,
            subresource,
            name: "p",
            user: user.clone(),
            old: Some(on(node)),
            ..Case::create("Pod", "pods", "n")
        };
        let object = (operation != Operation::Delete).then(|| on(node));
        assert_eq!(case.run(object).is_ok(), allowed, "{operation:?} {subresource} {node}");
    }
}

#[test]
fn nobody_grants_what_he_does_not_have() {
    let role = |verbs: Value| {
        json!({ "metadata": { "name": "r" },
                "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": verbs }] })
    };
    let mut case = Case::create("Role", "roles", "n");
    case.resource =
        Resource::new("rbac.authorization.k8s.io", "v1", "Role", "roles", "role", Scope::Namespaced);
    case.user = UserInfo { name: "u".into(), groups: vec!["g".into(), "h".into()], ..UserInfo::default() };
    assert!(case.run(Some(role(json!(["get"])))).is_ok());
    assert_eq!(
        case.refusal(Some(role(json!(["get", "delete", "create"])))).1,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"u\" (groups=[\"g\" \"h\"]) is attempting to \
         grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"create\"]}"
    );
    // What was granted before may be written again.
    let wide = role(json!(["*"]));
    let case = Case { operation: Operation::Update, old: Some(wide.clone()), ..case };
    assert!(case.run(Some(wide)).is_ok());
}

#[test]
fn a_pod_is_not_resized_beyond_its_node() {
    let pod = |cpu: &str, generation: i64| {
        json!({
            "metadata": { "name": "p", "generation": generation }, "status": { "qosClass": "Guaranteed" },
            "spec": { "nodeName": "node", "serviceAccountName": "default", "containers": [
                { "name": "c", "resources": { "requests": { "cpu": cpu, "memory": "1Gi" } } },
            ] },
        })
    };
    let node = |os: &str, features: Value| {
        json!({
            "metadata": { "name": "node", "labels": { "kubernetes.io/os": os } },
            "status": { "allocatable": { "cpu": "2", "memory": "4Gi" }, "declaredFeatures": features },
        })
    };
    let able = || json!(["GuaranteedQoSPodCPUResize"]);
    let forbidden = |why: &str| Some(format!("pods \"p\" is forbidden: {why}"));
    for (node, new, why) in [
        (Some(node("linux", able())), pod("2", 2), None),
        (Some(node("linux", json!([]))), pod("4", 1), None),
        (None, pod("2", 2), forbidden("node \"node\" not found")),
        (
            Some(node("linux", able())),
            pod("2500m", 2),
            forbidden(
                "Node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000",
            ),
        ),
        (
            Some(node("windows", able())),
            pod("2", 2),
            forbidden("pod resize is only supported on linux nodes, node \"node\" is \"windows\""),
        ),
        (
            Some(node("linux", json!([]))),
            pod("2", 2),
            forbidden(
                "pod update requires features GuaranteedQoSPodCPUResize which are not available on node \"node\"",
            ),
        ),
    ] {
        let lookup = node.into_iter().fold(Fake::namespace(), |fake, node| fake.with("nodes", node));
        let (operation, old) = (Operation::Update, Some(pod("1", 1)));
        let case = Case {
            operation,
            subresource: "resize",
            name: "p",
            old,
            lookup,
            ..Case::create("Pod", "pods", "n")
        };
        assert_eq!(case.run(Some(new)).err().map(|status| status.message), why);
    }
}

#[test]
fn who_vouches_for_a_signer_must_be_allowed_to() {
    let scope = Scope::Cluster;
    let resource = Resource::new(
        "certificates.k8s.io",
        "v1beta1",
        "ClusterTrustBundle",
        "clustertrustbundles",
        "",
        scope,
    );
    let case = Case { resource, ..Case::create("", "", "") };
    let bundle = |signer: &str| json!({ "metadata": { "name": "b" }, "spec": { "signerName": signer } });
    assert!(case.run(Some(bundle(""))).is_ok());
    assert_eq!(
        case.refusal(Some(bundle("example.com/x"))),
        (
            403,
            "clustertrustbundles.certificates.k8s.io \"b\" is forbidden: user not permitted to attest for \
             signerName \"example.com/x\""
                .to_owned()
        )
    );
}
