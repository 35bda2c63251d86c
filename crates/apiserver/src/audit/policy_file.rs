//! A policy as its file says it: what may be said, and what it comes to.
//!
//! **Contract**: pure. All mistakes of a file are told at once, in upstream's words; a field that nobody knows is none, it
//! means nothing.
//! **Upstream**: `k8s.io/apiserver/pkg/audit/policy/reader.go`, `pkg/apis/audit/validation`.

use super::policy::{GroupResources, Level, Policy, Rule, Stage};
use api::field::{Error, ErrorList, Path, aggregate};
use api::golang;
use api::names::dns_subdomain;
use serde::Deserialize;
use serde_json::{Map, Value};

const API_VERSION: &str = "audit.k8s.io/v1";
const KIND: &str = "Policy";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyFile {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    rules: Vec<RuleFile>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleFile {
    #[serde(default)]
    level: String,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<ResourcesFile>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourcesFile {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// The policy of a file, and the fields of the file that nobody knows; the error is for whoever wrote it.
pub(super) fn read(text: &str) -> Result<(Policy, Vec<String>), String> {
    let undecoded = |why: &dyn std::fmt::Display| format!("failed decoding: {why}");
    let mut document: Value = serde_saphyr::from_str(text).map_err(|error| undecoded(&error))?;
    golang::drop_nulls(&mut document);
    let file: PolicyFile = serde_json::from_value(document).map_err(|error| undecoded(&error))?;
    if file.api_version != API_VERSION || file.kind != KIND {
        return Err(format!(
            "unknown group version field {}, Kind={} in policy, expected {API_VERSION}, Kind={KIND}",
            file.api_version, file.kind
        ));
    }
    let unknown = file.unknown_fields();
    let mut reading = Reading::default();
    let policy = reading.policy(file);
    if !reading.errors.is_empty() {
        return Err(aggregate(&reading.errors));
    }
    if policy.rules.is_empty() {
        return Err("loaded illegal policy with 0 rules".to_owned());
    }
    Ok((policy, unknown))
}

impl PolicyFile {
    fn unknown_fields(&self) -> Vec<String> {
        let mut fields: Vec<String> = self.unknown.keys().cloned().collect();
        let rules = Path::new("rules");
        for (i, rule) in self.rules.iter().enumerate() {
            let at = rules.index(i);
            fields.extend(rule.unknown.keys().map(|field| at.child(field).to_string()));
            for (j, resources) in rule.resources.iter().enumerate() {
                let at = at.child("resources").index(j);
                fields.extend(resources.unknown.keys().map(|field| at.child(field).to_string()));
            }
        }
        fields
    }
}

/// A file being read, with what was wrong so far.
#[derive(Default)]
struct Reading {
    errors: ErrorList,
}

impl Reading {
    fn policy(&mut self, file: PolicyFile) -> Policy {
        let omit_stages = self.stages(&file.omit_stages, &Path::new("omitStages"));
        let at = Path::new("rules");
        let rules =
            file.rules.into_iter().enumerate().map(|(i, rule)| self.rule(rule, &at.index(i))).collect();
        Policy { rules, omit_stages, omit_managed_fields: file.omit_managed_fields }
    }

    fn rule(&mut self, rule: RuleFile, path: &Path) -> Rule {
        let level = self.level(&rule.level, &path.child("level"));
        let at = path.child("nonResourceURLs");
        self.check_urls(&rule.non_resource_urls, &at);
        self.check_resources(&rule.resources, &path.child("resources"));
        let omit_stages = self.stages(&rule.omit_stages, &path.child("omitStages"));
        let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
        if of_resources && !rule.non_resource_urls.is_empty() {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            self.errors.push(Error::invalid(&at, rule.non_resource_urls.clone(), detail));
        }
        let resources = rule.resources.into_iter().map(|of| GroupResources {
            group: of.group,
            resources: of.resources,
            resource_names: of.resource_names,
        });
        Rule {
            level,
            users: rule.users,
            user_groups: rule.user_groups,
            verbs: rule.verbs,
            resources: resources.collect(),
            namespaces: rule.namespaces,
            non_resource_urls: rule.non_resource_urls,
            omit_stages,
            omit_managed_fields: rule.omit_managed_fields,
        }
    }

    fn level(&mut self, name: &str, path: &Path) -> Level {
        let found = Level::ALL.into_iter().find(|level| level.name() == name);
        if found.is_none() {
            self.errors.push(match name {
                "" => Error::required(path, ""),
                _ => Error::not_supported(path, name, &Level::ALL.map(Level::name)),
            });
        }
        found.unwrap_or_default()
    }

    fn stages(&mut self, names: &[String], path: &Path) -> Vec<Stage> {
        let mut stages = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            match Stage::ALL.into_iter().find(|stage| stage.name() == name) {
                Some(stage) => stages.push(stage),
                None => {
                    let detail = format!("allowed stages are {}", Stage::ALL.map(Stage::name).join(","));
                    self.errors.push(Error::invalid(&path.index(i), name.as_str(), &detail));
                }
            }
        }
        stages
    }

    fn check_urls(&mut self, urls: &[String], path: &Path) {
        for (i, url) in urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let mut wrong = |detail| self.errors.push(Error::invalid(&path.index(i), url.as_str(), detail));
            if !url.starts_with('/') {
                wrong("non-resource URL rules must begin with a '/' character");
            }
            if url.strip_suffix('*').unwrap_or(url).contains('*') {
                wrong("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
    }

    fn check_resources(&mut self, list: &[ResourcesFile], path: &Path) {
        for of in list {
            if !matches!(of.group.as_str(), "" | "*") {
                let wrong = dns_subdomain(&of.group, false);
                if !wrong.is_empty() {
                    let error = Error::invalid(&path.child("group"), of.group.as_str(), &wrong.join(","));
                    self.errors.push(error);
                }
            }
            if of.resources.is_empty() && !of.resource_names.is_empty() {
                let detail = "using resourceNames requires at least one resource";
                self.errors.push(Error::invalid(
                    &path.child("resourceNames"),
                    of.resource_names.clone(),
                    detail,
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

    fn error(rest: &str) -> String {
        read(&format!("{HEAD}{rest}")).map(|_| ()).unwrap_err()
    }

    #[test]
    fn every_mistake_is_told_in_upstreams_words() {
        let prefix = "non-resource URL";
        for (rule, expected) in [
            ("{}", "rules[0].level: Required value".to_owned()),
            (
                "{level: Everything}",
                "rules[0].level: Unsupported value: \"Everything\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"".to_owned(),
            ),
            (
                "{level: None, omitStages: [Panic, Never]}",
                "rules[0].omitStages[1]: Invalid value: \"Never\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic".to_owned(),
            ),
            (
                "{level: None, nonResourceURLs: ['*', 'a*b']}",
                format!("[rules[0].nonResourceURLs[1]: Invalid value: \"a*b\": {prefix} rules must begin with a '/' character, rules[0].nonResourceURLs[1]: Invalid value: \"a*b\": {prefix} wildcards '*' must be the final character of the rule]"),
            ),
            (
                "{level: None, nonResourceURLs: ['/a**']}",
                format!("rules[0].nonResourceURLs[0]: Invalid value: \"/a**\": {prefix} wildcards '*' must be the final character of the rule"),
            ),
            (
                "{level: None, nonResourceURLs: [/a], namespaces: [x]}",
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs".to_owned(),
            ),
            (
                "{level: None, resources: [{group: apps, resourceNames: [x]}]}",
                "rules[0].resources.resourceNames: Invalid value: [\"x\"]: using resourceNames requires at least one resource".to_owned(),
            ),
        ] {
            assert_eq!(error(&format!("rules: [{rule}]")), expected, "{rule}");
        }
        assert!(error("rules: [{level: None, resources: [{group: apps/v1}]}]").starts_with(
            "rules[0].resources.group: Invalid value: \"apps/v1\": a lowercase RFC 1123 subdomain"
        ));
        assert_eq!(
            error("omitStages: [x]\nrules: [{level: None}, {}]"),
            "[omitStages[0]: Invalid value: \"x\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic, rules[1].level: Required value]"
        );
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        assert_eq!(error("rules:"), "loaded illegal policy with 0 rules");
        assert_eq!(
            read("apiVersion: v1\nkind: Pod\nrules: []").unwrap_err(),
            "unknown group version field v1, Kind=Pod in policy, expected audit.k8s.io/v1, Kind=Policy"
        );
        assert!(error("rules: 3").starts_with("failed decoding: "));
    }

    #[test]
    fn unknown_fields_mean_nothing() {
        let text = "extra: 1\nrules: [{level: None, verb: [get], resources: [{names: [a]}]}]";
        let (policy, unknown) = read(&format!("{HEAD}{text}")).unwrap();
        assert_eq!(policy.rules.len(), 1);
        assert_eq!(unknown, ["extra", "rules[0].verb", "rules[0].resources[0].names"]);
    }
}
