//! Who may ask for access as an administrator, and who may write which part of a status.

use super::*;
use crate::admission::{Alone, Form, Lookup, Outcome, Reinvocation};
use crate::auth::Decision;
use crate::auth::rbac::PolicyRule;
use api::kind::{Resource, Scope};
use component_base::Rng;
use jiff::Timestamp;
use serde_json::json;

/// One namespace, with these labels.
struct Labelled(Value);

impl Lookup for Labelled {
    fn get(&self, _: &str, plural: &str, _: &str, name: &str) -> Option<Arc<Value>> {
        (plural == "namespaces" && name == "n").then(|| Arc::new(json!({"metadata": {"labels": self.0}})))
    }
    fn list(&self, _: &str, _: &str, _: &str) -> Vec<Arc<Value>> {
        Vec::new()
    }
}

/// Grants what is in the list: `verb resource/subresource namespace/name`.
struct Grants(&'static [&'static str]);

impl Authorizer for Grants {
    fn authorize(&self, action: &Action<'_>) -> Decision {
        let Action { verb, resource, subresource, namespace, name, .. } = action;
        let asked = format!("{verb} {resource}/{subresource} {namespace}/{name}");
        Decision { allowed: self.0.contains(&asked.as_str()), ..Decision::default() }
    }
    fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<PolicyRule> {
        Vec::new()
    }
}

struct Case {
    plural: &'static str,
    labels: Value,
    grants: &'static [&'static str],
    verb: &'static str,
    user: UserInfo,
}

impl Case {
    fn claim() -> Self {
        let user = UserInfo { name: "u".to_owned(), ..UserInfo::default() };
        Self { plural: CLAIMS, labels: json!({}), grants: &[], verb: "update", user }
    }

    /// All causes of a refusal; each with its field.
    fn told(&self, new: Value, old: Option<Value>) -> Vec<String> {
        let kind = if self.plural == CLAIMS { "ResourceClaim" } else { "ResourceClaimTemplate" };
        let resource = Resource::new(GROUP, "v1", kind, self.plural, "", Scope::Namespaced);
        let (rng, lookup) = (Rng::seeded(1), Labelled(self.labels.clone()));
        let mut attributes = Attributes {
            operation: if old.is_some() { Operation::Update } else { Operation::Create },
            resource: &resource,
            subresource: if old.is_some() { "status" } else { "" },
            namespace: "n",
            name: "c",
            user: &self.user,
            dry_run: false,
            now: Timestamp::UNIX_EPOCH,
            rng: &rng,
            lookup: &lookup,
            old: old.as_ref(),
            revision: 0,
            forms: &Alone(Form::of(&resource)),
            sent: Sent::Write { verb: self.verb, manager: "", validation: "" },
            reinvocation: Reinvocation::default(),
            outcome: Outcome::default(),
        };
        match ResourceClaims(Arc::new(Grants(self.grants))).validate(&mut attributes, Some(&new)) {
            Ok(()) => Vec::new(),
            Err(status) => {
                assert_eq!((status.code, status.reason), (422, "Invalid"));
                let causes = status.details.map(|details| details.causes).unwrap_or_default();
                causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
            }
        }
    }
}

#[test]
fn access_as_an_administrator_is_for_their_namespaces() {
    let spec = json!({"devices": {"requests": [{"name": "a", "exactly": {}}, {"name": "b", "exactly": {"adminAccess": true}}]}});
    let claim = json!({"metadata": {"name": "c"}, "spec": spec});
    let template = json!({"metadata": {"generateName": "c-"}, "spec": {"spec": spec}});
    let wanted = "spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    for (labels, wanted) in [
        (json!({}), vec![wanted]),
        (json!({ADMIN_ACCESS: "yes"}), vec![wanted]),
        (json!({ADMIN_ACCESS: "true"}), vec![]),
    ] {
        let case = Case { labels, ..Case::claim() };
        assert_eq!(case.told(claim.clone(), None), wanted);
        let case = Case { plural: "resourceclaimtemplates", ..case };
        assert_eq!(case.told(template.clone(), None), wanted);
    }
    let plain =
        json!({"spec": {"devices": {"requests": [{"name": "a", "exactly": {"adminAccess": false}}]}}});
    assert!(Case::claim().told(plain, None).is_empty());
}

