//! `cargo xtask bench network`: how soon rules follow endpoints and what that costs, and how fast services, names and
//! ingress are.
//!
//! **Contract**: as `start`; besides, nftables can be changed (root) and `wrk` is installed. What is compared runs in turn
//! in the same run: a service beside its pod, ingress beside nginx. Rules are in place when a new connection goes where
//! they lead: so a change is measured from its PATCH on, the API server included.

mod dns;
mod peer;
mod wrk;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::Cluster;
use super::load::{Call, Target};
use super::report::Row;
use super::sample::Sample;
use super::{pods, process};
use wrk::Load;

/// The host of the measured Ingress.
const HOST: &str = "bench.example";
/// Connections that make objects.
const WRITERS: usize = 16;
/// Nothing takes longer to appear.
const LONGEST: Duration = Duration::from_secs(120);
/// Between two questions of something that is not there yet.
const PAUSE: Duration = Duration::from_millis(50);
/// The pods that answer.
const BACKENDS: usize = 2;
/// What their nginx does: a few bytes, and no line of a log for each request, which would cost more than the answer.
const BACKEND: &str = "user nginx;
worker_processes 1;
pid /run/nginx-bench.pid;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000;
  server { listen 80; location / { return 200 hello; } }
}
";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Services while the delay of changes is measured.
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Changes that are measured.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    changes: u32,
    /// Services while what a change costs is measured, with ten endpoints each.
    #[arg(long, default_value_t = 10_000)]
    many: usize,
    /// Repetitions of what is measured with wrk.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Seconds of each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// What is measured: changes, scale, services, dns, ingress; all by default.
    #[arg(long, value_delimiter = ',', default_values_t = ["changes", "scale", "services", "dns", "ingress"].map(str::to_owned))]
    only: Vec<String>,
    /// Measure with this build of the benchmark, also if it is not optimised.
    #[arg(long)]
    pub(super) quick: bool,
    /// An image whose port 80 answers HTTP, and that is nginx; it must be in the engine.
    #[arg(long, default_value = "nginx:latest")]
    pub(super) image: String,
    /// Folder of a built `minik`; built with the release profile if absent.
    #[arg(long, value_name = "FOLDER")]
    pub(super) binaries: Option<PathBuf>,
}

/// Measures everything; a row a figure.
pub(super) async fn run(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    wrk::check()?;
    let does = |what: &str| args.only.iter().any(|only| only == what);
    let mut rows = Vec::new();
    if does("services") || does("dns") || does("ingress") || does("changes") {
        let cluster = Cluster::new(minik, "network")?;
        cluster.start()?;
        let bench = Bench::new(args, &cluster).await?;
        if does("dns") {
            rows.extend(bench.dns().await?);
        }
        if does("services") || does("ingress") {
            let pods = bench.web().await?;
            if does("services") {
                rows.push(bench.services(&pods).await?);
            }
            if does("ingress") {
                rows.push(bench.ingress(&pods).await?);
            }
        }
        if does("changes") {
            rows.push(bench.changes().await?);
        }
        cluster.delete()?;
    }
    if does("scale") {
        rows.extend(scale(args, minik).await?);
    }
    Ok(rows)
}

/// A measured cluster.
struct Bench<'a> {
    args: &'a Args,
    cluster: &'a Cluster,
    client: Client,
    target: Target,
    /// This machine's address in the pods' network.
    near: Ipv4Addr,
}

