//! Extenders: servers of the user's own that have a say in which node a pod goes to.
//!
//! **Contract**: they are asked in their order, each about what the one before has left. One that is ignorable and fails is
//! passed over; of another the failure is the decision's.
//! **Not here**: what a configuration may say about them (`crate::configuration`).
//! **Upstream**: `pkg/scheduler/extender.go`, `kube-scheduler/extender/v1`. Names of fields in answers are read in any case,
//! as Go reads them.

use crate::configuration::ExtenderSpec;
use crate::diagnosis::Diagnosis;
use crate::framework::{MAX_NODE_SCORE, NodeInfo, PodInfo, Rejection, Snapshot};
use crate::preemption::Candidate;
use api::k8s_openapi::api::core::v1::Pod;
use component_base::logging::chain;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Who rejects, to users and to the queue.
const NAME: &str = "Extender";
/// `MaxExtenderPriority`.
const MAX_POINTS: i64 = 10;

/// What went wrong with an extender.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Its address or its certificates cannot be used.
    #[error("extender {url}: {why}")]
    Unusable { url: String, why: String },
    /// It did not answer.
    #[error("Post {url:?}: {why}")]
    Unreachable { url: String, why: String },
    /// It answered with another code than 200.
    #[error("failed {verb} with extender at URL {url}, code {code}")]
    Failed { verb: String, url: String, code: u16 },
    /// It says so itself, or its answer makes no sense.
    #[error("{0}")]
    Says(String),
}

/// All of them, in their order.
#[derive(Clone, Default)]
pub(crate) struct Extenders(Arc<Vec<Extender>>);

struct Extender {
    spec: ExtenderSpec,
    client: kube::Client,
}