#[test]
fn nobody_allocates_access_that_the_namespace_does_not_have() {
    let grants = &["update resourceclaims/binding /"];
    let given = json!({"status": {"allocation": {"devices": {"results": [{"adminAccess": true}]}}}});
    let case = Case { grants, ..Case::claim() };
    assert_eq!(
        case.told(given.clone(), Some(json!({}))),
        [
            "status.allocation.devices.results[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
        ]
    );
    assert!(case.told(given.clone(), Some(given.clone())).is_empty(), "it has it already");
    let case = Case { labels: json!({ADMIN_ACCESS: "true"}), ..case };
    assert!(case.told(given, Some(json!({}))).is_empty());
}

#[test]
fn each_part_of_a_status_needs_a_right_of_its_own() {
    let device = json!({"driver": "x.io", "pool": "p", "device": "d"});
    let allocation = json!({"devices": {"results": [device]}, "nodeSelector": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["w"]}]}]}});
    let allocated = json!({"status": {"allocation": allocation}});
    let reported = json!({"status": {"allocation": allocation, "devices": [device]}});
    let nothing = json!({"status": {}});
    let account = |node: &str| UserInfo {
        name: "system:serviceaccount:n:driver".to_owned(),
        extra: [("authentication.kubernetes.io/node-name".to_owned(), vec![node.to_owned()])].into(),
        ..UserInfo::default()
    };
    let binding = |verb: &str| {
        format!(
            "status: Forbidden: changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: resourceclaims.resource.k8s.io is forbidden: User \"u\" cannot {verb} resource \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope"
        )
    };
    let driver = |user: &str, verbs: &str, verb: &str| {
        format!(
            "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: resourceclaims.resource.k8s.io \"x.io\" is forbidden: User \"{user}\" cannot {verb} resource \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the namespace \"n\""
        )
    };
    let arbitrary = "arbitrary-node:update";
    let robot = "system:serviceaccount:n:driver";
    let here = &["associated-node:update resourceclaims/driver n/x.io"][..];
    let anywhere = &["arbitrary-node:update resourceclaims/driver n/x.io"][..];
    let bind = &["update resourceclaims/binding /"][..];
    let user = || Case::claim().user;
    for (name, verb, user, grants, old, new, wanted) in [
        ("nothing changes", "update", user(), &[][..], &reported, &reported, vec![]),
        ("allocated", "update", user(), bind, &nothing, &allocated, vec![]),
        (
            "allocated without the right",
            "update",
            user(),
            anywhere,
            &nothing,
            &allocated,
            vec![binding("update")],
        ),
        ("patched without the right", "patch", user(), bind, &nothing, &allocated, vec![binding("patch")]),
        ("reported", "update", user(), anywhere, &allocated, &reported, vec![]),
        (
            "reported without the right",
            "update",
            user(),
            bind,
            &allocated,
            &reported,
            vec![driver("u", arbitrary, arbitrary)],
        ),
        ("reported from the node", "update", account("w"), here, &allocated, &reported, vec![]),
        (
            "reported from the node, as from anywhere",
            "update",
            account("w"),
            anywhere,
            &allocated,
            &reported,
            vec![],
        ),
        (
            "reported from another node",
            "update",
            account("v"),
            here,
            &allocated,
            &reported,
            vec![driver(robot, arbitrary, arbitrary)],
        ),
        (
            "reported from the node without the right",
            "update",
            account("w"),
            &[],
            &allocated,
            &reported,
            vec![driver(robot, "associated-node:update arbitrary-node:update", "associated-node:update")],
        ),
        (
            "a report is taken back",
            "update",
            user(),
            bind,
            &reported,
            &allocated,
            vec![driver("u", arbitrary, arbitrary)],
        ),
        ("it goes with its device", "update", user(), bind, &reported, &nothing, vec![]),
    ] {
        let case = Case { verb, user, grants, ..Case::claim() };
        assert_eq!(case.told(new.clone(), Some(old.clone())), wanted, "{name}");
    }
}
