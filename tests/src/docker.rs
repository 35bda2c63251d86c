//! A cluster in the test's process whose node runs real containers in Docker.
//!
//! **Contract**: containers, networks, mounts and files of a [`DockerCluster`] go with its value, also when a test fails.
//! Needs a Docker engine and the images of `tests/images/build`.

use crate::{DEADLINE, profile::Said};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use minik::{Cluster, IpFamily, Runtime};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use testkit::eventually_some;

/// A cluster with real containers.
pub struct DockerCluster {
    cluster: Option<Cluster>,
    root: TempDir,
    name: String,
    /// Address of the engine; empty: the machine's own.
    host: String,
    ingress: Option<minik::Ingress>,
    nodes: u32,
    family: IpFamily,
}

impl DockerCluster {
    /// A cluster called after the test, with one node that is Ready.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(test: &str) -> Self {
        Self::start_as(test, "", None, 1).await
    }

    /// The same in an engine of the test's own.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_on(host: &str, test: &str) -> Self {
        Self::start_as(test, host, None, 1).await
    }

    /// The same, which lets requests in from outside.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with(test: &str, ingress: minik::Ingress) -> Self {
        Self::start_as(test, "", Some(ingress), 1).await
    }

    /// The same with several nodes.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_nodes(test: &str, nodes: u32) -> Self {
        Self::start_as(test, "", None, nodes).await
    }

    /// The same with addresses of these families.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_in(test: &str, family: IpFamily) -> Self {
        let mut this = Self::new(test, "", None, 1);
        this.family = family;
        this.start_again().await;
        this
    }

    async fn start_as(test: &str, host: &str, ingress: Option<minik::Ingress>, nodes: u32) -> Self {
        let mut this = Self::new(test, host, ingress, nodes);
        this.start_again().await;
        this
    }

    fn new(test: &str, host: &str, ingress: Option<minik::Ingress>, nodes: u32) -> Self {
        let name = format!("{test}-{}", std::process::id());
        let root = TempDir::new().expect("a folder");
        let (host, family) = (host.to_owned(), IpFamily::Ipv4);
        Self { cluster: None, root, name, host, ingress, nodes, family }
    }

    /// Ends the whole cluster as it is, containers excepted, and starts another in its place that knows of no pod.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn forget_everything(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Ends the whole cluster as it is, containers excepted.
    pub async fn stop(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            cluster.stop().await;
        }
    }

    async fn start_again(&mut self) {
        let cluster = Cluster::builder()
            .name(&self.name)
            .nodes(self.nodes)
            .runtime(Runtime::Docker { host: self.host.clone() })
            .ip_family(self.family)
            .root_dir(self.root.path().join("nodes"))
            .volumes_dir(self.root.path().join("volumes"))
            .ingress(self.ingress.clone())
            .start()
            .await
            .expect("it starts");
        cluster.nodes_ready(self.nodes as usize, DEADLINE).await.expect("its nodes are Ready");
        crate::settled(&cluster.client()).await;
        self.cluster = Some(cluster);
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.cluster.as_ref().expect("it runs").client()
    }

    /// The folder with the node's files.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The name of the first node.
    ///
    /// # Panics
    /// If there is none.
    pub async fn node(&self) -> String {
        self.nodes().await.into_iter().next().expect("a node")
    }

    /// The names of all nodes.
    ///
    /// # Panics
    /// If the API does not tell.
    pub async fn nodes(&self) -> Vec<String> {
        let nodes: Api<Node> = Api::all(self.client());
        let list = nodes.list(&ListParams::default()).await.expect("a list");
        list.items.into_iter().filter_map(|node| node.metadata.name).collect()
    }

    /// The pods of the namespace `default`.
    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client())
    }

    /// Creates any object given as JSON, in the namespace `default` if it has none.
    ///
    /// # Panics
    /// If the API refuses it.
    pub async fn create(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        self.api(&object).create(&PostParams::default(), &object).await.expect("the API takes it");
    }

    /// Merges into an object given by kind and name.
    ///
    /// # Panics
    /// If the API refuses it.
    pub async fn patch(&self, api_version: &str, kind: &str, name: &str, patch: Value) {
        let object: DynamicObject =
            serde_json::from_value(json!({"apiVersion": api_version, "kind": kind, "metadata": {}}))
                .expect("an object");
        let patch = Patch::Merge(patch);
        self.api(&object).patch(name, &PatchParams::default(), &patch).await.expect("the API takes it");
    }

    /// Merges into a pod by way of one of its subresources.
    ///
    /// # Panics
    /// If the API refuses it.
    pub async fn patch_subresource(&self, pod: &str, subresource: &str, patch: Value) {
        let patch = Patch::Strategic(patch);
        let params = PatchParams::default();
        self.pods().patch_subresource(subresource, pod, &params, &patch).await.expect("the API takes it");
    }

    fn api(&self, object: &DynamicObject) -> Api<DynamicObject> {
        let types = object.types.clone().expect("a kind");
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
        match types.kind.as_str() {
            "PersistentVolume" | "StorageClass" | "RuntimeClass" | "PriorityClass" | "Node" => {
                Api::all_with(self.client(), &resource)
            }
            _ => Api::namespaced_with(self.client(), "default", &resource),
        }
    }

    /// Waits until a pod is as described and gives it.
    #[track_caller]
    pub fn until(
        &self,
        pod: &str,
        holds: impl Fn(&Value) -> bool + Send + Sync + Clone + 'static,
    ) -> impl Future<Output = Value> {
        let (pods, name) = (self.pods(), pod.to_owned());
        eventually_some(DEADLINE, move || {
            let (pods, name, holds) = (pods.clone(), name.clone(), holds.clone());
            async move {
                let pod = pods.get_opt(&name).await.expect("the API answers")?;
                let pod = serde_json::to_value(pod).expect("JSON");
                holds(&pod).then_some(pod)
            }
        })
    }

    /// Waits until a pod has ended and gives what its container `main` wrote, with the pod.
    ///
    /// # Panics
    /// If it does not end, or its log cannot be read.
    pub async fn output(&self, pod: &str) -> String {
        self.until(pod, |pod| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))).await;
        self.log(pod).await
    }

    /// What a pod's container `main` wrote.
    ///
    /// # Panics
    /// If it cannot be read.
    pub async fn log(&self, pod: &str) -> String {
        let params = kube::api::LogParams { container: Some("main".to_owned()), ..Default::default() };
        self.pods().logs(pod, &params).await.expect("its log")
    }

    /// Waits until a pod's container `main` has written this.
    pub async fn writes(&self, pod: &str, text: &str) {
        let (pods, pod, text) = (self.pods(), pod.to_owned(), text.to_owned());
        eventually_some(DEADLINE, move || {
            let (pods, pod, text) = (pods.clone(), pod.clone(), text.clone());
            async move {
                let params =
                    kube::api::LogParams { container: Some("main".to_owned()), ..Default::default() };
                let log = pods.logs(&pod, &params).await.ok()?;
                log.contains(&text).then_some(())
            }
        })
        .await;
    }

    /// Waits for an event about a pod with this reason, whose message has this part.
    #[track_caller]
    pub fn event(&self, pod: &str, reason: &str, part: &str) -> impl Future<Output = String> {
        let events: Api<Event> = Api::default_namespaced(self.client());
        let about = ListParams::default().fields(&format!("involvedObject.name={pod}"));
        let (reason, part) = (reason.to_owned(), part.to_owned());
        eventually_some(DEADLINE, move || {
            let (events, about, reason, part) = (events.clone(), about.clone(), reason.clone(), part.clone());
            async move {
                let list = events.list(&about).await.expect("a list").items;
                let of = |event: &Event| event.reason.as_deref() == Some(&reason);
                let messages = list.into_iter().filter(of).filter_map(|event| event.message);
                messages.into_iter().find(|message| message.contains(&part))
            }
        })
    }

    /// Deletes a pod and waits until it is gone.
    ///
    /// # Panics
    /// If the API refuses it, or it stays.
    pub async fn delete(&self, pod: &str, grace: u32) {
        let params = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
        self.pods().delete(pod, &params).await.expect("the API deletes it");
        let (pods, name) = (self.pods(), pod.to_owned());
        eventually_some(DEADLINE, move || {
            let (pods, name) = (pods.clone(), name.clone());
            async move { pods.get_opt(&name).await.expect("the API answers").is_none().then_some(()) }
        })
        .await;
    }

    /// Waits until nothing of any pod is left: no container and no mount.
    #[track_caller]
    pub fn clean(&self) -> impl Future<Output = ()> {
        eventually_some(DEADLINE, move || async move {
            (self.mounts().is_empty() && self.containers().is_empty()).then_some(())
        })
    }

    /// Names of the engine's containers of this cluster.
    pub fn containers(&self) -> Vec<String> {
        self.list(&["ps", "--all", "--format", "{{.Names}}"])
    }

    /// Those of them that run.
    pub fn running(&self) -> Vec<String> {
        self.list(&["ps", "--format", "{{.Names}}"])
    }

    /// Names of the engine's networks of this cluster.
    pub fn networks(&self) -> Vec<String> {
        self.list(&["network", "ls", "--format", "{{.Name}}"])
    }

    fn list(&self, command: &[&str]) -> Vec<String> {
        let filter = format!("label=minik.profile={}", self.name);
        let said = docker_at(&self.host, &[command, &["--filter", &filter]].concat());
        said.lines().map(str::to_owned).collect()
    }

    /// Mount points of this machine below the cluster's folder.
    pub fn mounts(&self) -> Vec<String> {
        let root = self.root.path().to_str().expect("UTF-8");
        let text = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let points = text.lines().filter_map(|line| line.split(' ').nth(4));
        points.filter(|point| point.starts_with(root)).map(str::to_owned).collect()
    }
}

