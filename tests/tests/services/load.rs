//! Services under load: requests by connections that are kept and by new ones, every one of which has to be answered.

use super::{cluster_ip, get_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::eventually;
use tests::DEADLINE;
use tests::docker::DockerCluster;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A request without an answer by then is lost; packets of a loaded machine are sent again after 1, 3, 7 and 15 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a server goes on after it was told to end: by then a loaded machine has changed its rules, too.
const DRAIN: &str = "10";
const SERVICES: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connections {
    Kept,
    New,
}

/// What became of requests.
#[derive(Default)]
struct Answers {
    count: usize,
    /// Those that differ.
    seen: BTreeSet<String>,
    lost: Vec<String>,
}

/// Requests one after the other, of both kinds of connections at a time, until they are told to end.
struct Load {
    end: Arc<AtomicBool>,
    kinds: [JoinHandle<Answers>; 2],
}

impl Load {
    fn start(address: &str) -> Self {
        let (end, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let kinds = [Connections::Kept, Connections::New].map(|connections| {
            let (address, end) = (address.to_owned(), end.clone());
            tokio::spawn(async move {
                let (mut answers, mut stream) = (Answers::default(), None);
                while !end.load(Ordering::Relaxed) {
                    let asked = tokio::time::timeout(PATIENCE, ask(&address, connections, &mut stream)).await;
                    match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                        Ok(answer) => {
                            answers.count += 1;
                            answers.seen.insert(answer);
                        }
                        Err(error) => {
                            stream = None;
                            answers
                                .lost
                                .push(format!("{connections:?} after {:?}: {error}", began.elapsed()));
                        }
                    }
                }
                answers
            })
        });
        Self { end, kinds }
    }

    /// What was answered on any connection, if it was as many as this on each kind, and nothing was lost.
    async fn end(self, least: usize) -> BTreeSet<String> {
        self.end.store(true, Ordering::Relaxed);
        let mut seen = BTreeSet::new();
        for kind in self.kinds {
            let answers = kind.await.expect("it did not panic");
            assert!(answers.lost.is_empty(), "{} answered, lost: {:#?}", answers.count, answers.lost);
            assert!(answers.count >= least, "{} answered", answers.count);
            seen.extend(answers.seen);
        }
        seen
    }
}

/// One request; a connection stays if both sides keep it.
async fn ask(
    address: &str,
    connections: Connections,
    kept: &mut Option<BufReader<TcpStream>>,
) -> io::Result<String> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => BufReader::new(TcpStream::connect(address).await?),
    };
    let mut keep = connections == Connections::Kept;
    let wish = if keep { "keep-alive" } else { "close" };
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: web\r\nConnection: {wish}\r\n\r\n").as_bytes()).await?;
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = line.trim().to_ascii_lowercase();
        if let Some(text) = header.strip_prefix("content-length: ") {
            length = text.parse().map_err(io::Error::other)?;
        }
        keep &= header != "connection: close";
        if header.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if keep {
        *kept = Some(stream);
    }
    Ok(String::from_utf8_lossy(&body).trim().to_owned())
}

/// A Deployment whose pods end as those behind a load balancer should.
fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 60, "containers": [{
                    "name": "main", "image": "minik/hello:v1", "imagePullPolicy": "IfNotPresent",
                    "env": [{"name": "DRAIN", "value": DRAIN}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                }]},
            },
        },
    })
}

/// Waits until all pods are of the Deployment as it is now, and ready.
async fn rolled_out(cluster: &DockerCluster) {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    eventually(DEADLINE * 2, async || {
        let found = deployments.get("web").await.expect("it is there");
        let status = found.status.unwrap_or_default();
        status.observed_generation == found.metadata.generation
            && [status.replicas, status.updated_replicas, status.available_replicas] == [Some(2); 3]
    })
    .await;
}

/// A service of the Deployment's pods that answers, and where.
async fn serve(cluster: &DockerCluster, name: &str) -> String {
    let address = create(cluster, name).await;
    eventually(DEADLINE, async || get_all(&address).await.is_ok_and(|answer| answer.contains("Hello"))).await;
    address
}

async fn create(cluster: &DockerCluster, name: &str) -> String {
    cluster.create(super::service(name, json!({}))).await;
    format!("{}:8088", cluster_ip(cluster, name).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_under_load_loses_no_request() {
    let cluster = DockerCluster::start("rolling").await;
    cluster.create(deployment()).await;
    rolled_out(&cluster).await;
    let load = Load::start(&serve(&cluster, "web").await);
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "minik/hello:v2"}]);
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let patch = kube::api::Patch::Json::<()>(serde_json::from_value(image).expect("a patch"));
    deployments.patch("web", &Default::default(), &patch).await.expect("the API takes it");
    rolled_out(&cluster).await;
    // Those that were told to end have ended.
    eventually(DEADLINE * 2, async || {
        cluster.pods().list(&Default::default()).await.expect("a list").items.len() == 2
    })
    .await;
    let seen = load.end(SERVICES).await;
    let of = |version: &str| seen.iter().filter(|answer| answer.ends_with(version)).count();
    assert_eq!((of("v=1"), of("v=2")), (2, 2), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_come_and_go_while_another_is_under_load() {
    let cluster = DockerCluster::start("churn").await;
    cluster.create(deployment()).await;
    rolled_out(&cluster).await;
    let load = Load::start(&serve(&cluster, "stable").await);
    for index in 1..SERVICES {
        create(&cluster, &format!("s{index}")).await;
    }
    // The last one answers, so all of them were in the rules.
    let last = serve(&cluster, "last").await;
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    for index in 1..SERVICES {
        services.delete(&format!("s{index}"), &Default::default()).await.expect("deleted");
    }
    services.delete("last", &Default::default()).await.expect("deleted");
    eventually(DEADLINE, async || get_all(&last).await.is_err()).await;
    load.end(SERVICES).await;
}
