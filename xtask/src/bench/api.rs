//! `cargo xtask bench api`: requests, lists, writes and watches against a cluster that nothing else uses.
//!
//! **Contract**: TLS with the user's certificate, the embedded store, writes on disk before they are acknowledged; client
//! and server share the machine. The objects, numbers of connections and of objects are those that genuine Kubernetes was
//! measured with (docs/benchmarks), whose figures the aims are multiples of.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use memchr::memchr;
use memchr::memmem::Finder;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::time::{Instant, timeout};

use super::cluster::Cluster;
use super::load::{Call, Target};
use super::process;
use super::report::Row;
use super::sample::Sample;

/// Where the objects are.
const NAMESPACE: &str = "bench";
/// Connections that make objects where their number is not measured.
const WRITERS: usize = 16;
/// What stands before the number of an update.
const MARKER: &[u8] = b"\"update\":\"";
/// What one watch may take in all.
const WATCH_LIMIT: Duration = Duration::from_secs(120);
/// What memory is measured after: long enough for the server to give back what a burst has left.
const AT_REST: Duration = Duration::from_secs(65);

/// Arguments of `cargo xtask bench api`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of repetitions of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Seconds of each measurement of GET.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Number of objects in each measurement of CREATE.
    #[arg(long, default_value_t = 3000)]
    objects: usize,
    /// Number of watchers, and of updates that each is sent.
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    #[arg(long, default_value_t = 100)]
    updates: usize,
    /// Folder of a built `minik`; built with the release profile if absent.
    #[arg(long, value_name = "FOLDER")]
    pub(super) binaries: Option<std::path::PathBuf>,
}

/// A measured server.
struct Bench<'a> {
    args: &'a Args,
    target: Target,
    pid: u32,
}

/// Measures everything; a row a figure.
pub(super) async fn run(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    let cluster = Cluster::new(minik, "api")?;
    cluster.start()?;
    let bench = Bench { args, target: Target::new(&cluster.config().await?)?, pid: cluster.pid()? };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let namespaces = "/api/v1/namespaces".to_owned();
    bench.target.each(vec![post(namespaces, &namespace)], 1).await?;

    let mut rows = Vec::new();
    // Genuine: requests a second.
    for (connections, genuine) in [(1, 1046.0), (16, 4122.0), (64, 4882.0)] {
        let rate = bench.get(connections).await?;
        rows.push(Row::at_least(&format!("GET, {connections} connections, requests/s"), genuine, 5.0, &rate));
    }
    for (connections, genuine) in [(1, 545.0), (16, 1908.0), (64, 2517.0)] {
        let rate = bench.create(connections).await?;
        rows.push(Row::at_least(&format!("CREATE, {connections} writers, objects/s"), genuine, 3.0, &rate));
    }
    let rate = bench.watch().await?;
    let figure = format!("{} watchers × {} updates, events/s", args.watchers, args.updates);
    rows.push(Row::at_least(&figure, 40_441.0, 5.0, &rate));
    for (number, genuine) in [(1000, 45.6), (10_000, 331.2)] {
        rows.extend(bench.list_rows("pods", number, genuine).await?);
    }
    let idle = process::observe(bench.pid, AT_REST).await?;
    let mut memory = Sample::default();
    memory.push(idle.rss_mib);
    rows.push(Row::at_most("resident memory with 10,000 pods, MiB", 100.0, &memory));
    for (number, genuine) in [(1000, 10.1), (10_000, 92.5)] {
        rows.extend(bench.list_rows("configmaps", number, genuine).await?);
    }
    cluster.delete()?;
    Ok(rows)
}

