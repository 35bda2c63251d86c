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

/// One role or binding as `upstream.txt` has it.
fn line(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let qualified = |value: &Value| match text(&value["namespace"]) {
        namespace if namespace.is_empty() => text(&value["name"]),
        namespace => format!("{namespace}/{}", text(&value["name"])),
    };
    let meta = &object["metadata"];
    let mut out = format!("{} {}", text(&object["kind"]), qualified(meta));
    let keys = |map: &Value| map.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    if !object["roleRef"].is_null() {
        out += &format!(" = {} {}:", text(&object["roleRef"]["kind"]), text(&object["roleRef"]["name"]));
        for subject in object["subjects"].as_array().into_iter().flatten() {
            out += &format!(" {} {}", text(&subject["kind"]), qualified(subject));
        }
        return out;
    }
    let labels: Vec<String> = keys(&meta["labels"]);
    for label in labels.iter().filter(|label| *label != "kubernetes.io/bootstrapping") {
        out += &format!(" label {label}");
    }
    if let Some(selectors) = object["aggregationRule"]["clusterRoleSelectors"].as_array() {
        for selector in selectors {
            let labels: Vec<String> = keys(&selector["matchLabels"]);
            out += &format!(" collects {}", labels.join(","));
        }
        return out;
    }
    for rule in PolicyRule::list_from_json(&object["rules"]) {
        out += &format!("\n  {} ", rule.verbs.join(","));
        out += &if rule.paths.is_empty() {
            format!("[{}] {}", rule.groups.join(","), rule.resources.join(","))
        } else {
            format!("paths {}", rule.paths.join(","))
        };
        if !rule.names.is_empty() {
            out += &format!(" names {}", rule.names.join(","));
        }
    }
    out
}

#[test]
fn roles_and_bindings_are_upstreams_and_what_is_our_own_says_so() {
    let mut lines: Vec<String> = objects()
        .iter()
        .filter(|(_, object)| !meta_name(object).starts_with("minik:"))
        .map(|(_, object)| line(object))
        .collect();
    lines.sort_by_key(|line| line.split('\n').next().unwrap_or_default().to_owned());
    for (ours, upstreams) in lines.join("\n").lines().zip(include_str!("upstream.txt").lines()) {
        assert_eq!(ours, upstreams);
    }
    assert_eq!(lines.join("\n").lines().count(), include_str!("upstream.txt").lines().count());
}

fn meta_name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
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
