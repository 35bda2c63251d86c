//! `cargo xtask bench extension`: what kinds, webhooks and policies cost that a user adds.
//!
//! **Contract**: requests over one connection, one at a time, beside the same requests without the extension, in turn, so
//! that both see the same machine. What is measured against what is in the figure's name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::load::{Call, Connection, Target};
use super::process;
use super::report::Row;
use super::sample::Sample;
use super::webhook::Webhook;

/// Where the objects are; the webhook is asked about the second one.
const NAMESPACE: &str = "bench";
const HOOKED: &str = "bench-hooked";
const GROUP: &str = "bench.example.com";
const CREATE: &str = "create, ms";
/// Connections that make definitions.
const WRITERS: usize = 4;
/// What a definition's first object may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Arguments of `cargo xtask bench extension`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of definitions of which the first object is waited for.
    #[arg(long, default_value_t = 50)]
    definitions: u32,
    /// Number of objects in each measurement of a create.
    #[arg(long, default_value_t = 1000)]
    objects: u32,
    /// Number of policies.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    policies: u32,
    /// Number of definitions of the large cluster.
    #[arg(long, default_value_t = 500)]
    kinds: u32,
    /// Number of restarts with and without these.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Seconds over which an idle cluster is observed.
    #[arg(long, default_value_t = 65, value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,
    /// Measure as this program was built: to see whether it works.
    #[arg(long)]
    pub(super) quick: bool,
    /// Folder of a built `minik`; built with the release profile if absent.
    #[arg(long, value_name = "FOLDER")]
    pub(super) binaries: Option<PathBuf>,
}

/// Measures everything; a row a figure.
pub(super) async fn run(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let mut rows = requests(args, minik).await?;
    rows.extend(many_kinds(args, minik).await?);
    Ok(rows)
}

/// What single requests take.
async fn requests(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let cluster = Cluster::new(minik, "extension")?;
    cluster.start()?;
    let target = Target::new(&cluster.config().await?)?;
    let mut connection = target.connect().await?;
    for name in [NAMESPACE, HOOKED] {
        connection.drain(&create_namespace(name)).await?;
    }
    let mut rows = Vec::new();

    eprintln!("{} definitions and their first objects", args.definitions);
    let mut first = Sample::default();
    for index in 0..args.definitions {
        let before = Instant::now();
        connection.drain(&define(&format!("First{index}"))).await?;
        first_object(&mut connection, &format!("First{index}")).await?;
        first.push(millis(before.elapsed()));
    }
    rows.push(Row::at_most("CRD created → first object accepted, ms", 20.0, &first));

    eprintln!("{} custom objects, each next to a config map", args.objects);
    connection.drain(&define("Measured")).await?;
    first_object(&mut connection, "Measured").await?;
    let (mut custom, mut plain) = (Sample::default(), Sample::default());
    for index in 0..args.objects {
        let name = format!("object-{index:06}");
        custom.push(timed(&mut connection, &create_custom("Measured", &name)).await?);
        plain.push(timed(&mut connection, &create_map(NAMESPACE, &name)).await?);
    }
    rows.push(Row::known(&format!("custom object: {CREATE}"), &custom));
    rows.push(Row::known(&format!("config map: {CREATE}"), &plain));
    let ratio = custom.median() / plain.median();
    rows.push(Row::ratio("create of a custom object p50 / of a config map p50", 1.5, ratio));

    rows.extend(webhook(args, &mut connection).await?);
    rows.extend(policies(args, &mut connection).await?);
    cluster.delete()?;
    Ok(rows)
}

