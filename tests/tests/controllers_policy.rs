//! What holds objects to limits, in whole clusters: quotas, limit ranges, disruption budgets, protection of storage,
//! aggregated roles, certificates.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::{
    ConfigMap, LimitRange, Namespace, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use minik::Cluster;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{eventually, eventually_some};
use tests::workloads::{DEADLINE, cluster};

/// How soon a quota knows of a deletion.
const PROMPTLY: Duration = Duration::from_secs(1);

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

fn pod(name: &str) -> Pod {
    object(json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {
        "containers": [{"name": "c", "image": "busybox"}], "terminationGracePeriodSeconds": 0}}))
}

fn config_map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}}))
}

fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> (u16, String) {
    match answer.expect_err("a refusal") {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => panic!("{other}"),
    }
}

/// A namespace of its own, with a quota whose status is there.
async fn quota(cluster: &Cluster, namespace: &str, spec: Value) -> Api<ResourceQuota> {
    let client = cluster.client();
    let created: Namespace = object(json!({"metadata": {"name": namespace}}));
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &created).await.expect("created");
    let quotas = Api::<ResourceQuota>::namespaced(client, namespace);
    let quota = object(json!({"metadata": {"name": "q"}, "spec": spec}));
    quotas.create(&PostParams::default(), &quota).await.expect("created");
    eventually(PROMPTLY, async || !used(&quotas).await.is_null()).await;
    quotas
}

