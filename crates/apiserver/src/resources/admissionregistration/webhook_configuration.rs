//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration: servers that are asked before writes.
//!
//! **Upstream**: `validateMutatingWebhook`, `validateValidatingWebhook`.

use super::rules::{self, Conditions};
use crate::admission::declared::Variables;
use crate::admission::variables::environment;
use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{each, items, text};
use crate::resources::{cells, check, edit, webhook_client};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The strategy of one of the two kinds.
pub(crate) struct WebhookConfiguration {
    resource: Resource,
    mutating: bool,
}

impl WebhookConfiguration {
    pub(crate) fn mutating() -> Self {
        let (plural, singular) = ("mutatingwebhookconfigurations", "mutatingwebhookconfiguration");
        Self::of("MutatingWebhookConfiguration", plural, singular, true)
    }

    pub(crate) fn validating() -> Self {
        let (plural, singular) = ("validatingwebhookconfigurations", "validatingwebhookconfiguration");
        Self::of("ValidatingWebhookConfiguration", plural, singular, false)
    }

    fn of(kind: &'static str, plural: &'static str, singular: &'static str, mutating: bool) -> Self {
        let resource = Resource::new(super::GROUP, "v1", kind, plural, singular, Scope::Cluster);
        Self { resource: resource.in_categories(super::CATEGORIES), mutating }
    }
}

/// A name in a domain of three parts at least.
fn check_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    check::invalid(errors, path, &name.into(), check::subdomain(name));
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        errors.push(Error::invalid(path, name, detail));
    }
}

impl WebhookConfiguration {
    fn check_webhook(&self, errors: &mut ErrorList, path: &Path, webhook: &Value, conditions: Conditions) {
        check_name(errors, &path.child("name"), text(webhook, "name"));
        rules::check_rules(errors, path, webhook, "rules");
        rules::check_policies(errors, path, webhook);
        let (effects, at) = (text(webhook, "sideEffects"), path.child("sideEffects"));
        if effects.is_empty() {
            errors.push(Error::required(&at, "must specify one of None, NoneOnDryRun"));
        } else if !SIDE_EFFECTS.contains(&effects) {
            errors.push(Error::not_supported(&at, effects, SIDE_EFFECTS));
        }
        if let Some(seconds) = webhook["timeoutSeconds"].as_i64().filter(|s| !(1..=30).contains(s)) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.push(Error::invalid(&path.child("timeoutSeconds"), seconds, detail));
        }
        let policy = &webhook["reinvocationPolicy"];
        if self.mutating {
            let policies = &["IfNeeded", "Never"];
            check::one_of_if_set(errors, &path.child("reinvocationPolicy"), policy, policies);
        }
        webhook_client::check(errors, &path.child("clientConfig"), &webhook["clientConfig"]);
        let versions = items(webhook, "admissionReviewVersions");
        let path_of_versions = path.child("admissionReviewVersions");
        let missing = format!("must specify one of {}", REVIEW_VERSIONS.join(", "));
        webhook_client::check_versions(errors, &path_of_versions, versions, &REVIEW_VERSIONS, &missing);
        if conditions == Conditions::New {
            rules::check_conditions(errors, path, webhook, &Variables::of(environment()));
        }
    }

    fn check(&self, object: &Value, conditions: Conditions) -> ErrorList {
        let mut errors = ErrorList::new();
        let webhooks = items(object, "webhooks");
        for (i, webhook) in webhooks.iter().enumerate() {
            let path = Path::new("webhooks").index(i);
            self.check_webhook(&mut errors, &path, webhook, conditions);
            let name = text(webhook, "name");
            if !name.is_empty() && webhooks[..i].iter().any(|other| text(other, "name") == name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        errors
    }
}

/// The match conditions of each webhook.
fn conditions(object: &Value) -> Vec<&Value> {
    items(object, "webhooks").iter().map(|webhook| &webhook["matchConditions"]).collect()
}

impl Strategy for WebhookConfiguration {
    fn resource(&self) -> &Resource {
        &self.resource
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        for webhook in each(object, "webhooks") {
            edit::set_default(webhook, "failurePolicy", "Fail");
            edit::set_default(webhook, "matchPolicy", "Equivalent");
            edit::set_default(webhook, "namespaceSelector", json!({}));
            edit::set_default(webhook, "objectSelector", json!({}));
            edit::set_default(webhook, "timeoutSeconds", 10);
            if self.mutating {
                edit::set_default(webhook, "reinvocationPolicy", "Never");
            }
            rules::default_rules(webhook, "rules");
            if let Some(service) =
                edit::child(webhook, "clientConfig").and_then(|client| edit::child(client, "service"))
            {
                edit::set_default(service, "port", 443);
            }
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        self.check(object, Conditions::New)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let known = conditions(object) == conditions(old);
        self.check(object, if known { Conditions::Known } else { Conditions::New })
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Webhooks", "integer")
                    .text("Webhooks indicates the number of webhooks registered in this configuration"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), items(object, "webhooks").len().into(), cells::age(object, now)]
    }
}