impl<'a> Bench<'a> {
    async fn new(args: &'a Args, cluster: &'a Cluster) -> Result<Self> {
        let (client, config) = (cluster.client().await?, cluster.config().await?);
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "kube-system");
        let near = until("the cluster's DNS", || async {
            let slice = slices.get_opt("kube-dns").await?;
            let endpoints = slice.map(|slice| slice.endpoints.unwrap_or_default()).unwrap_or_default();
            Ok(endpoints.first().and_then(|endpoint| endpoint.addresses.first()?.parse().ok()))
        })
        .await?;
        Ok(Self { args, cluster, client, target: Target::new(&config)?, near })
    }

    /// Services with these endpoints each, without pods.
    async fn fill(&self, number: usize, endpoints: impl Fn(usize) -> Value) -> Result<()> {
        let mut calls = Vec::new();
        for index in 0..number {
            let name = format!("s{index:05}");
            let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
            calls.push(post("/api/v1/namespaces/default/services", &service));
            let labels = json!({"kubernetes.io/service-name": name});
            let slice = json!({
                "metadata": {"name": name, "labels": labels}, "addressType": "IPv4",
                "endpoints": endpoints(index), "ports": [{"port": 80}],
            });
            calls.push(post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice));
        }
        self.target.each(calls, WRITERS).await.map(drop)
    }

    /// A service whose only endpoint is one of two servers of this process, and its address.
    async fn switched(&self) -> Result<Switched> {
        let mut ports = Vec::new();
        for letter in *b"ab" {
            let listener = TcpListener::bind((self.near, 0)).await.context("a port")?;
            ports.push(listener.local_addr()?.port());
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.write_all(&[letter]).await;
                }
            });
        }
        let slices: Api<EndpointSlice> = Api::default_namespaced(self.client.clone());
        let address = self.service("switched", &Value::Null).await?;
        let slice = json!({
            "metadata": {"name": "switched", "labels": {"kubernetes.io/service-name": "switched"}},
            "addressType": "IPv4", "endpoints": [{"addresses": [self.near]}], "ports": [{"port": ports[0]}],
        });
        slices.create(&PostParams::default(), &serde_json::from_value(slice)?).await?;
        let switched = Switched { slices, ports, address: format!("{address}:80").parse()? };
        switched.leads_to(b'a').await?;
        Ok(switched)
    }

    /// How long it takes until a change is in the rules.
    async fn changes(&self) -> Result<Row> {
        let Args { services, changes, .. } = self.args;
        eprintln!("{changes} changes with {services} services");
        let near = self.near;
        self.fill(*services, |_| json!([{"addresses": [near]}])).await?;
        let switched = self.switched().await?;
        let mut times = Vec::new();
        for change in 1..=*changes {
            times.push(switched.switch(change).await?.as_secs_f64() * 1000.0);
        }
        let p99 = Sample::of(vec![Sample::of(times).percentile(99)]);
        let figure = format!("endpoint change → rules in place, {services} services, p99, ms");
        Ok(Row::at_most(&figure, 50.0, &p99))
    }

    /// Pods that answer HTTP, behind the Service `web`; their addresses.
    async fn web(&self) -> Result<Vec<String>> {
        let maps: Api<ConfigMap> = Api::default_namespaced(self.client.clone());
        let map = json!({"metadata": {"name": "web"}, "data": {"nginx.conf": BACKEND}});
        maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
        let api: Api<Pod> = Api::default_namespaced(self.client.clone());
        let mut addresses = Vec::new();
        for index in 0..BACKENDS {
            let name = format!("web{index}");
            let pod = json!({
                "metadata": {"name": name, "labels": {"app": "web", "pod": name}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                    "name": "main", "image": self.args.image, "imagePullPolicy": "IfNotPresent",
                    "volumeMounts": [{"name": "web", "mountPath": "/etc/nginx/nginx.conf", "subPath": "nginx.conf"}],
                }], "volumes": [{"name": "web", "configMap": {"name": "web"}}]},
            });
            let pod = pods::until_running(&api, &serde_json::from_value(pod)?).await?;
            addresses.push(pod.status.and_then(|status| status.pod_ip).context("a pod's address")?);
        }
        self.service("web", &json!({"app": "web"})).await?;
        for address in &addresses {
            answers(&format!("{address}:80"), "web").await?;
        }
        Ok(addresses)
    }

    /// A service of pods with these labels, and its address.
    async fn service(&self, name: &str, selector: &Value) -> Result<String> {
        let service =
            json!({"metadata": {"name": name}, "spec": {"selector": selector, "ports": [{"port": 80}]}});
        let services: Api<Service> = Api::default_namespaced(self.client.clone());
        let made = services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
        made.spec.and_then(|spec| spec.cluster_ip).context("a cluster address")
    }

    /// By a service's address and by the own one of its only pod: both have one server behind them.
    async fn services(&self, pods: &[String]) -> Result<Row> {
        let pod = pods.first().context("a pod")?;
        let service = self.service("alone", &json!({"pod": "web0"})).await?;
        answers(&format!("{service}:80"), "web").await?;
        let load = Load { connections: 64, seconds: self.args.seconds };
        let mut percent = Sample::default();
        for run in 0..self.args.runs {
            eprintln!("run {} of {}: a service beside its pod", run + 1, self.args.runs);
            let direct = load.rate(&format!("http://{pod}/"), None)?;
            percent.push(100.0 * load.rate(&format!("http://{service}/"), None)? / direct);
        }
        Ok(Row::reaching("ClusterIP / pod IP, wrk with 64 connections, %", 95.0, &percent))
    }

    async fn dns(&self) -> Result<Vec<Row>> {
        eprintln!("DNS");
        let services: Api<Service> = Api::namespaced(self.client.clone(), "kube-system");
        let server = services.get("kube-dns").await?.spec.and_then(|spec| spec.cluster_ip);
        let server = SocketAddr::new(server.context("an address")?.parse::<IpAddr>()?, 53);
        let name = "kubernetes.default.svc.cluster.local";
        until("an answer of DNS", || async { Ok(dns::latency(server, name, 1).await.ok()) }).await?;
        let p99 = Sample::of(vec![dns::latency(server, name, 5000).await?.percentile(99)]);
        let mut rate = Sample::default();
        for _ in 0..self.args.runs {
            let span = Duration::from_secs(self.args.seconds);
            rate.push(dns::rate(server, name, span, self.cluster.pid()?).await?);
        }
        Ok(vec![
            Row::reaching("DNS, answers in a second of a core", 50_000.0, &rate),
            Row::at_most("DNS, p99, ms", 1.0, &p99),
        ])
    }

    /// Beside nginx with the same backends.
    async fn ingress(&self, pods: &[String]) -> Result<Row> {
        let ingress = json!({"metadata": {"name": "web"}, "spec": {"rules": [{"host": HOST, "http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}},
        }]}}]}});
        let ingresses: Api<Ingress> = Api::default_namespaced(self.client.clone());
        // Its class is there a moment after the start.
        until("an Ingress", || async {
            let made =
                ingresses.create(&PostParams::default(), &serde_json::from_value(ingress.clone())?).await;
            let classed = made?.spec.and_then(|spec| spec.ingress_class_name).is_some();
            if !classed {
                ingresses.delete("web", &Default::default()).await?;
            }
            Ok(classed.then_some(()))
        })
        .await?;
        let port = until("the ingress", || async {
            for port in [80, 8080] {
                if exchange(&format!("127.0.0.1:{port}"), HOST).await.is_ok_and(|text| text.contains(" 200 "))
                {
                    return Ok(Some(port));
                }
            }
            Ok(None)
        })
        .await?;
        let nginx = peer::Nginx::start(&self.cluster.name, &self.args.image, pods)?;
        answers(&format!("127.0.0.1:{}", nginx.port), HOST).await?;
        let load = Load { connections: 64, seconds: self.args.seconds };
        let (mut ours, mut theirs) = (Sample::default(), Sample::default());
        for run in 0..self.args.runs {
            eprintln!("run {} of {}: ingress beside nginx", run + 1, self.args.runs);
            ours.push(load.rate(&format!("http://127.0.0.1:{port}/"), Some(HOST))?);
            theirs.push(load.rate(&format!("http://127.0.0.1:{}/", nginx.port), Some(HOST))?);
        }
        let figure = format!("ingress, wrk with 64 connections, requests/s [nginx: {:.0}]", theirs.median());
        Ok(Row::reaching(&figure, theirs.median(), &ours))
    }
}