async fn used(quotas: &Api<ResourceQuota>) -> Value {
    let status = quotas.get("q").await.expect("a quota").status.unwrap_or_default();
    serde_json::to_value(status.used).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn a_quota_counts_what_comes_and_goes_and_refuses_the_rest() {
    let cluster = cluster(1).await;
    let hard =
        json!({"pods": "1", "configmaps": "2", "services.nodeports": "1", "count/deployments.apps": "3"});
    let quotas = quota(&cluster, "n", json!({"hard": hard})).await;
    // The namespace's own kube-root-ca.crt counts.
    let wanted =
        json!({"pods": "0", "configmaps": "1", "services.nodeports": "0", "count/deployments.apps": "0"});
    eventually(DEADLINE, async || used(&quotas).await == wanted).await;
    let (client, create) = (cluster.client(), PostParams::default());
    let (pods, maps) =
        (Api::<Pod>::namespaced(client.clone(), "n"), Api::<ConfigMap>::namespaced(client.clone(), "n"));
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    pods.create(&dry_run, &pod("a")).await.expect("it would fit");
    assert_eq!(used(&quotas).await["pods"], "0", "a dry run is not charged");
    pods.create(&create, &pod("a")).await.expect("it fits");
    assert_eq!(used(&quotas).await["pods"], "1", "charged with the pod");
    assert_eq!(
        refusal(pods.create(&create, &pod("b")).await),
        (
            403,
            "pods \"b\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
                .to_owned()
        )
    );
    maps.create(&create, &config_map("m")).await.expect("it fits");
    assert_eq!(refusal(maps.create(&create, &config_map("m")).await).0, 403, "the quota is asked first");
    maps.delete("m", &DeleteParams::default()).await.expect("deleted");
    eventually(PROMPTLY, async || used(&quotas).await["configmaps"] == "1").await;
    let services = Api::<Service>::namespaced(client, "n");
    let service = |kind: &str| {
        object::<Service>(json!({"metadata": {"name": "s"}, "spec": {"type": kind, "ports": [{"port": 1}]}}))
    };
    services.create(&create, &service("ClusterIP")).await.expect("created");
    assert_eq!(used(&quotas).await["services.nodeports"], "0");
    let to = |kind: &str| Patch::Merge(json!({"spec": {"type": kind}}));
    services.patch("s", &PatchParams::default(), &to("NodePort")).await.expect("changed");
    assert_eq!(used(&quotas).await["services.nodeports"], "1", "an update is charged");
    services.patch("s", &PatchParams::default(), &to("ClusterIP")).await.expect("changed");
    eventually(PROMPTLY, async || used(&quotas).await["services.nodeports"] == "0").await;
    pods.delete("a", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    eventually(PROMPTLY, async || used(&quotas).await["pods"] == "0").await;
    // Other limits are counted at once.
    let patch = Patch::Merge(json!({"spec": {"hard": {"pods": "2", "secrets": "4"}}}));
    quotas.patch("q", &PatchParams::default(), &patch).await.expect("changed");
    eventually(PROMPTLY, async || used(&quotas).await["secrets"] == "0").await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_range_fills_in_and_a_quota_counts_it() {
    let cluster = cluster(1).await;
    let quotas = quota(&cluster, "n", json!({"hard": {"requests.cpu": "1"}})).await;
    let (client, create) = (cluster.client(), PostParams::default());
    let pods = Api::<Pod>::namespaced(client.clone(), "n");
    eventually(DEADLINE, async || used(&quotas).await["requests.cpu"] == "0").await;
    assert_eq!(
        refusal(pods.create(&create, &pod("a")).await).1,
        "pods \"a\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    let range: LimitRange =
        object(json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container",
        "defaultRequest": {"cpu": "600m"}, "default": {"cpu": "700m"}, "max": {"cpu": "800m"}}]}}));
    Api::<LimitRange>::namespaced(client, "n").create(&create, &range).await.expect("created");
    let made = pods.create(&create, &pod("a")).await.expect("it fits");
    assert_eq!(
        made.metadata.annotations.expect("annotations")["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    assert_eq!(used(&quotas).await["requests.cpu"], "600m");
    assert_eq!(
        refusal(pods.create(&create, &pod("b")).await).1,
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
    let mut greedy = pod("b");
    greedy.spec.as_mut().expect("a spec").containers[0].resources =
        Some(object(json!({"limits": {"cpu": "900m"}, "requests": {"cpu": "1m"}})));
    assert_eq!(
        refusal(pods.create(&create, &greedy).await).1,
        "pods \"b\" is forbidden: maximum cpu usage per Container is 800m, but limit is 900m"
    );
    cluster.stop().await;
}

/// Three pods of a ReplicaSet, and their budgets, one of which is `b`.
async fn budgeted(cluster: &Cluster, field: &str, amount: Value) -> Api<PodDisruptionBudget> {
    let (client, create) = (cluster.client(), PostParams::default());
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(client.clone());
    let labels = json!({"app": "web"});
    let mut spec = json!({"selector": {"matchLabels": labels}});
    spec[field] = amount;
    let budget = object::<PodDisruptionBudget>(json!({"metadata": {"name": "b"}, "spec": spec}));
    budgets.create(&create, &budget).await.expect("created");
    let set: ReplicaSet = object(json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}}}));
    Api::<ReplicaSet>::default_namespaced(client).create(&create, &set).await.expect("created");
    budgets
}

/// How many pods are expected, healthy, and needed, and how many may go.
async fn counts(budgets: &Api<PodDisruptionBudget>) -> [i32; 4] {
    let status = budgets.get("b").await.expect("a budget").status.unwrap_or_default();
    [status.expected_pods, status.current_healthy, status.desired_healthy, status.disruptions_allowed]
        .map(Option::unwrap_or_default)
}

