//! What a PodSpec says when it does not say.
//!
//! **Contract**: idempotent.
//! **Upstream**: `SetDefaults_Pod`, `SetDefaults_PodSpec`, `SetDefaults_Container`, …

use crate::resources::edit;
use crate::resources::edit::{child, child_or_new, each, set_default, set_default_text, text};
use api::quantity::Quantity;
use serde_json::{Value, json};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// Sources of a volume; a volume without any is an emptyDir.
const DEFAULT_FILE_MODE: i32 = 0o644;

/// Sources of projected volumes whose feature gates are off: as upstream does, what they ask for is dropped.
const DISABLED_PROJECTIONS: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

/// Whose PodSpec it is: some defaults are a pod's alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Pod,
    Template,
}

/// Fills the defaults of a Pod's PodSpec.
pub(crate) fn default_pod_spec(spec: &mut Value) {
    default_spec(spec, Owner::Pod);
}

/// Fills the defaults of a template's PodSpec: requests do not come from limits yet, nor host ports from ports.
pub(crate) fn default_template_spec(spec: &mut Value) {
    default_spec(spec, Owner::Template);
}

fn default_spec(spec: &mut Value, owner: Owner) {
    set_default_text(spec, "restartPolicy", "Always");
    set_default_text(spec, "dnsPolicy", "ClusterFirst");
    set_default_text(spec, "schedulerName", api::well_known::DEFAULT_SCHEDULER);
    set_default(spec, "terminationGracePeriodSeconds", 30);
    if owner == Owner::Pod {
        set_default(spec, "enableServiceLinks", true);
    }
    set_default(spec, "securityContext", json!({}));
    sync_service_account(spec);
    let host_ports = owner == Owner::Pod && spec["hostNetwork"] == true;
    for list in CONTAINER_LISTS {
        each(spec, list).for_each(|container| default_container(container, owner, host_ports));
    }
    each(spec, "volumes").for_each(default_volume);
    if let Some(overhead) = child(spec, "overhead") {
        canonical_amounts(overhead);
    }
    if let Some(resources) = child(spec, "resources") {
        default_resources(resources, owner);
    }
}

/// Upstream keeps the former spelling `serviceAccount` equal to `serviceAccountName`.
pub(crate) fn sync_service_account(spec: &mut Value) {
    if text(spec, "serviceAccountName").is_empty() {
        edit::remove(spec, "serviceAccountName");
        edit::copy_as(spec, "serviceAccount", "serviceAccountName");
    }
    edit::copy_as(spec, "serviceAccountName", "serviceAccount");
}

fn default_container(container: &mut Value, owner: Owner, host_ports: bool) {
    let pull = if pulls_latest(text(container, "image")) { "Always" } else { "IfNotPresent" };
    set_default_text(container, "imagePullPolicy", pull);
    set_default_text(container, "terminationMessagePath", "/dev/termination-log");
    set_default_text(container, "terminationMessagePolicy", "File");
    if let Some(resources) = child_or_new(container, "resources") {
        default_resources(resources, owner);
    }
    for port in each(container, "ports") {
        set_default_text(port, "protocol", "TCP");
        if host_ports && edit::is_empty(&port["hostPort"]) {
            edit::copy_as(port, "containerPort", "hostPort");
        }
    }
    for variable in each(container, "env") {
        if let Some(source) = child(variable, "valueFrom") {
            default_field_ref(source);
            default_divisor(source);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, probe) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        // `ContainerStopSignals` is off: as upstream does, what it asks for is dropped.
        let dropped = edit::remove(lifecycle, "stopSignal").is_some_and(|signal| !signal.is_null());
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = child(lifecycle, hook) {
                default_http_get(hook);
            }
        }
        if dropped && edit::is_empty(lifecycle) {
            edit::remove(container, "lifecycle");
        }
    }
}

/// Whether an image names the tag `latest`, or neither tag nor digest.
fn pulls_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    match name.rsplit('/').next().unwrap_or(name).split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !digest,
    }
}

/// Requests come from limits; amounts are kept in their canonical form, as upstream's decoder keeps them.
fn default_resources(resources: &mut Value, owner: Owner) {
    for field in ["limits", "requests"] {
        if let Some(list) = child(resources, field) {
            canonical_amounts(list);
        }
    }
    let limits = resources["limits"].clone();
    if owner == Owner::Template || edit::is_empty(&limits) {
        return;
    }
    if let Some(requests) = child_or_new(resources, "requests") {
        for (name, amount) in limits.as_object().into_iter().flatten() {
            set_default(requests, name, amount.clone());
        }
    }
}

/// Writes the amounts of a map in their canonical form.
pub(crate) fn canonical_amounts(list: &mut Value) {
    for amount in list.as_object_mut().into_iter().flat_map(|m| m.values_mut()) {
        let written = match &*amount {
            Value::String(s) => s.clone(),
            Value::Number(n) => n.to_string(),
            _ => continue,
        };
        if let Ok(quantity) = written.parse::<Quantity>() {
            *amount = quantity.to_string().into();
        }
    }
}

fn default_field_ref(source: &mut Value) {
    if let Some(reference) = child(source, "fieldRef") {
        set_default_text(reference, "apiVersion", "v1");
    }
}

fn default_divisor(source: &mut Value) {
    if let Some(reference) = child(source, "resourceFieldRef") {
        set_default(reference, "divisor", "0");
    }
}

fn default_http_get(handler: &mut Value) {
    if let Some(get) = child(handler, "httpGet") {
        set_default_text(get, "path", "/");
        set_default_text(get, "scheme", "HTTP");
    }
}

/// **Upstream**: `SetDefaults_Probe`.
fn default_probe(probe: &mut Value) {
    default_http_get(probe);
    if let Some(grpc) = child(probe, "grpc") {
        set_default(grpc, "service", "");
    }
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if edit::is_empty(&probe[field]) {
            edit::set(probe, field, value);
        }
    }
}

fn default_files(source: &mut Value) {
    for item in each(source, "items") {
        default_field_ref(item);
        default_divisor(item);
    }
}

fn default_volume(volume: &mut Value) {
    let sources =
        volume.as_object().map_or(0, |v| v.iter().filter(|(k, v)| *k != "name" && !v.is_null()).count());
    if sources == 0 {
        edit::set(volume, "emptyDir", json!({}));
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, kind) {
            set_default(source, "defaultMode", DEFAULT_FILE_MODE);
            default_files(source);
        }
    }
    if let Some(path) = child(volume, "hostPath") {
        set_default(path, "type", "");
    }
    if let Some(image) = child(volume, "image") {
        let pull = if pulls_latest(text(image, "reference")) { "Always" } else { "IfNotPresent" };
        set_default_text(image, "pullPolicy", pull);
    }
    if let Some(template) = child(volume, "ephemeral").and_then(|e| child(e, "volumeClaimTemplate"))
        && let Some(spec) = child(template, "spec")
    {
        set_default_text(spec, "volumeMode", "Filesystem");
    }
    if let Some(empty) = child(volume, "emptyDir")
        && let Some(Ok(limit)) = empty["sizeLimit"].as_str().map(str::parse::<Quantity>)
    {
        edit::set(empty, "sizeLimit", limit.to_string());
    }
    if let Some(projected) = child(volume, "projected") {
        for source in each(projected, "sources") {
            for field in DISABLED_PROJECTIONS {
                edit::remove(source, field);
            }
            if let Some(token) = child(source, "serviceAccountToken") {
                set_default(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = child(source, "downwardAPI") {
                default_files(downward);
            }
        }
    }
}