/// See [`Bench::switched`].
struct Switched {
    slices: Api<EndpointSlice>,
    ports: Vec<u16>,
    address: SocketAddr,
}

impl Switched {
    /// How long it takes from a change to a connection that follows it.
    async fn switch(&self, change: u32) -> Result<Duration> {
        let to = change as usize % 2;
        let patch = json!({"ports": [{"port": self.ports[to]}]});
        let before = Instant::now();
        self.slices.patch("switched", &PatchParams::default(), &Patch::Merge(patch)).await?;
        self.leads_to(b"ab"[to]).await?;
        Ok(before.elapsed())
    }

    async fn leads_to(&self, letter: u8) -> Result<()> {
        let reached = async {
            loop {
                let read = async { TcpStream::connect(self.address).await?.read_u8().await };
                if let Ok(Ok(got)) = timeout(Duration::from_secs(1), read).await
                    && got == letter
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(LONGEST, reached).await.context("rules did not follow an endpoint")
    }
}

/// What changes cost among very many services, and how long all rules take.
async fn scale(args: &Args, minik: &Path) -> Result<Vec<Row>> {
    eprintln!("{} services with ten endpoints each", args.many);
    let cluster = Cluster::new(minik, "scale")?;
    cluster.start()?;
    let bench = Bench::new(args, &cluster).await?;
    bench
        .fill(args.many, |index| {
            let address = |number| format!("10.{}.{}.{}", 64 + number, index / 250, index % 250 + 1);
            (0..10).map(|number| json!({"addresses": [address(number)]})).collect()
        })
        .await?;
    let switched = bench.switched().await?;
    let pid = cluster.pid()?;
    let before = process::family_seconds(pid)?;
    for change in 1..=args.changes {
        switched.switch(change).await?;
    }
    let used = (process::family_seconds(pid)? - before) * 1000.0 / f64::from(args.changes);
    drop((switched, bench));
    // All rules from nothing: the proxy tells how long it took.
    cluster.kill()?;
    cluster.start()?;
    let client = cluster.client().await?;
    let built = until("all rules", || async {
        let metrics = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
        Ok(metric(&metrics, "kubeproxy_sync_full_proxy_rules_duration_seconds_sum"))
    })
    .await?;
    cluster.delete()?;
    let many = args.many;
    Ok(vec![
        Row::at_most(
            &format!("{many} services × 10: one change, ms of CPU, all of it"),
            20.0,
            &Sample::of(vec![used]),
        ),
        Row::at_most(&format!("{many} services × 10: all rules, s"), 2.0, &Sample::of(vec![built])),
    ])
}

/// A metric without labels, once it is more than nothing.
fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok().filter(|value| *value > 0.0)
}

fn post(path: &str, object: &Value) -> Call {
    Call { method: Method::POST, path: path.to_owned(), body: Some(Bytes::from(object.to_string())) }
}

/// Asks until there is something.
async fn until<T, F: Future<Output = Result<Option<T>>>>(what: &str, ask: impl Fn() -> F) -> Result<T> {
    let asked = async {
        loop {
            if let Some(found) = ask().await? {
                return Ok(found);
            }
            sleep(PAUSE).await;
        }
    };
    timeout(LONGEST, asked).await.with_context(|| format!("waited too long for {what}"))?
}

/// Waits until HTTP is answered there.
async fn answers(address: &str, host: &str) -> Result<()> {
    until(address, || async { Ok(exchange(address, host).await.ok().filter(|text| text.contains(" 200 "))) })
        .await
        .map(drop)
}

/// The answer to one request.
async fn exchange(address: &str, host: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        anyhow::Ok(text)
    };
    timeout(Duration::from_secs(3), exchange).await.context("no answer")?
}
