//! Classes, finalizers, overhead, labels: what plugins fill in, and what they refuse in that.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

fn class(name: &str, created: &str, annotation: &str) -> Value {
    json!({"metadata": {"name": name, "creationTimestamp": created, "annotations": {annotation: "true"}}})
}

fn of_group(group: &'static str, kind: &'static str, plural: &'static str) -> Case<'static> {
    let resource = Resource::new(group, "v1", kind, plural, "", Scope::Namespaced);
    Case { resource, ..Case::create(kind, plural, "n") }
}

#[test]
fn the_newest_default_class_is_taken() {
    let annotation = "storageclass.kubernetes.io/is-default-class";
    let lookup = Fake::namespace()
        .with("storageclasses", class("old", "2026-01-01T00:00:00Z", annotation))
        .with("storageclasses", class("b", "2026-01-02T00:00:00Z", annotation))
        .with("storageclasses", class("a", "2026-01-02T00:00:00Z", annotation))
        .with("storageclasses", class("newest", "2026-01-03T00:00:00Z", "other"));
    let case = Case { lookup, ..Case::create("PersistentVolumeClaim", "persistentvolumeclaims", "n") };
    for (given, taken) in [(Value::Null, "a"), (json!(""), ""), (json!("x"), "x")] {
        let claim = json!({"metadata": {"name": "c"}, "spec": {"storageClassName": given}});
        let claim = case.run(Some(claim)).unwrap();
        assert_eq!(claim["spec"]["storageClassName"], taken);
        assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    }
    let lookup = Fake::namespace().with(
        "ingressclasses",
        class("i", "2026-01-01T00:00:00Z", "ingressclass.kubernetes.io/is-default-class"),
    );
    let case = Case { lookup, ..of_group("networking.k8s.io", "Ingress", "ingresses") };
    let ingress =
        |annotations: Value| json!({"metadata": {"name": "x", "annotations": annotations}, "spec": {}});
    assert_eq!(case.run(Some(ingress(json!({})))).unwrap()["spec"]["ingressClassName"], "i");
    let legacy = case.run(Some(ingress(json!({"kubernetes.io/ingress.class": "j"})))).unwrap();
    assert!(legacy["spec"]["ingressClassName"].is_null());
}

#[test]
fn a_claim_grows_where_its_class_allows_it() {
    let claim = |size: &str, class: &str| {
        json!({"metadata": {"name": "c"}, "status": {"phase": "Bound"},
               "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
    };
    let lookup = Fake::namespace()
        .with("storageclasses", json!({"metadata": {"name": "grows"}, "allowVolumeExpansion": true}))
        .with("storageclasses", json!({"metadata": {"name": "fixed"}}));
    let mut case = Case {
        lookup,
        operation: Operation::Update,
        name: "c",
        old: Some(claim("1Gi", "grows")),
        ..Case::create("PersistentVolumeClaim", "persistentvolumeclaims", "n")
    };
    assert!(case.run(Some(claim("2Gi", "grows"))).is_ok());
    assert!(case.run(Some(claim("1Gi", "fixed"))).is_ok());
    assert_eq!(
        case.refusal(Some(claim("2Gi", "fixed"))).1,
        "persistentvolumeclaims \"c\" is forbidden: only dynamically provisioned pvc can be resized and the \
         storageclass that provisions the pvc must support resize"
    );
    case.old = Some(
        json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Pending"}}),
    );
    assert!(
        case.refusal(Some(claim("2Gi", "grows")))
            .1
            .ends_with("Only bound persistent volume claims can be expanded")
    );
}

#[test]
fn a_runtime_class_brings_overhead_and_placement() {
    let class = json!({"metadata": {"name": "r"}, "overhead": {"podFixed": {"cpu": "100m"}},
        "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}});
    let case =
        Case { lookup: Fake::namespace().with("runtimeclasses", class), ..Case::create("Pod", "pods", "n") };
    let pod = |spec: Value| json!({"metadata": {"name": "p"}, "spec": spec});
    let admitted = case.run(Some(pod(json!({"runtimeClassName": "r"})))).unwrap();
    assert_eq!(admitted["spec"]["overhead"], json!({"cpu": "100m"}));
    assert_eq!(admitted["spec"]["nodeSelector"], json!({"a": "b"}));
    assert!(admitted["spec"]["tolerations"].as_array().unwrap().iter().any(|t| t["key"] == "k"));
    for (spec, why) in [
        (json!({"runtimeClassName": "x"}), "pod rejected: RuntimeClass \"x\" not found"),
        (
            json!({"overhead": {"cpu": "1"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            json!({"runtimeClassName": "r", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"runtimeClassName": "r", "nodeSelector": {"a": "c"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c",
        ),
    ] {
        assert_eq!(case.refusal(Some(pod(spec))).1, format!("pods \"p\" is forbidden: {why}"));
    }
}

#[test]
fn a_bound_pod_carries_the_zone_of_its_node() {
    let node = json!({"metadata": {"name": "a", "labels": {
        "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "x"}}});
    let case = Case {
        operation: Operation::Update,
        subresource: "binding",
        name: "p",
        lookup: Fake::namespace().with("nodes", node),
        ..Case::create("Pod", "pods", "n")
    };
    let bound = case.run(Some(json!({"metadata": {"name": "p"}, "spec": {"nodeName": "a"}}))).unwrap();
    assert_eq!(
        bound["metadata"]["labels"],
        json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"})
    );
}

#[test]
fn signers_are_asked_for_by_name() {
    let old = json!({"metadata": {"name": "r"}, "spec": {"signerName": "example.com/s"}});
    let case = Case {
        operation: Operation::Update,
        subresource: "approval",
        name: "r",
        old: Some(old.clone()),
        ..of_group("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests")
    };
    let case = Case { namespace: "", ..case };
    assert!(case.refusal(Some(old.clone())).1.ends_with(
        "\"r\" is forbidden: user not permitted to approve requests with signerName \"example.com/s\""
    ));
    let case = Case { subresource: "status", ..case };
    assert!(case.run(Some(old.clone())).is_ok(), "nothing is signed");
    let mut signed = old;
    signed["status"] = json!({"certificate": "x"});
    assert!(case.refusal(Some(signed)).1.contains("user not permitted to sign requests"));
}

#[test]
fn nobody_asks_to_be_a_master() {
    let request = |organization: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        json!({"metadata": {"name": "r"}, "spec": {
            "signerName": "kubernetes.io/kube-apiserver-client", "request": BASE64_STANDARD.encode(pem)}})
    };
    let case = of_group("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests");
    let case = Case { namespace: "", ..case };
    assert!(case.run(Some(request("devs"))).is_ok());
    assert!(case.refusal(Some(request("system:masters"))).1.ends_with(
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    ));
}

#[test]
fn a_namespace_holds_its_pods_to_a_standard() {
    let namespace = |enforce: &str| {
        json!({"metadata": {"name": "n", "labels": {"pod-security.kubernetes.io/enforce": enforce}},
               "status": {"phase": "Active"}})
    };
    let case = Case {
        lookup: Fake::namespace().with("namespaces", namespace("baseline")),
        ..Case::create("Pod", "pods", "n")
    };
    let pod = json!({"metadata": {"name": "p"}, "spec": {"hostPID": true, "containers": []}});
    assert_eq!(
        case.refusal(Some(pod.clone())),
        (403, "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)".to_owned())
    );
    let job = of_group("batch", "Job", "jobs");
    let job = Case { lookup: Fake::namespace().with("namespaces", namespace("baseline")), ..job };
    let outcome = job.outcome(json!({"metadata": {"name": "j"}, "spec": {"template": pod.clone()}}));
    assert_eq!(
        outcome.warnings,
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"]
    );
    let mut labelled = pod.clone();
    labelled["metadata"]["namespace"] = json!("n");
    let case = Case {
        operation: Operation::Update,
        name: "n",
        old: Some(namespace("privileged")),
        lookup: Fake::default().with("pods", labelled),
        ..Case::create("Namespace", "namespaces", "")
    };
    assert_eq!(case.outcome(namespace("restricted")).warnings[1], "p: host namespaces");
    assert_eq!(case.refusal(Some(namespace("strict"))).0, 422);
}

#[test]
fn plugins_are_chosen_by_name() {
    let authorizer: Arc<dyn Authorizer> = Arc::new(Reader);
    let choice = |enabled: &[&str], disabled: &[&str]| {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let choice =
            plugins::Choice { enabled: names(enabled), disabled: names(disabled), ..Default::default() };
        plugins::chain(&authorizer, &choice, Vec::new())
            .map(|chain| chain.names().len())
            .map_err(|error| error.to_string())
    };
    let all = choice(&[], &[]).unwrap();
    assert_eq!(choice(&["NodeRestriction"], &["PodSecurity", "ResourceQuota"]), Ok(all - 2));
    assert_eq!(choice(&["AlwaysPullImages", "DenyServiceExternalIPs"], &[]), Ok(all + 2));
    assert_eq!(
        choice(&["Nonsense"], &[]),
        Err("enable-admission-plugins plugin \"Nonsense\" is unknown".to_owned())
    );
    assert_eq!(
        choice(&["Priority"], &["Priority"]),
        Err("[Priority] in enable-admission-plugins and disable-admission-plugins overlapped".to_owned())
    );
}

#[test]
fn what_is_off_by_default_works_when_it_is_asked_for() {
    let anti_affinity = |key: &str| json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key}]}});
    let pod = |affinity: Value| {
        json!({"metadata": {"name": "p"}, "spec": {"affinity": affinity, "containers": [
            {"name": "c", "imagePullPolicy": "Never", "resources": {"requests": {"example.com/gpu": "1"}}}]}})
    };
    let case = Case::create("Pod", "pods", "n").with(&[
        "AlwaysPullImages",
        "DenyServiceExternalIPs",
        "ExtendedResourceToleration",
        "LimitPodHardAntiAffinityTopology",
    ]);
    let admitted = case.run(Some(pod(anti_affinity("kubernetes.io/hostname")))).unwrap();
    assert_eq!(admitted["spec"]["containers"][0]["imagePullPolicy"], "Always");
    let tolerated = json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"});
    assert!(admitted["spec"]["tolerations"].as_array().unwrap().contains(&tolerated));
    assert!(case.refusal(Some(pod(anti_affinity("zone")))).1.contains("has TopologyKey zone but only key"));
    let case = Case { enabled: case.enabled.clone(), ..Case::create("Service", "services", "n") };
    let service = json!({"metadata": {"name": "s"}, "spec": {"externalIPs": ["1.2.3.4"]}});
    assert_eq!(
        case.refusal(Some(service)).1,
        "services \"s\" is forbidden: Use of external IPs is denied by admission control"
    );
}

/// What a node may do; `""`: it may.
#[test]
fn a_kubelet_changes_nothing_that_would_draw_pods_to_it() {
    let node = |metadata: Value, spec: Value| {
        let mut node = json!({ "metadata": metadata, "spec": spec });
        node["metadata"]["name"] = json!("w");
        node
    };
    let plain = || node(json!({}), json!({}));
    let labelled = |key: &str| node(json!({ "labels": { key: "x" } }), json!({}));
    let case = |operation: Operation, subresource: &'static str, old: Option<Value>| {
        let mut case = Case::create("Node", "nodes", "");
        case.user = UserInfo::authenticated("system:node:w", ["system:nodes".to_owned()]);
        (case.operation, case.subresource, case.old, case.name) = (operation, subresource, old, "w");
        case
    };
    let asked = |case: Case<'_>, object: Value| match case.run(Some(object)) {
        Ok(_) => String::new(),
        Err(status) => {
            assert_eq!(status.code, 403);
            status.message.trim_start_matches("nodes \"w\" is forbidden: ").to_owned()
        }
    };
    for (key, allowed) in [
        ("mine", true),
        ("example.com/mine", true),
        ("kubernetes.io/hostname", true),
        ("topology.kubernetes.io/zone", true),
        ("node.kubernetes.io/anything", true),
        ("a.kubelet.kubernetes.io/anything", true),
        ("node-role.kubernetes.io/control-plane", false),
        ("node-restriction.kubernetes.io/x", false),
        ("a.node-restriction.kubernetes.io/x", false),
        ("other.k8s.io/x", false),
        ("notkubernetes.io/x", true),
    ] {
        let created = asked(case(Operation::Create, "", None), labelled(key));
        let refusal = format!("node \"w\" is not allowed to set the following labels: {key}");
        assert_eq!(created, if allowed { "" } else { &refusal }, "{key}");
        let refusal = format!("is not allowed to modify labels: {key}");
        let refusal = if allowed { "" } else { &refusal };
        assert_eq!(asked(case(Operation::Update, "", Some(plain())), labelled(key)), refusal, "{key}");
        assert_eq!(asked(case(Operation::Update, "status", Some(labelled(key))), plain()), refusal, "{key}");
        assert_eq!(asked(case(Operation::Update, "", Some(labelled(key))), labelled(key)), "", "{key}");
    }
    let tainted = node(json!({}), json!({ "taints": [{ "key": "a", "effect": "NoSchedule" }] }));
    let owned = node(json!({ "ownerReferences": [{ "name": "o" }] }), json!({}));
    for (old, new, refusal) in [
        (plain(), node(json!({}), json!({ "taints": [], "unschedulable": true })), ""),
        (tainted.clone(), plain(), "node \"w\" is not allowed to modify taints"),
        (plain(), tainted, "node \"w\" is not allowed to modify taints"),
        (plain(), owned, "node \"w\" is not allowed to modify ownerReferences"),
    ] {
        assert_eq!(asked(case(Operation::Update, "", Some(old)), new), refusal);
    }
}

#[test]
fn a_kubelet_makes_mirror_pods_that_refer_to_nothing() {
    /// Of the pod, and what is said to it.
    type Change<'a> = (&'a dyn Fn(&mut Value), &'a str);
    let owner = json!({ "apiVersion": "v1", "kind": "Node", "name": "w", "uid": "u1", "controller": true });
    let mut case = Case::create("Pod", "pods", "n");
    case.user = UserInfo::authenticated("system:node:w", ["system:nodes".to_owned()]);
    case.lookup = Fake::namespace().with("nodes", json!({ "metadata": { "name": "w", "uid": "u1" } }));
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut pod = json!({
            "metadata": {
                "name": "p", "namespace": "n", "annotations": { "kubernetes.io/config.mirror": "x" },
                "ownerReferences": [owner],
            },
            "spec": { "nodeName": "w", "containers": [{ "name": "c", "image": "i" }] },
        });
        change(&mut pod);
        let refused = case.run(Some(pod)).err();
        let text = refused.map(|status| status.message).unwrap_or_default();
        text.trim_start_matches("pods \"p\" is forbidden: ").to_owned()
    };
    assert_eq!(refusal(&|_| {}), "");
    let changes: [Change<'_>; 8] = [
        (
            &|pod| pod["metadata"]["ownerReferences"] = json!([]),
            "node \"w\" can only create pods with an owner reference set to itself",
        ),
        (
            &|pod| pod["metadata"]["ownerReferences"][0]["name"] = json!("v"),
            "node \"w\" can only create pods with an owner reference set to itself",
        ),
        (
            &|pod| pod["metadata"]["ownerReferences"][0]["controller"] = json!(false),
            "node \"w\" can only create pods with a controller owner reference set to itself",
        ),
        (
            &|pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true),
            "node \"w\" must not set blockOwnerDeletion on an owner reference",
        ),
        (
            &|pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("u2"),
            "node w UID mismatch: expected u2 got u1",
        ),
        (
            &|pod| pod["spec"]["volumes"] = json!([{ "name": "v", "secret": { "secretName": "s" } }]),
            "node \"w\" can not create pods that reference secrets",
        ),
        (
            &|pod| pod["spec"]["containers"][0]["envFrom"] = json!([{ "configMapRef": { "name": "m" } }]),
            "node \"w\" can not create pods that reference configmaps",
        ),
        (
            &|pod| {
                pod["spec"]["volumes"] =
                    json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }])
            },
            "node \"w\" can not create pods that reference persistentvolumeclaims",
        ),
    ];
    for (change, expected) in changes {
        assert_eq!(refusal(change), expected);
    }
}
