//! The bootstrap policy, and that people's changes to it survive.

use super::*;

fn find(plural: &str, name: &str) -> Value {
    let found = objects().into_iter().find(|(p, o)| *p == plural && o["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{plural} {name}")).1
}

#[test]
fn names_are_unique_and_every_binding_has_its_role() {
    let objects = objects();
    let mut seen = std::collections::HashSet::new();
    for (plural, object) in &objects {
        let meta = &object["metadata"];
        assert!(seen.insert((*plural, meta["namespace"].to_string(), meta["name"].to_string())), "{object}");
        if !object["roleRef"].is_null() {
            let role = &object["roleRef"]["name"];
            assert!(objects.iter().any(|(_, o)| o["roleRef"].is_null() && o["metadata"]["name"] == *role));
        }
    }
}

#[test]
fn aggregated_roles_hold_what_they_collect() {
    let (admin, edit, view) =
        (find("clusterroles", "admin"), find("clusterroles", "edit"), find("clusterroles", "view"));
    let count = |role: &Value| role["rules"].as_array().unwrap().len();
    assert!(count(&admin) > count(&edit) && count(&edit) > count(&view) && count(&view) > 0);
    assert_eq!(
        view["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"]["rbac.authorization.k8s.io/aggregate-to-view"],
        "true"
    );
    assert_eq!(view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"], "true");
}

#[test]
fn adds_only_what_is_missing() {
    let expected = find("clusterroles", "system:basic-user");
    assert_eq!(reconciled(&expected, &expected), None);

    let mut poorer = expected.clone();
    let removed = poorer["rules"].as_array_mut().unwrap().pop().unwrap();
    poorer["rules"][0]["verbs"] = json!(["*"]);
    let repaired = reconciled(&poorer, &expected).unwrap();
    assert_eq!(repaired["rules"][0]["verbs"], json!(["*"]));
    assert_eq!(repaired["rules"].as_array().unwrap().last(), Some(&removed));

    poorer["metadata"]["annotations"][AUTOUPDATE] = json!("false");
    assert_eq!(reconciled(&poorer, &expected), None);

    let binding = find("clusterrolebindings", "system:discovery");
    let mut other = binding.clone();
    other["subjects"] = json!([{ "kind": "User", "name": "jane" }]);
    assert_eq!(reconciled(&other, &binding).unwrap()["subjects"].as_array().unwrap().len(), 2);
}
