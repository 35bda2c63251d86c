//! What the levels refuse, in upstream's words; what labels mean.

use super::*;
use policy::Version;
use serde_json::json;

fn standard(level: Level, version: Version) -> Standard {
    Standard { level, version }
}

fn detail(level: Level, pod: &Value) -> String {
    checks::evaluate(standard(level, Version::Latest), &Pod::of(pod)).detail()
}

fn hardened() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "i", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }}],
    }})
}

#[test]
fn a_plain_pod_is_baseline_and_not_restricted() {
    let plain = json!({"spec": {"containers": [{"name": "c"}]}});
    assert_eq!(detail(Level::Baseline, &plain), "");
    assert_eq!(
        detail(Level::Restricted, &plain),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(detail(Level::Restricted, &hardened()), "");
}

#[test]
fn each_rule_refuses_in_upstreams_words() {
    let container = |more: Value| {
        let mut pod = hardened();
        for (field, value) in more.as_object().unwrap() {
            if field == "securityContext" {
                for (field, value) in value.as_object().unwrap() {
                    pod["spec"]["containers"][0]["securityContext"][field] = value.clone();
                }
            } else {
                pod["spec"]["containers"][0][field] = value.clone();
            }
        }
        pod
    };
    let context = |more: Value| container(json!({"securityContext": more}));
    let spec = |field: &str, value: Value| {
        let mut pod = hardened();
        pod["spec"][field] = value;
        pod
    };
    let pod_context = |field: &str, value: Value| {
        let mut pod = hardened();
        pod["spec"]["securityContext"][field] = value;
        pod
    };
    for (level, pod, wanted) in [
        (
            Level::Baseline,
            context(json!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            Level::Baseline,
            context(json!({"procMount": "Unmasked"})),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            Level::Baseline,
            context(json!({"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}})),
            "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            Level::Restricted,
            context(json!({"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}})),
            "unrestricted capabilities (container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            Level::Baseline,
            context(json!({"seLinuxOptions": {"type": "spc_t", "user": "u"}})),
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
        ),
        (
            Level::Baseline,
            context(json!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            Level::Baseline,
            context(json!({"windowsOptions": {"hostProcess": true}})),
            "hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (Level::Baseline, spec("hostNetwork", json!(true)), "host namespaces (hostNetwork=true)"),
        (
            Level::Baseline,
            spec("volumes", json!([{"name": "v", "hostPath": {"path": "/"}}])),
            "hostPath volumes (volume \"v\")",
        ),
        (
            Level::Restricted,
            spec("volumes", json!([{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}])),
            "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")",
        ),
        (
            Level::Baseline,
            container(json!({"ports": [{"hostPort": 80}, {"hostPort": 443}]})),
            "hostPort (container \"c\" uses hostPorts 443, 80)",
        ),
        (
            Level::Baseline,
            container(json!({"livenessProbe": {"httpGet": {"host": "h"}}})),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
        (
            Level::Baseline,
            pod_context("sysctls", json!([{"name": "kernel.x"}, {"name": "net.ipv4.tcp_rmem"}])),
            "forbidden sysctls (kernel.x)",
        ),
        (
            Level::Baseline,
            pod_context("seccompProfile", json!({"type": "Unconfined"})),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (Level::Restricted, pod_context("runAsUser", json!(0)), "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            Level::Restricted,
            context(json!({"runAsNonRoot": false})),
            "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)",
        ),
    ] {
        assert_eq!(detail(level, &pod), wanted);
    }
}

#[test]
fn rules_are_as_old_as_the_version_that_is_asked_for() {
    let old = |minor: u32, pod: &Value| {
        checks::evaluate(standard(Level::Restricted, Version::Minor(minor)), &Pod::of(pod)).reasons()
    };
    let plain = json!({"spec": {"containers": [{"name": "c"}]}});
    assert_eq!(old(7, &plain), "runAsNonRoot != true");
    assert_eq!(old(21, &plain), "allowPrivilegeEscalation != false, runAsNonRoot != true, seccompProfile");
    let windows = json!({"spec": {"os": {"name": "windows"}, "containers": [{"name": "c"}]}});
    assert_eq!(old(25, &windows), "runAsNonRoot != true");
    let mut root = hardened();
    root["spec"]["securityContext"]["runAsUser"] = json!(0);
    root["spec"]["hostUsers"] = json!(false);
    assert_eq!((old(34, &root), old(99, &root)), ("runAsUser=0".to_owned(), String::new()));
}

#[test]
fn labels_make_a_policy() {
    let of = |labels: Value| Policy::of(&json!({"metadata": {"labels": labels}}), &Policy::default());
    let (policy, errors) = of(
        json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.20"}),
    );
    assert!(errors.is_empty());
    assert_eq!(policy.enforce.to_string(), "baseline:v1.20");
    assert_eq!(policy.warn, policy.enforce, "who enforces is warned");
    assert_eq!(policy.audit.to_string(), "privileged:latest");
    let (policy, errors) = of(
        json!({"pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn-version": "1.2"}),
    );
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\"",
        ]
    );
    assert_eq!(policy.enforce.level, Level::Restricted);
}

#[test]
fn pods_that_are_there_are_grouped_by_what_is_wrong() {
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"hostPID": true, "containers": []}});
    let pods = [pod("b"), pod("a"), hardened(), pod("c")];
    assert_eq!(
        existing("n", standard(Level::Baseline, Version::Latest), pods.iter(), &[]),
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 2 other pods): host namespaces",
        ]
    );
}

#[test]
fn only_containers_and_images_matter_in_an_update() {
    let old = hardened();
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    assert!(!is_significant(&new, &old));
    new["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i"}]);
    assert!(is_significant(&new, &old));
}
