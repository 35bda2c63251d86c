//! `describe`'s layouts: THE LIST of kinds with their own, and the parts they share.
//!
//! **Contract.** A layout writes lines whose cells end with tabs; `commands::describe` aligns the whole. It may ask the
//! server for more (events, a node's pods), never fails because of events.
//! **Upstream.** `kubectl/pkg/describe/describe.go` (behaviour).

mod autoscaling;
mod batch;
mod certificate_request;
mod config_map;
mod containers;
mod endpoints;
pub(crate) mod events;
mod generic;
mod limits;
mod namespace;
mod network;
mod network_policy;
mod node;
mod persistent_volume;
mod pod;
pub(crate) mod pod_template;
mod priority_class;
pub(crate) mod rbac;
mod secret;
mod service;
mod service_account;
mod sources;
mod storage;
mod volumes;
mod workloads;

use futures::future::BoxFuture;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::commands::Context;
use crate::discovery::Resource;
use crate::output::json::sorted;
use crate::report::Error;

/// An annotation value longer than this goes on lines of its own.
const MAX_ANNOTATION: usize = 140;

type Layout = for<'a> fn(&'a Describe<'a>, &'a Value) -> BoxFuture<'a, Result<String, Error>>;

/// THE LIST: group, kind and layout.
const LAYOUTS: &[(&str, &str, Layout)] = &[
    ("", "ConfigMap", |describe, object| Box::pin(config_map::describe(describe, object))),
    ("", "Endpoints", |describe, object| Box::pin(endpoints::endpoints(describe, object))),
    ("", "LimitRange", |_, object| Box::pin(limits::limit_range(object))),
    ("", "Namespace", |describe, object| Box::pin(namespace::describe(describe, object))),
    ("", "Node", |describe, object| Box::pin(node::describe(describe, object))),
    ("", "PersistentVolume", |describe, object| Box::pin(persistent_volume::describe(describe, object))),
    ("", "PersistentVolumeClaim", |describe, object| Box::pin(storage::claim(describe, object))),
    ("", "Pod", |describe, object| Box::pin(pod::describe(describe, object))),
    ("", "ReplicationController", |describe, object| Box::pin(workloads::replicas(describe, object))),
    ("", "ResourceQuota", |_, object| Box::pin(limits::quota(object))),
    ("", "Secret", |describe, object| Box::pin(secret::describe(describe, object))),
    ("", "Service", |describe, object| Box::pin(service::describe(describe, object))),
    ("", "ServiceAccount", |describe, object| Box::pin(service_account::describe(describe, object))),
    ("apps", "DaemonSet", |describe, object| Box::pin(workloads::daemon_set(describe, object))),
    ("apps", "Deployment", |describe, object| Box::pin(workloads::deployment(describe, object))),
    ("apps", "ReplicaSet", |describe, object| Box::pin(workloads::replicas(describe, object))),
    ("apps", "StatefulSet", |describe, object| Box::pin(workloads::stateful_set(describe, object))),
    ("autoscaling", "HorizontalPodAutoscaler", |describe, object| {
        Box::pin(autoscaling::autoscaler(describe, object))
    }),
    ("batch", "CronJob", |describe, object| Box::pin(batch::cron_job(describe, object))),
    ("batch", "Job", |describe, object| Box::pin(batch::job(describe, object))),
    ("certificates.k8s.io", "CertificateSigningRequest", |describe, object| {
        Box::pin(certificate_request::describe(describe, object))
    }),
    ("discovery.k8s.io", "EndpointSlice", |describe, object| Box::pin(endpoints::slice(describe, object))),
    ("networking.k8s.io", "Ingress", |describe, object| Box::pin(network::ingress(describe, object))),
    ("networking.k8s.io", "IngressClass", |describe, object| {
        Box::pin(network::ingress_class(describe, object))
    }),
    ("networking.k8s.io", "IPAddress", |describe, object| Box::pin(network::ip_address(describe, object))),
    ("networking.k8s.io", "NetworkPolicy", |describe, object| {
        Box::pin(network_policy::describe(describe, object))
    }),
    ("networking.k8s.io", "ServiceCIDR", |describe, object| {
        Box::pin(network::service_cidr(describe, object))
    }),
    ("policy", "PodDisruptionBudget", |describe, object| {
        Box::pin(autoscaling::disruption_budget(describe, object))
    }),
    ("rbac.authorization.k8s.io", "ClusterRole", |_, object| Box::pin(rbac::role(object))),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", |_, object| Box::pin(rbac::binding(object))),
    ("rbac.authorization.k8s.io", "Role", |_, object| Box::pin(rbac::role(object))),
    ("rbac.authorization.k8s.io", "RoleBinding", |_, object| Box::pin(rbac::binding(object))),
    ("scheduling.k8s.io", "PriorityClass", |describe, object| {
        Box::pin(priority_class::describe(describe, object))
    }),
    ("storage.k8s.io", "CSINode", |describe, object| Box::pin(storage::node(describe, object))),
    ("storage.k8s.io", "StorageClass", |describe, object| Box::pin(storage::class(describe, object))),
    ("storage.k8s.io", "VolumeAttributesClass", |describe, object| {
        Box::pin(storage::attributes_class(describe, object))
    }),
];