impl Drop for DockerCluster {
    fn drop(&mut self) {
        if let Some(cluster) = &self.cluster {
            cluster.context().shutdown.trigger();
        }
        let filter = format!("label=minik.profile={}", self.name);
        // What is being made while everything ends shows up in a second round.
        for _ in 0..2 {
            let ids = docker_at(&self.host, &["ps", "--all", "--quiet", "--filter", &filter]);
            let ids: Vec<&str> = ids.lines().collect();
            if !ids.is_empty() {
                docker_at(&self.host, &[&["rm", "--force", "--volumes"][..], &ids].concat());
            }
        }
        let tables = [format!("minik-{}", self.name), format!("minik-{}-policies", self.name)];
        let families = if self.family == IpFamily::Ipv4 { &["ip"][..] } else { &["ip", "ip6"] };
        let removal = |family, table| format!("add table {family} {table}; delete table {family} {table};");
        let rules: String = families
            .iter()
            .flat_map(|family| tables.iter().map(move |table| removal(family, table)))
            .collect();
        let _ = std::process::Command::new("nft").arg(rules).env("PATH", "/usr/sbin:/sbin").status();
        let networks = docker_at(&self.host, &["network", "ls", "--quiet", "--filter", &filter]);
        for network in networks.lines() {
            docker_at(&self.host, &["network", "rm", network]);
        }
        let removed = kubelet::remove_root_dir(self.root.path());
        if !std::thread::panicking() {
            removed.expect("nothing is in use");
        }
    }
}

/// What a docker command says; nothing if it fails.
///
/// # Panics
/// If there is no such program.
pub fn docker(arguments: &[&str]) -> String {
    docker_at("", arguments)
}

/// The same of the engine at an address; empty: the machine's own.
///
/// # Panics
/// If there is no such program.
pub fn docker_at(host: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    if !host.is_empty() {
        command.args(["--host", host]);
    }
    Said::of(command.args(arguments).output().expect("docker runs")).stdout
}

/// A pod that runs a shell script in the container `main`, once; `spec` is merged into its spec, `main` into the container.
pub fn script(name: &str, script: &str, spec: Value, main: Value) -> Value {
    let mut container = json!({
        "name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]
    });
    merge(&mut container, main);
    let mut all = json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]
    });
    merge(&mut all, spec);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": all})
}

/// The same as a pod that goes on until it is deleted.
pub fn service(name: &str, text: &str, spec: Value, main: Value) -> Value {
    let mut pod = script(name, text, spec, main);
    pod["spec"]["restartPolicy"] = "Always".into();
    pod
}

fn merge(into: &mut Value, fields: Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}