#[tokio::test(start_paused = true)]
async fn disruption_controller_should_observe_pod_disruption_budget_status_updated() {
    let cluster = cluster(1).await;
    let budgets = budgeted(&cluster, "maxUnavailable", json!("34%")).await;
    // 34 % of three are two.
    eventually(DEADLINE, async || counts(&budgets).await == [3, 3, 1, 2]).await;
    let told = budgets.get("b").await.expect("a budget");
    let condition =
        told.status.and_then(|s| s.conditions).and_then(|c| c.into_iter().next()).expect("a condition");
    assert_eq!(
        (condition.type_.as_str(), condition.reason.as_str()),
        ("DisruptionAllowed", "SufficientPods")
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn disruption_controller_should_block_an_eviction_until_the_pdb_is_updated_to_allow_it() {
    let cluster = cluster(1).await;
    let pods = Api::<Pod>::default_namespaced(cluster.client());
    let budgets = budgeted(&cluster, "minAvailable", json!(3)).await;
    eventually(DEADLINE, async || counts(&budgets).await == [3, 3, 3, 0]).await;
    let all = pods.list(&ListParams::default()).await.expect("pods").items;
    let victim = all[0].metadata.name.clone().expect("a name");
    let (code, message) = refusal(pods.evict(&victim, &EvictParams::default()).await);
    assert_eq!(
        (code, message.as_str()),
        (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    );
    let allow = Patch::Merge(json!({"spec": {"minAvailable": 2}}));
    budgets.patch("b", &PatchParams::default(), &allow).await.expect("changed");
    eventually(DEADLINE, async || counts(&budgets).await == [3, 3, 2, 1]).await;
    pods.evict(&victim, &EvictParams::default()).await.expect("evicted");
    // Its successor is counted once it is ready.
    eventually(DEADLINE, async || {
        pods.get_opt(&victim).await.expect("an answer").is_none() && counts(&budgets).await == [3, 3, 2, 1]
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn claims_and_volumes_stay_while_they_are_used() {
    let cluster = cluster(1).await;
    let (client, create, delete) = (cluster.client(), PostParams::default(), DeleteParams::default());
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let claims = Api::<PersistentVolumeClaim>::default_namespaced(client.clone());
    let claim = |name: &str| {
        object::<PersistentVolumeClaim>(json!({"metadata": {"name": name}, "spec": {"storageClassName": "",
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}))
    };
    let made = claims.create(&create, &claim("used")).await.expect("created");
    assert_eq!(made.metadata.finalizers, Some(vec!["kubernetes.io/pvc-protection".to_owned()]));
    claims.create(&create, &claim("unused")).await.expect("created");
    let mut user = pod("user");
    let spec = user.spec.as_mut().expect("a spec");
    spec.node_name = Some("nowhere".to_owned());
    spec.volumes = Some(object(json!([{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}])));
    pods.create(&create, &user).await.expect("created");
    claims.delete("unused", &delete).await.expect("deleted");
    claims.delete("used", &delete).await.expect("marked");
    eventually(DEADLINE, async || claims.get_opt("unused").await.expect("an answer").is_none()).await;
    let kept = claims.get("used").await.expect("it is kept");
    assert!(kept.metadata.deletion_timestamp.is_some());
    // Somebody may already have collected a pod of a node that there never was.
    let _ = pods.delete("user", &DeleteParams::default().grace_period(0)).await;
    eventually(DEADLINE, async || claims.get_opt("used").await.expect("an answer").is_none()).await;

    let volumes = Api::<PersistentVolume>::all(client);
    let volume: PersistentVolume =
        object(json!({"metadata": {"name": "v"}, "spec": {"storageClassName": "none",
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/v"}}}));
    let made = volumes.create(&create, &volume).await.expect("created");
    assert_eq!(made.metadata.finalizers, Some(vec!["kubernetes.io/pv-protection".to_owned()]));
    volumes.delete("v", &delete).await.expect("marked or gone");
    eventually(DEADLINE, async || volumes.get_opt("v").await.expect("an answer").is_none()).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_aggregated_role_takes_in_what_is_labelled_for_it() {
    let cluster = cluster(1).await;
    let roles = Api::<ClusterRole>::all(cluster.client());
    let part: ClusterRole = object(json!({
        "metadata": {"name": "widgets", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}]}));
    let has = async |name: &str| {
        let rules = roles.get(name).await.expect("a role").rules.unwrap_or_default();
        rules.iter().any(|rule| rule.resources.iter().flatten().any(|resource| resource == "widgets"))
    };
    roles.create(&PostParams::default(), &part).await.expect("created");
    // `edit` selects `view`, and `admin` selects `edit`.
    for role in ["view", "edit", "admin"] {
        eventually(DEADLINE, async || has(role).await).await;
    }
    roles.delete("widgets", &DeleteParams::default()).await.expect("deleted");
    for role in ["view", "edit", "admin"] {
        eventually(DEADLINE, async || !has(role).await).await;
    }
    cluster.stop().await;
}

/// A request for a certificate with this subject.
fn certificate_request(
    name: &str,
    common_name: &str,
    organization: &str,
    signer: &str,
) -> CertificateSigningRequest {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    let key = rcgen::KeyPair::generate().expect("a key");
    let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let mut request: CertificateSigningRequest = object(json!({"metadata": {"name": name}, "spec": {
        "request": "", "signerName": signer, "usages": ["digital signature", "client auth"]}}));
    request.spec.request = k8s_openapi::ByteString(pem.into_bytes());
    request
}

async fn decide(requests: &Api<CertificateSigningRequest>, name: &str, kind: &str) {
    let mut request = requests.get(name).await.expect("a request");
    let condition = CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some("Tested".to_owned()),
        ..CertificateSigningRequestCondition::default()
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    requests.replace_subresource("approval", name, &PostParams::default(), &request).await.expect("decided");
}

#[tokio::test(start_paused = true)]
async fn approved_requests_are_signed_and_old_ones_go() {
    let cluster = cluster(1).await;
    let requests = Api::<CertificateSigningRequest>::all(cluster.client());
    let (create, client_signer) = (PostParams::default(), "kubernetes.io/kube-apiserver-client");
    let certificate = async |name: &str| {
        requests
            .get_opt(name)
            .await
            .expect("an answer")?
            .status?
            .certificate
            .map(|pem| String::from_utf8(pem.0).expect("PEM"))
    };
    requests
        .create(&create, &certificate_request("jane", "jane", "devs", client_signer))
        .await
        .expect("created");
    requests
        .create(&create, &certificate_request("late", "late", "devs", client_signer))
        .await
        .expect("created");
    decide(&requests, "jane", "Approved").await;
    decide(&requests, "late", "Denied").await;
    let pem = eventually_some(DEADLINE, async || certificate("jane").await).await;
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(certificate("late").await.is_none());

    // What a signer must not sign fails, once and for all.
    let kubelet_signer = "kubernetes.io/kube-apiserver-client-kubelet";
    requests
        .create(&create, &certificate_request("fake", "jane", "devs", kubelet_signer))
        .await
        .expect("created");
    decide(&requests, "fake", "Approved").await;
    let failed = eventually_some(DEADLINE, async || {
        let conditions = requests.get("fake").await.expect("a request").status?.conditions?;
        conditions.into_iter().find(|condition| condition.type_ == "Failed")
    })
    .await;
    assert_eq!(failed.reason.as_deref(), Some("SignerValidationFailure"));
    assert_eq!(failed.message.as_deref(), Some("subject organization is not system:nodes"));

    // A node that may gets its own without anybody being asked.
    let binding: ClusterRoleBinding = object(json!({"metadata": {"name": "nodes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}]}));
    Api::<ClusterRoleBinding>::all(cluster.client()).create(&create, &binding).await.expect("created");
    let node = Api::<CertificateSigningRequest>::all(cluster.client_as("system:node:a", &["system:nodes"]));
    node.create(&create, &certificate_request("node", "system:node:a", "system:nodes", kubelet_signer))
        .await
        .expect("created");
    eventually(DEADLINE, async || certificate("node").await.is_some()).await;

    let mut uids = Vec::new();
    for name in ["jane", "late", "fake", "node"] {
        let uid = requests.get(name).await.expect("a request").metadata.uid.expect("a uid");
        uids.push((name, uid));
    }
    let two_hours = Duration::from_secs(7200);
    for (name, uid) in uids {
        let gone = await_condition(requests.clone(), name, conditions::is_deleted(&uid));
        tokio::time::timeout(two_hours, gone).await.expect("in time").expect("watched");
    }
    cluster.stop().await;
}