async fn webhook(args: &Args, connection: &mut Connection) -> Result<[Row; 3]> {
    eprintln!("{} config maps through a webhook, each next to one without", args.objects);
    let webhook = Webhook::start().await?;
    let configuration = webhook.configuration("bench", HOOKED);
    connection
        .drain(&post("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", &configuration))
        .await?;
    // The connection is made once.
    let made = connection.read(&create_map(HOOKED, "warm-up")).await?;
    let made: Value = serde_json::from_slice(&made)?;
    ensure!(made["data"]["mutated"] == "yes", "the webhook was not asked");
    webhook.own_times();
    let (mut hooked, mut plain, mut own) = (Sample::default(), Sample::default(), Sample::default());
    for index in 0..args.objects {
        let name = format!("hooked-{index:06}");
        hooked.push(timed(connection, &create_map(HOOKED, &name)).await?);
        plain.push(timed(connection, &create_map(NAMESPACE, &name)).await?);
    }
    webhook.own_times().into_iter().for_each(|time| own.push(millis(time)));
    ensure!(own.len() == args.objects as usize, "the webhook was asked {} times", own.len());
    let added = hooked.median() - plain.median() - own.median();
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/bench";
    connection.drain(&Call { method: Method::DELETE, path: path.to_owned(), body: None }).await?;
    Ok([
        Row::known(&format!("config map through a webhook: {CREATE}"), &hooked),
        Row::known("the webhook's own time, ms", &own),
        Row::ratio("what a webhook adds to a create beyond its own time, p50, ms", 2.0, added),
    ])
}

async fn policies(args: &Args, connection: &mut Connection) -> Result<[Row; 3]> {
    eprintln!("{} pods before and after {} policies", args.objects, args.policies);
    let mut plain = Sample::default();
    for index in 0..args.objects {
        plain.push(timed(connection, &create_pod(&format!("plain-{index:06}"))).await?);
    }
    for index in 0..args.policies {
        for (plural, object) in policy(index) {
            connection
                .drain(&post(&format!("/apis/admissionregistration.k8s.io/v1/{plural}"), &object))
                .await?;
        }
    }
    let mut checked = Sample::default();
    for index in 0..args.objects {
        checked.push(timed(connection, &create_pod(&format!("checked-{index:06}"))).await?);
    }
    let each = (checked.median() - plain.median()) / f64::from(args.policies);
    Ok([
        Row::known(&format!("pod: {CREATE}"), &plain),
        Row::known(&format!("pod under {} policies: {CREATE}", args.policies), &checked),
        Row::ratio("what each policy adds to the create of a pod, p50, ms", 0.3, each),
    ])
}

/// What it costs that there are many kinds, of which none is used.
async fn many_kinds(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let cluster = Cluster::new(minik, "kinds")?;
    cluster.start()?;
    eprintln!("restarts without definitions");
    let before = at_rest(args, &cluster).await?;
    eprintln!("{} definitions", args.kinds);
    let target = Target::new(&cluster.config().await?)?;
    let calls = (0..args.kinds).map(|index| define(&format!("Kind{index}"))).collect();
    let mut rate = Sample::default();
    rate.push(target.each(calls, WRITERS).await?);
    let mut connection = target.connect().await?;
    connection.drain(&create_namespace(NAMESPACE)).await?;
    first_object(&mut connection, &format!("Kind{}", args.kinds.saturating_sub(1))).await?;
    eprintln!("restarts with them");
    let after = at_rest(args, &cluster).await?;
    cluster.delete()?;
    let kinds = args.kinds;
    let more = |index: usize| after[index].median() - before[index].median();
    Ok(vec![
        Row::known(&format!("{kinds} definitions installed, definitions/s"), &rate),
        Row::known("kill -9 → start → API ready without them, s", &before[0]),
        Row::known(&format!("the same with {kinds} definitions, s"), &after[0]),
        Row::ratio(&format!("what {kinds} definitions add to the start, p50, s"), 1.0, more(0)),
        Row::known("resident memory (RSS), idle, without them, MiB", &before[1]),
        Row::ratio(&format!("what {kinds} definitions add to it, MiB"), 60.0, more(1)),
        Row::known("CPU, idle, without them, % of one core", &before[2]),
        Row::known(&format!("CPU, idle, with {kinds} definitions, % of one core"), &after[2]),
    ])
}

/// Start-up, memory and CPU of a cluster that is killed and started again.
async fn at_rest(args: &Args, cluster: &Cluster) -> Result<[Sample; 3]> {
    let mut samples = [Sample::default(), Sample::default(), Sample::default()];
    for _ in 0..args.runs {
        cluster.kill()?;
        samples[0].push_time(cluster.start()?.api_ready);
    }
    let idle = process::observe(cluster.pid()?, Duration::from_secs(args.idle)).await?;
    samples[1].push(idle.rss_mib);
    samples[2].push(idle.cpu_percent);
    Ok(samples)
}

fn millis(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}