impl Bench<'_> {
    async fn get(&self, connections: usize) -> Result<Sample> {
        eprintln!("GET, {connections} connections");
        let name = format!("one-{connections}");
        self.target.each(vec![create("configmaps", &name)], 1).await?;
        let path = format!("{}/{name}", collection("configmaps"));
        let span = Duration::from_secs(self.args.seconds);
        let mut rate = Sample::default();
        for _ in 0..self.args.runs {
            rate.push(self.target.repeat(&path, connections, span).await?);
        }
        self.target.each(vec![delete("configmaps", &name)], 1).await?;
        Ok(rate)
    }

    async fn create(&self, connections: usize) -> Result<Sample> {
        eprintln!("CREATE, {connections} writers");
        let mut rate = Sample::default();
        for run in 0..self.args.runs {
            let names: Vec<_> =
                (0..self.args.objects).map(|i| format!("c{connections}-{run}-{i:06}")).collect();
            let calls = names.iter().map(|name| create("configmaps", name)).collect();
            rate.push(self.target.each(calls, connections).await?);
            let calls = names.iter().map(|name| delete("configmaps", name)).collect();
            self.target.each(calls, WRITERS).await?;
        }
        Ok(rate)
    }

    /// What a list of so many objects takes, beside genuine Kubernetes' milliseconds.
    async fn list_rows(&self, resource: &str, number: usize, genuine: f64) -> Result<[Row; 2]> {
        let (time, cpu) = self.list(resource, number).await?;
        let figure = format!("LIST {number} {resource}");
        Ok([
            Row::fraction(&format!("{figure}, ms"), genuine, 10.0, &time),
            Row::known(&format!("{figure}, our CPU, ms"), &cpu),
        ])
    }

    /// Lists with as many objects as asked for, which stay: milliseconds, and of the server's CPU.
    async fn list(&self, resource: &str, number: usize) -> Result<(Sample, Sample)> {
        eprintln!("LIST, {number} {resource}");
        let list = Call { method: Method::GET, path: collection(resource), body: None };
        let mut connection = self.target.connect().await?;
        let present: Value = serde_json::from_slice(&connection.read(&list).await?)?;
        let present = present["items"].as_array().context("a list's items")?.len();
        let calls = (present..number).map(|i| create(resource, &format!("object-{i:06}"))).collect();
        self.target.each(calls, WRITERS).await?;
        connection.drain(&list).await?;

        let (mut time, mut cpu) = (Sample::default(), Sample::default());
        for _ in 0..self.args.runs {
            // CPU is counted in steps of 10 ms; so many lists that it tells.
            const LISTS: u32 = 20;
            let used = process::cpu_seconds(self.pid)?;
            for _ in 0..LISTS {
                let before = Instant::now();
                connection.drain(&list).await?;
                time.push(1000.0 * before.elapsed().as_secs_f64());
            }
            cpu.push(1000.0 * (process::cpu_seconds(self.pid)? - used) / f64::from(LISTS));
        }
        Ok((time, cpu))
    }

    /// One object, changed again and again before many watchers; events a second from the first change until the last
    /// watcher has the last event. Fails if one is missing or out of order.
    async fn watch(&self) -> Result<Sample> {
        eprintln!("{} watchers, {} updates", self.args.watchers, self.args.updates);
        let mut rate = Sample::default();
        self.target.each(vec![create("configmaps", "watched")], 1).await?;
        for _ in 0..self.args.runs {
            rate.push(timeout(WATCH_LIMIT, self.watched_updates()).await.context("events are missing")??);
        }
        self.target.each(vec![delete("configmaps", "watched")], 1).await?;
        Ok(rate)
    }

    async fn watched_updates(&self) -> Result<f64> {
        let mut writer = self.target.connect().await?;
        let path = collection("configmaps");
        let list = Call { method: Method::GET, path: path.clone(), body: None };
        let present: Value = serde_json::from_slice(&writer.read(&list).await?)?;
        let version = present["metadata"]["resourceVersion"].as_str().context("a list's version")?;
        let path = format!("{path}?watch=1&resourceVersion={version}&timeoutSeconds=600");
        let watch = Call { method: Method::GET, path, body: None };

        let all_watch = Arc::new(Barrier::new(self.args.watchers + 1));
        let mut watchers = Vec::new();
        for _ in 0..self.args.watchers {
            let mut connection = self.target.connect().await?;
            let (watch, all_watch, updates) = (watch.clone(), all_watch.clone(), self.args.updates);
            watchers.push(tokio::spawn(async move {
                let mut body = connection.send(&watch).await?;
                all_watch.wait().await;
                let marker = Finder::new(MARKER);
                let (mut text, mut seen) = (Vec::new(), 0);
                while seen < updates {
                    let frame = body.frame().await.context("a watch ended early")??;
                    text.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
                    let mut read = 0;
                    while let Some(length) = memchr(b'\n', &text[read..]) {
                        let line = &text[read..read + length];
                        let wanted = format!("{seen:06}");
                        let found = marker
                            .find(line)
                            .is_some_and(|at| line[at + MARKER.len()..].starts_with(wanted.as_bytes()));
                        ensure!(found, "not update {wanted}: {}", String::from_utf8_lossy(line));
                        read += length + 1;
                        seen += 1;
                    }
                    text.drain(..read);
                }
                anyhow::Ok(())
            }));
        }
        all_watch.wait().await;
        let before = Instant::now();
        for update in 0..self.args.updates {
            let mut object = object("configmaps", "watched");
            object["data"]["update"] = json!(format!("{update:06}"));
            let path = format!("{}/watched", collection("configmaps"));
            writer.drain(&Call { method: Method::PUT, path, body: Some(object.to_string().into()) }).await?;
        }
        for watcher in watchers {
            watcher.await??;
        }
        let events = u32::try_from(self.args.watchers * self.args.updates)?;
        Ok(f64::from(events) / before.elapsed().as_secs_f64())
    }
}

fn collection(resource: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{resource}")
}

fn post(path: String, object: &Value) -> Call {
    Call { method: Method::POST, path, body: Some(object.to_string().into()) }
}

fn create(resource: &str, name: &str) -> Call {
    post(collection(resource), &object(resource, name))
}

fn delete(resource: &str, name: &str) -> Call {
    let body = Bytes::from_static(br#"{"gracePeriodSeconds":0}"#);
    Call { method: Method::DELETE, path: format!("{}/{name}", collection(resource)), body: Some(body) }
}

/// A config map of some 700 bytes once stored, or a pod that no scheduler takes.
fn object(resource: &str, name: &str) -> Value {
    let metadata = json!({"name": name, "labels": {"app": "bench"}});
    match resource {
        "pods" => json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {
                "schedulerName": "none", "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "busybox:latest"}],
            },
        }),
        _ => json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {"key": "value", "text": "x".repeat(200)},
        }),
    }
}
