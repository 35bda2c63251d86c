//! The descriptions of roles and role bindings, of a namespace or of the cluster.
//!
//! **Contract.** Rules are broken down to one resource a line, verbs of the same resource joined, and sorted by verbs, then
//! group, then resource.

use serde_json::Value;

use super::{annotations, items, labels, text};
use crate::report::Error;

/// A rule of at most one group, resource, resource name or path.
#[derive(Debug, Clone, Default)]
struct Rule {
    verbs: Vec<String>,
    group: Option<String>,
    resource: Option<String>,
    name: Option<String>,
    url: Option<String>,
}

impl Rule {
    /// What rules are sorted by: their parts in the order of Go's type.
    fn key(&self) -> String {
        let one = |part: &Option<String>| format!("[{}]", part.as_deref().unwrap_or(""));
        let parts = [one(&self.group), one(&self.resource), one(&self.name), one(&self.url)];
        format!("[{}],{}", self.verbs.join(" "), parts.join(","))
    }

    /// `deployments.apps/scale`
    fn resource(&self) -> String {
        let whole = self.resource.as_deref().unwrap_or("");
        let (name, subresource) =
            whole.split_once('/').map_or((whole, None), |(name, sub)| (name, Some(sub)));
        let group = self.group.as_deref().filter(|group| !group.is_empty());
        let group = group.map_or(String::new(), |group| format!(".{group}"));
        format!("{name}{group}{}", subresource.map_or(String::new(), |sub| format!("/{sub}")))
    }
}

/// The text of a role or cluster role.
pub(super) async fn role(object: &Value) -> Result<String, Error> {
    let mut out = head(object);
    out += "PolicyRule:\n  Resources\tNon-Resource URLs\tResource Names\tVerbs\n";
    out += "  ---------\t-----------------\t--------------\t-----\n";
    out += &rows(object, "  ");
    Ok(out)
}

/// The text of a role binding or cluster role binding.
pub(super) async fn binding(object: &Value) -> Result<String, Error> {
    let mut out = head(object);
    let role = &object["roleRef"];
    out += &format!("Role:\n  Kind:\t{}\n  Name:\t{}\n", text(role, "kind"), text(role, "name"));
    out += "Subjects:\n  Kind\tName\tNamespace\n  ----\t----\t---------\n";
    for one in items(object, "subjects") {
        out += &format!("  {}\t{}\t{}\n", text(one, "kind"), text(one, "name"), text(one, "namespace"));
    }
    Ok(out)
}

/// One line a rule.
pub(crate) fn rows(object: &Value, indent: &str) -> String {
    let list = |part: &Option<String>| format!("[{}]", part.as_deref().unwrap_or(""));
    let mut out = String::new();
    for rule in rules(object) {
        let (urls, names) = (list(&rule.url), list(&rule.name));
        out += &format!("{indent}{}\t{urls}\t{names}\t[{}]\n", rule.resource(), rule.verbs.join(" "));
    }
    out
}

fn head(object: &Value) -> String {
    let metadata = &object["metadata"];
    let mut out = format!("Name:\t{}\n", text(metadata, "name"));
    out += &labels("Labels", &metadata["labels"]);
    out + &annotations(&metadata["annotations"])
}

fn rules(object: &Value) -> Vec<Rule> {
    let mut found: Vec<Rule> = Vec::new();
    for rule in items(object, "rules") {
        for one in broken_down(rule) {
            // Rules of one resource are one rule with all their verbs.
            let same = found.iter_mut().find(|other| {
                one.resource.is_some()
                    && (&other.group, &other.resource, &other.name) == (&one.group, &one.resource, &one.name)
            });
            match same {
                Some(other) => other.verbs.extend(one.verbs),
                None => found.push(one),
            }
        }
    }
    found.sort_by_key(Rule::key);
    found
}

fn broken_down(rule: &Value) -> Vec<Rule> {
    let strings = |field: &str| -> Vec<String> {
        items(rule, field).iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let verbs = strings("verbs");
    let names: Vec<Option<String>> = match strings("resourceNames") {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut found = Vec::new();
    for group in strings("apiGroups") {
        for resource in strings("resources") {
            for name in &names {
                found.push(Rule {
                    verbs: verbs.clone(),
                    group: Some(group.clone()),
                    resource: Some(resource.clone()),
                    name: name.clone(),
                    url: None,
                });
            }
        }
    }
    let urls = strings("nonResourceURLs");
    found.extend(urls.into_iter().map(|url| Rule {
        verbs: verbs.clone(),
        url: Some(url),
        ..Rule::default()
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn rules_are_one_resource_a_line() {
        let role_object = json!({"metadata": {"name": "r"}, "rules": [
            {"apiGroups": ["", "apps"], "resources": ["pods", "pods/status"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
            {"nonResourceURLs": ["/version"], "verbs": ["get"]},
        ]});
        let text = role(&role_object).await.unwrap();
        let lines: Vec<&str> = text.lines().skip(6).collect();
        assert_eq!(
            lines,
            [
                "  pods\t[]\t[]\t[get list]",
                "  \t[/version]\t[]\t[get]",
                "  pods/status\t[]\t[]\t[get]",
                "  pods.apps/status\t[]\t[]\t[get]",
                "  pods.apps\t[]\t[]\t[get]",
            ]
        );
    }
}
