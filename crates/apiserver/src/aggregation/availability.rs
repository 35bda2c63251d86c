//! Whether the servers of APIServices can be reached: tried when anything about them changes, and every half minute.
//!
//! **Contract**: without APIServices that name a Service nothing runs but a watch.
//! **Upstream**: `kube-aggregator/pkg/controllers/status/remote`.

use super::remote::Remote;
use super::{Aggregator, GROUP, Learnt, SERVICES, discovery};
use crate::admission::Lookup;
use crate::auth::UserInfo;
use crate::body;
use crate::outbound;
use crate::registry::UpdateOptions;
use crate::resources::edit::{items, text};
use crate::server::Server;
use crate::subresources::ready_addresses;
use crate::upkeep::{At, Followed, amend};
use crate::watch_cache::Selection;
use component_base::Metrics;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, Limited};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// **Upstream**: the controller's resync.
const PERIOD: Duration = Duration::from_secs(30);
/// **Upstream**: the rate limiter's first and last pause.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// How long a server may take to say what it serves. **Upstream**: the discovery client's timeout.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the longest list of resources.
const MAX_BYTES: usize = 10 << 20;

/// Status, reason and message of the condition.
type Verdict = (&'static str, &'static str, String);

/// What is known of one server between turns.
struct Known {
    /// What was looked at; a change of it asks for another try.
    seen: Value,
    next: Instant,
    pause: Duration,
}

/// `name`
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NameLabels {
    name: String,
}

/// `name`, `reason`
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    name: String,
    reason: &'static str,
}

/// What is counted.
struct Unavailable {
    now: Family<NameLabels, Gauge>,
    times: Family<ReasonLabels, Counter>,
}

impl Unavailable {
    fn register(metrics: &Metrics) -> Self {
        let name = "aggregator_unavailable_apiservice";
        Self {
            now: metrics.register(
                name,
                "Gauge of APIServices which are marked as unavailable broken down by APIService name.",
                Family::default(),
            ),
            times: metrics.register(
                name,
                "Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
                Family::default(),
            ),
        }
    }

    fn observe(&self, name: &str, was_available: bool, (status, reason, _): &Verdict) {
        let is_available = *status == "True";
        self.now.get_or_create(&NameLabels { name: name.to_owned() }).set((!is_available).into());
        if was_available && !is_available {
            self.times.get_or_create(&ReasonLabels { name: name.to_owned(), reason }).inc();
        }
    }

    fn forget(&self, name: &str) {
        self.now.remove(&NameLabels { name: name.to_owned() });
    }
}

