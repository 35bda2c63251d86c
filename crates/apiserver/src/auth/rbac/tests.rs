//! RBAC over roles and bindings that change under it.

use super::*;
use serde_json::json;
use std::collections::HashMap;

#[derive(Default)]
struct Fake(Mutex<State>);

/// A generation, and the objects by plural.
type State = (u64, HashMap<String, Vec<Arc<Value>>>);

impl Fake {
    fn put(&self, plural: &str, object: Value) {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        state.1.entry(plural.to_owned()).or_default().push(Arc::new(object));
    }
}

impl PolicySource for Fake {
    fn generation(&self, _: &str) -> u64 {
        self.0.lock().unwrap().0
    }
    fn objects(&self, plural: &str) -> Vec<Arc<Value>> {
        self.0.lock().unwrap().1.get(plural).cloned().unwrap_or_default()
    }
}

fn jane() -> UserInfo {
    UserInfo::authenticated("jane", ["dev".to_owned()])
}

#[test]
fn a_binding_counts_at_once_and_only_in_its_namespace() {
    let source = Arc::new(Fake::default());
    let rbac = Rbac::new(Arc::clone(&source) as Arc<dyn PolicySource>);
    let jane = jane();
    let here = Action { namespace: "a", ..Action::on(&jane, "list", "", "pods") };
    assert!(!rbac.authorize(&here).allowed);

    source.put(
        "rolebindings",
        json!({"metadata": {"name": "b", "namespace": "a"},
               "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "Group", "name": "dev"}]}),
    );
    assert_eq!(rbac.authorize(&here).reason, r#"RBAC: role.rbac.authorization.k8s.io "r" not found"#);

    source.put(
        "roles",
        json!({"metadata": {"name": "r", "namespace": "a"},
               "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}),
    );
    let decision = rbac.authorize(&here);
    assert!(decision.allowed);
    assert_eq!(decision.reason, r#"RBAC: allowed by RoleBinding "b/a" of Role "r" to Group "dev""#);
    assert!(!rbac.authorize(&Action { namespace: "b", ..here }).allowed);
    assert!(!rbac.authorize(&Action { namespace: "", ..here }).allowed);
}

#[test]
fn a_cluster_binding_names_a_service_account() {
    let source = Arc::new(Fake::default());
    source.put(
        "clusterroles",
        json!({"metadata": {"name": "r"},
               "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
    );
    source.put(
        "clusterrolebindings",
        json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
               "subjects": [{"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
    );
    let rbac = Rbac::new(source);
    let account = UserInfo::authenticated("system:serviceaccount:n:s", []);
    let decision = rbac.authorize(&Action::on(&account, "delete", "apps", "deployments"));
    assert_eq!(
        decision.reason,
        r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to ServiceAccount "s/n""#
    );
    assert!(!rbac.authorize(&Action::path(&account, "get", "/metrics")).allowed);
    assert_eq!(rbac.rules_for(&account, "").len(), 1);
}

#[test]
fn masters_may_do_everything() {
    let rbac = Rbac::new(Arc::new(Fake::default()));
    let root = UserInfo::authenticated("root", [GROUP_MASTERS.to_owned()]);
    assert!(rbac.authorize(&Action::path(&root, "get", "/metrics")).allowed);
    assert!(rbac.authorize(&Action::on(&root, "escalate", GROUP, "clusterroles")).allowed);
    assert!(!rbac.authorize(&Action::path(&jane(), "get", "/metrics")).allowed);
}