impl Extenders {
    /// Ready to be asked; certificates are read now.
    pub(crate) async fn connect(specs: &[ExtenderSpec]) -> Result<Self, Error> {
        let mut all = Vec::new();
        for spec in specs {
            let unusable = |why: &(dyn std::error::Error + 'static)| Error::Unusable {
                url: spec.url_prefix.clone(),
                why: chain(why),
            };
            let mut config = config(spec).await.map_err(|error| unusable(&error))?;
            config.default_retry = false;
            let client = kube::Client::try_from(config).map_err(|error| unusable(&error))?;
            all.push(Extender { spec: spec.clone(), client });
        }
        Ok(Self(Arc::new(all)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of them is told of preempted pods as they are, and not only of their UIDs.
    pub(crate) fn are_shown_victims(&self) -> bool {
        let shown =
            |extender: &Extender| !extender.spec.preempt_verb.is_empty() && !extender.spec.node_cache_capable;
        self.0.iter().any(shown)
    }

    fn interested<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Extender> {
        self.0
            .iter()
            .filter(|extender| pod.spec.as_ref().is_some_and(|spec| extender.spec.is_interested(spec)))
    }

    /// Leaves the nodes that they all accept.
    pub(crate) async fn filter(
        &self,
        pod: &PodInfo,
        nodes: &mut Vec<&NodeInfo>,
        diagnosis: &mut Diagnosis,
    ) -> Result<(), Error> {
        let pod = pod.pod();
        for extender in self.interested(&pod).filter(|extender| !extender.spec.filter_verb.is_empty()) {
            if nodes.is_empty() {
                return Ok(());
            }
            match extender.filter(&pod, nodes).await {
                Ok(answer) => answer.apply(nodes, diagnosis),
                Err(error) if extender.spec.ignorable => extender.passed_over(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What they give each node, on the scale of plugins' weighted scores. One that fails gives nothing.
    pub(crate) async fn points(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
        let pod = &*pod.pod();
        let asked = self.interested(pod).filter(|extender| !extender.spec.prioritize_verb.is_empty());
        let answers = asked.map(|extender| async move {
            extender.points(pod, nodes).await.unwrap_or_else(|error| {
                extender.passed_over(&error);
                BTreeMap::new()
            })
        });
        let answers = futures::future::join_all(answers).await;
        let of = |node: &&NodeInfo| answers.iter().filter_map(|points| points.get(node.name())).sum();
        nodes.iter().map(of).collect()
    }

    /// Leaves the candidates, with the victims, that they all accept.
    pub(crate) async fn preempt(
        &self,
        pod: &PodInfo,
        mut candidates: Vec<Candidate>,
        cluster: &Snapshot,
    ) -> Result<Vec<Candidate>, Error> {
        let pod = pod.pod();
        for extender in self.interested(&pod).filter(|extender| !extender.spec.preempt_verb.is_empty()) {
            if candidates.is_empty() {
                break;
            }
            match extender.preempt(&pod, &candidates, cluster).await {
                Ok(left) => candidates = left,
                Err(error) if extender.spec.ignorable => extender.passed_over(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(candidates)
    }

    /// Has a pod bound by the one whose business that is; none if that is nobody's, or it may be ignored.
    pub(crate) async fn bind(&self, pod: &Pod, node: &str) -> Option<Result<(), Error>> {
        let mut binders = self.interested(pod).filter(|extender| !extender.spec.bind_verb.is_empty());
        let binder = binders.next()?;
        match binder.bind(pod, node).await {
            Err(error) if binder.spec.ignorable => {
                binder.passed_over(&error);
                None
            }
            done => Some(done),
        }
    }
}

impl Extender {
    fn passed_over(&self, error: &Error) {
        tracing::warn!(extender = self.spec.url_prefix, "passed over: {}", chain(error));
    }

    async fn filter(&self, pod: &Pod, nodes: &[&NodeInfo]) -> Result<Filtered, Error> {
        let answer = self.send(&self.spec.filter_verb, self.arguments(pod, nodes)).await?;
        let answer = Filtered::read(&answer)?;
        let known: HashSet<&str> = nodes.iter().map(|node| node.name()).collect();
        match answer.left.iter().find(|name| !known.contains(name.as_str())) {
            None => Ok(answer),
            Some(stranger) => Err(Error::Says(format!(
                "extender {:?} claims a filtered node {stranger:?} which is not found in the input node list",
                self.spec.url_prefix
            ))),
        }
    }

    async fn points(&self, pod: &Pod, nodes: &[&NodeInfo]) -> Result<BTreeMap<String, i64>, Error> {
        let answer = self.send(&self.spec.prioritize_verb, self.arguments(pod, nodes)).await?;
        let scale = self.spec.weight * (MAX_NODE_SCORE / MAX_POINTS);
        let of = |entry: &Value| {
            let entry = entry.as_object()?;
            let host = field(entry, "Host")?.as_str()?.to_owned();
            Some((host, field(entry, "Score")?.as_i64()?.saturating_mul(scale)))
        };
        Ok(answer.as_array().into_iter().flatten().filter_map(of).collect())
    }

    fn arguments(&self, pod: &Pod, nodes: &[&NodeInfo]) -> Value {
        let capable = self.spec.node_cache_capable;
        let objects = || nodes.iter().filter_map(|node| node.node.as_deref()).collect::<Vec<_>>();
        json!({
            "Pod": pod,
            "Nodes": (!capable).then(|| json!({"metadata": {}, "items": objects()})),
            "NodeNames": capable.then(|| nodes.iter().map(|node| node.name()).collect::<Vec<_>>()),
        })
    }

    async fn preempt(
        &self,
        pod: &Pod,
        candidates: &[Candidate],
        cluster: &Snapshot,
    ) -> Result<Vec<Candidate>, Error> {
        let capable = self.spec.node_cache_capable;
        let mut victims = Map::new();
        for candidate in candidates {
            let pods: Vec<Value> = candidate
                .victims
                .iter()
                .map(|victim| if capable { json!({"UID": victim.uid()}) } else { json!(&*victim.pod()) })
                .collect();
            let name = cluster.at(candidate.slot).name().to_owned();
            victims.insert(name, json!({"Pods": pods, "NumPDBViolations": candidate.violations}));
        }
        let mut arguments = json!({"Pod": pod, "NodeNameToVictims": null, "NodeNameToMetaVictims": null});
        let place = if capable { "NodeNameToMetaVictims" } else { "NodeNameToVictims" };
        arguments[place] = Value::Object(victims);
        let answer = self.send(&self.spec.preempt_verb, arguments).await?;
        let left = answer.as_object().and_then(|answer| field(answer, "NodeNameToMetaVictims"));
        let mut candidates = Vec::new();
        for (name, victims) in left.and_then(Value::as_object).into_iter().flatten() {
            let node = cluster.node(name);
            let node = node.ok_or_else(|| Error::Says(format!("node {name:?} not found in the snapshot")))?;
            let candidate = self.candidate(node, victims)?;
            if !candidate.victims.is_empty() {
                candidates.push(candidate);
            } else if !self.spec.ignorable {
                return Err(Error::Says(format!("expected at least one victim pod on node {name:?}")));
            }
        }
        Ok(candidates)
    }

    fn candidate(&self, node: &NodeInfo, victims: &Value) -> Result<Candidate, Error> {
        let none = Map::new();
        let said = victims.as_object().unwrap_or(&none);
        let mut victims = Vec::new();
        for victim in field(said, "Pods").and_then(Value::as_array).into_iter().flatten() {
            let uid =
                victim.as_object().and_then(|victim| field(victim, "UID")?.as_str()).unwrap_or_default();
            let Some(known) = node.pods().iter().find(|pod| pod.uid() == uid) else {
                return Err(Error::Says(format!(
                    "extender: {} claims to preempt pod (UID: {uid}) on node: {}, but the pod is not found on that node",
                    self.spec.url_prefix,
                    node.name()
                )));
            };
            victims.push(known.clone());
        }
        let violations = field(said, "NumPDBViolations").and_then(Value::as_u64).unwrap_or(0);
        Ok(Candidate::new(node.slot, victims, usize::try_from(violations).unwrap_or(usize::MAX)))
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), Error> {
        let meta = &pod.metadata;
        let arguments = json!({
            "PodName": meta.name, "PodNamespace": meta.namespace, "PodUID": meta.uid, "Node": node,
        });
        let answer = self.send(&self.spec.bind_verb, arguments).await?;
        said_error(&answer)
    }

    async fn send(&self, verb: &str, arguments: Value) -> Result<Value, Error> {
        let url = format!("{}/{verb}", self.spec.url_prefix.trim_end_matches('/'));
        let unreachable = |why: String| Error::Unreachable { url: url.clone(), why };
        let request = http::Request::post(format!("/{verb}"))
            .header("content-type", "application/json")
            .body(Body::from(arguments.to_string().into_bytes()))
            .map_err(|error| unreachable(error.to_string()))?;
        let exchange = async {
            let response = self.client.send(request).await.map_err(|error| chain(&error))?;
            let code = response.status().as_u16();
            let body = response.into_body().collect_bytes().await.map_err(|error| chain(&error))?;
            Ok::<_, String>((code, body))
        };
        let answered = tokio::time::timeout(self.spec.timeout(), exchange).await;
        let answered = answered.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        let (code, body) = answered.map_err(unreachable)?;
        if code != 200 {
            return Err(Error::Failed { verb: verb.to_owned(), url, code });
        }
        serde_json::from_slice(&body).map_err(|error| Error::Says(error.to_string()))
    }
}

/// What an extender's filter has left.
#[derive(Debug, Default, PartialEq)]
struct Filtered {
    left: BTreeSet<String>,
    failed: BTreeMap<String, String>,
    unresolvable: BTreeMap<String, String>,
}

impl Filtered {
    fn read(answer: &Value) -> Result<Self, Error> {
        said_error(answer)?;
        let none = Map::new();
        let answer = answer.as_object().unwrap_or(&none);
        let named = |node: &Value| Some(node.get("metadata")?.get("name")?.as_str()?.to_owned());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let left = match (field(answer, "NodeNames"), field(answer, "Nodes")) {
            (Some(Value::Array(names)), _) => names.iter().filter_map(text).collect(),
            (_, Some(nodes)) => {
                let items = nodes.get("items").and_then(Value::as_array);
                items.into_iter().flatten().filter_map(named).collect()
            }
            _ => BTreeSet::new(),
        };
        let reasons = |name: &str| {
            let map = field(answer, name).and_then(Value::as_object).into_iter().flatten();
            map.map(|(node, why)| (node.clone(), text(why).unwrap_or_default())).collect()
        };
        Ok(Self { left, failed: reasons("FailedNodes"), unresolvable: reasons("FailedAndUnresolvableNodes") })
    }

    fn apply(self, nodes: &mut Vec<&NodeInfo>, diagnosis: &mut Diagnosis) {
        let mut silent = false;
        for node in nodes.iter().filter(|node| !self.left.contains(node.name())) {
            if let Some(why) = self.unresolvable.get(node.name()) {
                diagnosis.rejected.push(node.slot, &Rejection::unresolvable(NAME, why.clone()));
            } else if let Some(why) = self.failed.get(node.name()) {
                diagnosis.rejected.push(node.slot, &Rejection::new(NAME, why.clone()));
            } else {
                silent = true;
            }
        }
        // Nothing is known about what could help: anything may.
        if silent {
            diagnosis.unexplained = Some(NAME);
        }
        nodes.retain(|node| self.left.contains(node.name()));
    }
}

/// A field of an answer, whatever its case.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).filter(|value| !value.is_null())
}

fn said_error(answer: &Value) -> Result<(), Error> {
    let said = answer.as_object().and_then(|answer| field(answer, "Error")?.as_str()).unwrap_or_default();
    if said.is_empty() { Ok(()) } else { Err(Error::Says(said.to_owned())) }
}

/// How to reach it: as a cluster of that address would be.
async fn config(spec: &ExtenderSpec) -> Result<kube::Config, kube::config::KubeconfigError> {
    let tls = spec.tls_config.clone().unwrap_or_default();
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let vouched = !tls.ca_file.is_empty() || !tls.ca_data.is_empty();
    let file: Kubeconfig = serde_json::from_value(json!({
        "current-context": NAME,
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "clusters": [{"name": NAME, "cluster": {
            "server": spec.url_prefix,
            "insecure-skip-tls-verify": tls.insecure || (spec.enable_https && !vouched),
            "certificate-authority": given(&tls.ca_file),
            "certificate-authority-data": given(&tls.ca_data),
            "tls-server-name": given(&tls.server_name),
        }}],
        "users": [{"name": NAME, "user": {
            "client-certificate": given(&tls.cert_file),
            "client-certificate-data": given(&tls.cert_data),
            "client-key": given(&tls.key_file),
            "client-key-data": given(&tls.key_data),
        }}],
    }))
    .expect("a kubeconfig of these fields");
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whatever_the_case_of_their_fields() {
        let left = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let why = |node: &str, why: &str| BTreeMap::from([(node.to_owned(), why.to_owned())]);
        for (answer, expected) in [
            (
                json!({"NodeNames": ["a"], "Nodes": null}),
                Filtered { left: left(&["a"]), ..Filtered::default() },
            ),
            (
                json!({"nodes": {"items": [{"metadata": {"name": "b"}}]}, "failedNodes": {"c": "full"}, "error": ""}),
                Filtered { left: left(&["b"]), failed: why("c", "full"), ..Filtered::default() },
            ),
            (
                json!({"nodenames": [], "FailedAndUnresolvableNodes": {"c": "no"}}),
                Filtered { unresolvable: why("c", "no"), ..Filtered::default() },
            ),
        ] {
            assert_eq!(Filtered::read(&answer).expect("an answer"), expected, "{answer}");
        }
        assert_eq!(Filtered::read(&json!({"Error": "broken"})).expect_err("an error").to_string(), "broken");
    }
}