/// What a layout works with.
pub(crate) struct Describe<'a> {
    /// Connection and clock.
    pub(crate) context: &'a Context,
    /// The object's type.
    pub(crate) resource: &'a Resource,
    /// `--show-events`
    pub(crate) show_events: bool,
}

impl Describe<'_> {
    /// The object's text, not yet aligned.
    pub(crate) async fn text(&self, object: &Value) -> Result<String, Error> {
        let own = LAYOUTS
            .iter()
            .find(|(group, kind, _)| *group == self.resource.group && *kind == self.resource.kind);
        match own {
            Some((_, _, layout)) => layout(self, object).await,
            None => generic::describe(self, object).await,
        }
    }

    /// A wire timestamp as `describe` shows it.
    pub(crate) fn time(&self, value: &Value) -> String {
        show_time(value, &self.context.terminal.time_zone())
    }

    /// A wire timestamp as Go prints one.
    pub(crate) fn go_time(&self, value: &Value) -> String {
        let Some(time) = value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
            return "0001-01-01 00:00:00 +0000 UTC".to_owned();
        };
        time.to_zoned(self.context.terminal.time_zone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
    }
}

/// `Thu, 01 Jan 2026 00:00:00 +0000`; the zero time where there is none.
pub(crate) fn show_time(value: &Value, zone: &TimeZone) -> String {
    let Some(time) = value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "Mon, 01 Jan 0001 00:00:00 +0000".to_owned();
    };
    time.to_zoned(zone.clone()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

/// `Conditions:` with the times of their changes; nothing where there are none.
pub(crate) fn conditions(describe: &Describe<'_>, status: &Value) -> String {
    let all = items(status, "conditions");
    if all.is_empty() {
        return String::new();
    }
    let mut out = "Conditions:\n  Type\tStatus\tLastTransitionTime\tReason\tMessage\n  ----\t------\t------------------\t------\t-------\n".to_owned();
    for one in all {
        let time = describe.time(&one["lastTransitionTime"]);
        let (kind, status) = (text(one, "type"), text(one, "status"));
        out += &format!("  {kind}\t{status}\t{time}\t{}\t{}\n", text(one, "reason"), text(one, "message"));
    }
    out
}

/// A text field, empty where it is missing.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("")
}

/// The items of a list field.
pub(crate) fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

/// How many bytes a base64 text stands for.
pub(crate) fn decoded_length(text: &str) -> usize {
    let digits = text.bytes().filter(|byte| !matches!(byte, b'=' | b'\n' | b'\r')).count();
    digits * 3 / 4
}

/// `True` or `False`.
pub(crate) fn title_bool(value: &Value) -> &'static str {
    if value.as_bool().unwrap_or(false) { "True" } else { "False" }
}

/// `Labels:` and the like: one pair a line.
pub(crate) fn labels(title: &str, map: &Value) -> String {
    let pairs = map.as_object().map(sorted).unwrap_or_default();
    let lines: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    column(title, &lines)
}

/// A title and lines in the second column; `<none>` where there are none.
pub(crate) fn column(title: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        format!("{title}:\t<none>\n")
    } else {
        format!("{title}:\t{}\n", lines.join("\n\t"))
    }
}

/// `Annotations:`, without what `apply` keeps for itself.
pub(crate) fn annotations(map: &Value) -> String {
    let mut lines = Vec::new();
    for (key, value) in map.as_object().map(sorted).unwrap_or_default() {
        if key == "kubectl.kubernetes.io/last-applied-configuration" {
            continue;
        }
        let value = value.as_str().unwrap_or("");
        let value = value.strip_suffix('\n').unwrap_or(value);
        if key.len() + value.len() + 2 <= MAX_ANNOTATION && !value.contains('\n') {
            lines.push(format!("{key}: {value}"));
            continue;
        }
        lines.push(format!("{key}:"));
        lines.extend(value.split('\n').map(|line| format!("  {}", shorten(line, MAX_ANNOTATION - 2))));
    }
    column("Annotations", &lines)
}

fn shorten(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests;
