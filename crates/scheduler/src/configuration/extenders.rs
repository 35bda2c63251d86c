//! What a configuration says about extenders.
//!
//! **Upstream**: `Extender` of `kube-scheduler/config/v1`, `validateExtenders` of `apis/config/validation`.

use super::invalid;
use api::field::Path;
use api::k8s_openapi::api::core::v1::{Container, PodSpec};
use api::names::{is_extended_resource, qualified_name};
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// `DefaultExtenderTimeout`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One extender: where it is, and what it is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ExtenderSpec {
    pub(crate) url_prefix: String,
    pub(crate) filter_verb: String,
    pub(crate) preempt_verb: String,
    pub(crate) prioritize_verb: String,
    pub(crate) weight: i64,
    pub(crate) bind_verb: String,
    #[serde(rename = "enableHTTPS")]
    pub(crate) enable_https: bool,
    pub(crate) tls_config: Option<Tls>,
    http_timeout: String,
    /// It knows the nodes itself: their names are enough.
    pub(crate) node_cache_capable: bool,
    managed_resources: Vec<Managed>,
    /// What it does not answer does not matter.
    pub(crate) ignorable: bool,
    #[serde(skip)]
    timeout: Option<Duration>,
}

/// How its connections are secured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Tls {
    pub(crate) insecure: bool,
    pub(crate) server_name: String,
    pub(crate) cert_file: String,
    pub(crate) key_file: String,
    pub(crate) ca_file: String,
    pub(crate) cert_data: String,
    pub(crate) key_data: String,
    pub(crate) ca_data: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Managed {
    name: String,
    #[serde(default)]
    ignored_by_scheduler: bool,
}

impl ExtenderSpec {
    /// How long it may take for an answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// Whether it has a say about such a pod: it manages everything, or something that the pod asks for.
    pub(crate) fn is_interested(&self, pod: &PodSpec) -> bool {
        let manages = |container: &Container| {
            let resources = container.resources.as_ref();
            let lists =
                [resources.and_then(|r| r.requests.as_ref()), resources.and_then(|r| r.limits.as_ref())];
            let mut names = lists.into_iter().flatten().flat_map(BTreeMap::keys);
            names.any(|name| self.managed_resources.iter().any(|managed| managed.name == *name))
        };
        let mut containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
        self.managed_resources.is_empty() || containers.any(manages)
    }

    /// The resources that the scheduler itself leaves alone.
    pub(super) fn ignored(&self) -> impl Iterator<Item = &String> {
        self.managed_resources
            .iter()
            .filter(|managed| managed.ignored_by_scheduler)
            .map(|managed| &managed.name)
    }
}

/// Completes and checks them all.
pub(super) fn validate(all: &mut [ExtenderSpec], errors: &mut Vec<String>) {
    let list = Path::new("extenders");
    let mut managed = BTreeSet::new();
    for (index, extender) in all.iter_mut().enumerate() {
        let path = list.index(index);
        let uri = extender.url_prefix.parse::<http::Uri>();
        if !uri.is_ok_and(|uri| uri.scheme().is_some() && uri.authority().is_some()) {
            let url = extender.url_prefix.clone();
            errors.push(invalid(&path.child("urlPrefix"), url, "must be a URL with scheme and host"));
        }
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let why = "must have a positive weight applied to it";
            errors.push(invalid(&path.child("weight"), extender.weight, why));
        }
        if !extender.http_timeout.is_empty() {
            let span = extender.http_timeout.parse::<SignedDuration>().ok();
            match span.and_then(|span| Duration::try_from(span).ok()) {
                Some(span) => extender.timeout = Some(span).filter(|span| !span.is_zero()),
                None => {
                    let text = extender.http_timeout.clone();
                    errors.push(invalid(&path.child("httpTimeout"), text, "must be a duration such as 5s"));
                }
            }
        }
        for (index, resource) in extender.managed_resources.iter().enumerate() {
            let path = path.child("managedResources").index(index).child("name");
            for why in qualified_name(&resource.name) {
                errors.push(invalid(&path, resource.name.clone(), &why));
            }
            if !is_extended_resource(&resource.name) {
                errors.push(invalid(&path, resource.name.clone(), "is an invalid extended resource name"));
            }
            if !managed.insert(resource.name.clone()) {
                let why = "duplicate extender managed resource name";
                errors.push(invalid(&path, resource.name.clone(), why));
            }
        }
    }
    let binders = all.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    if binders > 1 {
        let found = format!("found {binders} extenders implementing bind");
        errors.push(invalid(&list, found, "only one extender can implement bind"));
    }
}