/// Begins to keep conditions true.
pub(crate) fn follow(server: &Arc<Server>, aggregator: &Arc<Aggregator>) {
    let all = |group: &str, plural: &str| (group.to_owned(), plural.to_owned(), Selection::namespace(""));
    let what = vec![all(GROUP, SERVICES), all("", "services"), all("discovery.k8s.io", "endpointslices")];
    let mut followed = Followed::new(&server.registry, what);
    let (server, aggregator) = (Arc::downgrade(server), Arc::clone(aggregator));
    let Some(running) = server.upgrade() else { return };
    let (clock, shutdown) = (running.context.clock.clone(), running.context.shutdown.clone());
    let unavailable = Unavailable::register(&running.context.metrics);
    drop(running);
    shutdown.spawn(async move {
        let mut known = HashMap::new();
        loop {
            let Some(running) = server.upgrade() else { return };
            let next = turn(&running, &aggregator, &mut known, &unavailable).await;
            drop(running);
            let changed = followed.changed(&clock);
            match next {
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    });
}

/// Looks at every server whose time has come; tells when the next one's comes.
async fn turn(
    server: &Server,
    aggregator: &Aggregator,
    known: &mut HashMap<String, Known>,
    unavailable: &Unavailable,
) -> Option<Instant> {
    let remotes = aggregator.all();
    let names: Vec<String> = remotes.iter().map(|(name, _)| name.clone()).collect();
    for (name, _) in known.extract_if(|name, _| !names.contains(name)) {
        unavailable.forget(&name);
    }
    aggregator.forget_but(&names);
    let now = server.context.clock.instant();
    let lookup: &dyn Lookup = &*server.registry;
    let due: Vec<(&Remote, Value)> = remotes
        .iter()
        .filter_map(|(name, remote)| {
            let remote = (**remote).as_ref()?;
            let seen = seen(lookup, remote, aggregator);
            let idle = known.get(name).is_some_and(|known| known.seen == seen && known.next > now);
            (!idle).then_some((remote, seen))
        })
        .collect();
    let checks = due.iter().map(|(remote, _)| check(server, aggregator, remote));
    let results = futures::future::join_all(checks).await;
    for ((remote, seen), verdict) in due.into_iter().zip(results) {
        let name = remote.name.clone();
        unavailable.observe(&name, remote.available, &verdict);
        let before = known.get(&name).map_or(RETRY.0, |known| known.pause);
        let (wait, pause) =
            if verdict.0 == "True" { (PERIOD, RETRY.0) } else { (before, (before * 2).min(RETRY.1)) };
        known.insert(name, Known { seen, next: server.context.clock.instant() + wait, pause });
    }
    known.values().map(|known| known.next).min()
}

/// Everything that a verdict depends on and that is an object here.
fn seen(lookup: &dyn Lookup, remote: &Remote, aggregator: &Aggregator) -> Value {
    let spec = aggregator.object(lookup, &remote.name).map(|object| object["spec"].clone());
    let service = lookup.get("", "services", &remote.namespace, &remote.service);
    let slices = lookup.list("discovery.k8s.io", "endpointslices", &remote.namespace);
    let own = slices.iter().filter(|slice| {
        api::meta::label(slice, "kubernetes.io/service-name") == Some(remote.service.as_str())
    });
    let own: Vec<Value> = own.map(|slice| json!([slice["endpoints"], slice["ports"]])).collect();
    json!([spec, service.map(|service| service["spec"].clone()), own])
}

/// Finds out about one server and says so in its APIService.
async fn check(server: &Server, aggregator: &Aggregator, remote: &Remote) -> Verdict {
    let verdict = match unreachable(&*server.registry, remote) {
        Some(verdict) => verdict,
        None => match discover(&*server.registry, aggregator, remote).await {
            Ok(learnt) => {
                aggregator.learn(&remote.name, learnt);
                ("True", "Passed", "all checks passed".to_owned())
            }
            Err(why) => ("False", "FailedDiscoveryCheck", why),
        },
    };
    let now = api::time::format(server.context.clock.now());
    let change = |object: &Value| told(object, &verdict, &now);
    let at = At { group: GROUP, plural: SERVICES, namespace: "", name: &remote.name };
    if let Err(status) = amend(&server.registry, at, UpdateOptions::Status, &change).await {
        tracing::warn!(
            name = remote.name,
            message = status.message,
            "cannot tell whether an API is available"
        );
    }
    verdict
}

/// Why the Service leads nowhere, if its objects say so.
fn unreachable(lookup: &dyn Lookup, remote: &Remote) -> Option<Verdict> {
    let (name, namespace, port) = (&remote.service, &remote.namespace, remote.port);
    let Some(service) = lookup.get("", "services", namespace, name) else {
        return Some(("False", "ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    if !matches!(text(&service["spec"], "type"), "" | "ClusterIP") {
        return None;
    }
    let Some(listed) = items(&service["spec"], "ports").iter().find(|listed| listed["port"] == port) else {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Some(("False", "ServicePortError", why));
    };
    let slices = lookup.list("discovery.k8s.io", "endpointslices", namespace);
    let own =
        |slice: &Arc<Value>| api::meta::label(slice, "kubernetes.io/service-name") == Some(name.as_str());
    if !slices.iter().any(own) {
        let why = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(("False", "EndpointsNotFound", why));
    }
    let port_name = text(listed, "name");
    ready_addresses(&slices, name, port_name).is_empty().then(|| {
        let why = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        ("False", "MissingEndpoints", why)
    })
}

/// Host and port to which a Service leads, as upstream tells them: where it goes itself unless it is told to choose
/// endpoints.
fn location(lookup: &dyn Lookup, remote: &Remote) -> Result<String, String> {
    let service = lookup.get("", "services", &remote.namespace, &remote.service);
    let spec = service.map(|service| service["spec"].clone()).unwrap_or_default();
    let (address, port) = (text(&spec, "clusterIP"), remote.port);
    match text(&spec, "type") {
        "ExternalName" => Ok(format!("{}:{port}", text(&spec, "externalName"))),
        "" | "ClusterIP" if address == "None" => {
            Err("cannot route to service with ClusterIP \"None\"".to_owned())
        }
        _ if !items(&spec, "ports").iter().any(|listed| listed["port"] == port) => {
            Err(format!("no service port {port} found for service {:?}", remote.service))
        }
        _ if address.contains(':') => Ok(format!("[{address}]:{port}")),
        _ => Ok(format!("{address}:{port}")),
    }
}

/// Asks what the server serves. That it answers is enough to be available.
async fn discover(lookup: &dyn Lookup, aggregator: &Aggregator, remote: &Remote) -> Result<Learnt, String> {
    let location = location(lookup, remote)?;
    let fetch = |path: String| fetch(aggregator, remote, &location, path);
    let list = fetch(remote.path()).await?;
    // A server need not have OpenAPI.
    let root = fetch("/openapi/v3".to_owned()).await.unwrap_or_default();
    let document = remote.path().trim_start_matches('/').to_owned();
    let openapi = root["paths"][&document]["serverRelativeURL"].as_str().map(str::to_owned);
    let older = fetch("/openapi/v2".to_owned()).await.unwrap_or_default();
    let document = super::openapi::part(older, &remote.path()).map(Arc::new);
    Ok(Learnt { resources: discovery::converted(&list), openapi, document })
}

/// What a path of the server answers; nothing if that is no JSON.
async fn fetch(
    aggregator: &Aggregator,
    remote: &Remote,
    location: &str,
    path: String,
) -> Result<Value, String> {
    let (url, told) = (remote.url(&path), format!("https://{location}{path}"));
    let failing = |why: String| format!("failing or missing response from {told}: {why}");
    let client = remote.client(&aggregator.identity, &aggregator.services)?;
    let mut request = http::Request::get(&url).header(header::ACCEPT, "application/json");
    let user = UserInfo {
        groups: vec!["system:masters".to_owned()],
        name: "system:kube-aggregator".to_owned(),
        ..UserInfo::default()
    };
    super::proxy::introduce(request.headers_mut().unwrap_or(&mut HeaderMap::new()), &user);
    let request = request.body(body::empty()).map_err(|error| failing(error.to_string()))?;
    let exchange = async {
        let answer = client.request(request).await;
        let answer = answer.map_err(|error| {
            let why = outbound::in_gos_words(&outbound::Error::Connection(error.into()));
            failing(format!("Get {told:?}: {why}"))
        })?;
        let code = answer.status().as_u16();
        if !(200..300).contains(&code) {
            return Err(failing(format!("bad status from {told}: {code}")));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| failing(error.to_string()))?.to_bytes();
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    };
    let timely = tokio::time::timeout(TIMEOUT, exchange).await;
    timely.unwrap_or_else(|_| {
        Err(failing(format!(
            "Get {told:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )))
    })
}

/// The APIService with the condition; `None` if it has it.
fn told(object: &Value, (status, reason, message): &Verdict, now: &str) -> Option<Value> {
    let mut conditions = items(&object["status"], "conditions").to_vec();
    let at = conditions.iter().position(|condition| condition["type"] == "Available");
    let old = at.map(|at| conditions[at].clone()).unwrap_or_default();
    if old["status"] == *status && old["reason"] == *reason && old["message"] == message.as_str() {
        return None;
    }
    let since = if old["status"] == *status { old["lastTransitionTime"].clone() } else { now.into() };
    let condition = json!({"type": "Available", "status": status, "lastTransitionTime": since, "reason": reason, "message": message});
    match at {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    let mut object = object.clone();
    object["status"] = json!({"conditions": conditions});
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Services(Value);

    impl Lookup for Services {
        fn get(&self, _: &str, plural: &str, _: &str, _: &str) -> Option<Arc<Value>> {
            (plural == "services").then(|| Arc::new(self.0.clone()))
        }

        fn list(&self, _: &str, _: &str, _: &str) -> Vec<Arc<Value>> {
            Vec::new()
        }
    }

    #[test]
    fn a_server_is_spoken_of_by_the_address_of_its_service() {
        let spec = json!({"group": "g", "version": "v1", "service": {"namespace": "n", "name": "s"}});
        let remote = Remote::read(&json!({"metadata": {"name": "v1.g"}, "spec": spec})).unwrap();
        let ports = json!([{"port": 443}]);
        for (spec, expected) in [
            (json!({"clusterIP": "10.96.0.7", "ports": ports}), Ok("10.96.0.7:443")),
            (json!({"type": "NodePort", "clusterIP": "fd00::7", "ports": ports}), Ok("[fd00::7]:443")),
            (json!({"type": "ExternalName", "externalName": "example.com"}), Ok("example.com:443")),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "ports": ports}),
                Err("cannot route to service with ClusterIP \"None\""),
            ),
            (
                json!({"type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": [{"port": 80}]}),
                Err("no service port 443 found for service \"s\""),
            ),
        ] {
            let found = location(&Services(json!({"spec": spec.clone()})), &remote);
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{spec}");
        }
    }
}