async fn timed(connection: &mut Connection, call: &Call) -> Result<f64> {
    let before = Instant::now();
    connection.drain(call).await?;
    Ok(millis(before.elapsed()))
}

/// Creates an object of a kind as soon as that is served.
async fn first_object(connection: &mut Connection, kind: &str) -> Result<()> {
    let call = create_custom(kind, "first");
    let limit = Instant::now() + LIMIT;
    loop {
        let status = connection.status(&call).await?;
        if status.is_success() {
            return Ok(());
        }
        ensure!(status == StatusCode::NOT_FOUND && Instant::now() < limit, "{kind}: {status}");
        sleep(Duration::from_millis(1)).await;
    }
}

fn post(path: &str, object: &Value) -> Call {
    Call { method: Method::POST, path: path.to_owned(), body: Some(object.to_string().into()) }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

fn create_namespace(name: &str) -> Call {
    post("/api/v1/namespaces", &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
}

fn create_map(namespace: &str, name: &str) -> Call {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "bench"}},
        "data": {"key": "value", "text": "x".repeat(200)},
    });
    post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &map)
}

fn create_custom(kind: &str, name: &str) -> Call {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {
            "deletionPolicy": "Delete", "providerConfigRef": {"name": "default"},
            "forProvider": {"region": "eu-central-1", "group0": {"name": "n", "text": "x".repeat(200), "size": 3}},
        },
    });
    post(&format!("/apis/{GROUP}/v1/namespaces/{NAMESPACE}/{}", plural(kind)), &object)
}

fn create_pod(name: &str) -> Call {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {
            "schedulerName": "none", "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "busybox:latest", "resources": {"limits": {"memory": "64Mi"}}}],
        },
    });
    post(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), &pod)
}

/// A policy as clusters have them, and its binding.
fn policy(index: u32) -> [(&'static str, Value); 2] {
    let name = format!("bench-{index}");
    let rule = json!({
        "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
    });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "variables": [{"name": "containers", "expression": "object.spec.containers"}],
            "validations": [
                {"expression": "variables.containers.all(c, !c.image.startsWith('forbidden/'))"},
                {"expression": "variables.containers.all(c, has(c.resources) && has(c.resources.limits))"},
                {"expression": "!('forbidden' in object.metadata.?labels.orValue({}))",
                    "messageExpression": "object.metadata.name + ' has a forbidden label'"},
            ],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    [("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)]
}

/// A definition of some 20 KiB in the style of Crossplane's providers.
fn define(kind: &str) -> Call {
    let description =
        "A parameter of the external resource, with what its documentation says about it. ".repeat(3);
    let text = || json!({"type": "string", "description": description});
    let mut parameters = Map::new();
    parameters.insert("region".to_owned(), text());
    for index in 0..12 {
        let group = json!({"type": "object", "description": description, "required": ["name"], "properties": {
            "name": text(), "text": text(), "size": {"type": "integer", "format": "int64", "description": description},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "granular"},
            "refs": {"type": "array", "items": {"type": "object", "properties": {"name": text()}}},
        }});
        parameters.insert(format!("group{index}"), group);
    }
    let at_provider = Value::Object(parameters.clone());
    let rule = json!([{"rule": "!has(self.deletionPolicy) || self.deletionPolicy in ['Orphan', 'Delete']"}]);
    let schema = json!({"type": "object", "description": description, "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["forProvider"], "x-kubernetes-validations": rule, "properties": {
            "deletionPolicy": {"type": "string", "default": "Delete", "description": description},
            "providerConfigRef": {"type": "object", "default": {"name": "default"}, "properties": {"name": text()}},
            "forProvider": {"type": "object", "properties": parameters}}},
        "status": {"type": "object", "properties": {
            "atProvider": {"type": "object", "properties": at_provider},
            "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type", "status"], "properties": {
                    "type": text(), "status": text(), "reason": text(), "message": text()}}}}},
    }});
    let column = |name: &str, path: &str| json!({"name": name, "type": "string", "jsonPath": path});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", plural(kind))},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural(kind), "singular": kind.to_lowercase(), "categories": ["managed"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("READY", ".status.conditions[?(@.type=='Ready')].status"),
                    column("SYNCED", ".status.conditions[?(@.type=='Synced')].status"),
                ],
            }],
        },
    });
    post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition)
}
