//! One webhook as its configuration describes it.

use crate::admission::Attributes;
use crate::admission::matching::Criteria;
use crate::admission::variables::{self, Seen};
use crate::auth::Authorizer;
use crate::cel::Conditions;
use crate::outbound::{Dial, Outbound, TlsOptions};
use crate::resources::edit::{items, text};
use api::status::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component_base::logging::Chain;
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// **Upstream**: the default of `timeoutSeconds`.
const TIMEOUT_SECONDS: u64 = 10;

/// One webhook.
pub(super) struct Hook {
    pub(super) name: String,
    /// The name of its configuration.
    pub(super) configuration: String,
    /// Tells it from every other.
    pub(super) id: String,
    pub(super) criteria: Criteria,
    conditions: Conditions,
    pub(super) ignores_failures: bool,
    /// Whether it does nothing else when asked for a trial.
    pub(super) allows_dry_run: bool,
    pub(super) wants_reinvocation: bool,
    pub(super) timeout: Duration,
    /// The version of reviews that it is sent: `v1`, `v1beta1`; `None`: it knows neither.
    pub(super) review: Option<&'static str>,
    /// Where it is: `https://host:port/path`.
    pub(super) url: String,
    /// Whether that is a Service of the cluster.
    is_service: bool,
    ca: String,
    /// Made when it is first asked.
    client: OnceLock<Result<Outbound, String>>,
}

impl Hook {
    /// The webhooks of a configuration, in its order.
    pub(super) fn list(configuration: &Value) -> Vec<Self> {
        let of = text(&configuration["metadata"], "name");
        let hooks = items(configuration, "webhooks").iter().enumerate();
        hooks.map(|(index, hook)| Self::read(of, index, hook)).collect()
    }

    fn read(configuration: &str, index: usize, hook: &Value) -> Self {
        let client = &hook["clientConfig"];
        let versions = items(hook, "admissionReviewVersions");
        let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_SECONDS);
        Self {
            name: text(hook, "name").to_owned(),
            configuration: configuration.to_owned(),
            id: format!("{configuration}/{}/{index}", text(hook, "name")),
            criteria: Criteria::of_webhook(hook),
            conditions: Conditions::read(hook, &variables::environment()),
            ignores_failures: hook["failurePolicy"] == "Ignore",
            allows_dry_run: matches!(text(hook, "sideEffects"), "None" | "NoneOnDryRun"),
            wants_reinvocation: hook["reinvocationPolicy"] == "IfNeeded",
            timeout: Duration::from_secs(seconds),
            review: versions.iter().find_map(|version| match version.as_str() {
                Some("v1") => Some("v1"),
                Some("v1beta1") => Some("v1beta1"),
                _ => None,
            }),
            url: url(client),
            is_service: client["service"].is_object(),
            ca: text(client, "caBundle").to_owned(),
            client: OnceLock::new(),
        }
    }

    /// Whether its conditions hold for a request that its rules match.
    pub(super) fn is_wanted(
        &self,
        attributes: &Attributes<'_>,
        seen: &Seen<'_>,
        authorizer: &Arc<dyn Authorizer>,
    ) -> Result<bool, Status> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let context = variables::context(attributes, seen, authorizer);
        self.conditions.hold(&context).map_err(|why| {
            tracing::warn!(webhook = self.name, why, "failed evaluating match conditions");
            Status::forbidden(attributes.resource, attributes.name, &why)
        })
    }

    /// The connections to it.
    pub(super) fn client(&self, services: &Arc<dyn Dial>) -> Result<&Outbound, String> {
        let client = self.client.get_or_init(|| {
            let ca = STANDARD.decode(&self.ca).map_err(|error| error.to_string())?;
            let ca = String::from_utf8(ca).map_err(|error| error.to_string())?;
            let options = TlsOptions { ca_pem: (!ca.is_empty()).then_some(ca), ..TlsOptions::default() };
            let client = match self.is_service {
                true => Outbound::through(&options, Arc::clone(services)),
                false => Outbound::new(&options),
            };
            client.map_err(|error| Chain(&error).to_string())
        });
        client.as_ref().map_err(Clone::clone)
    }
}

/// Where a `WebhookClientConfig` leads.
pub(crate) fn url(client: &Value) -> String {
    let service = &client["service"];
    if !service.is_object() {
        return text(client, "url").to_owned();
    }
    let (name, namespace) = (text(service, "name"), text(service, "namespace"));
    let port = service["port"].as_u64().unwrap_or(443);
    let path = text(service, "path").trim_start_matches('/');
    format!("https://{name}.{namespace}.svc:{port}/{path}")
}
