//! Deploy, explore, expose, scale, update, roll back.

use crate::walk::{BUSYBOX, HELLO, Running, Walk, answers, curl, shows, with_both};
use std::process::Stdio;
use tests::eventually;
use tests::profile::{Profile, free_port};

const NAME: &str = "bootcamp";

#[test]
fn a_deployment_lives_its_life() {
    let profile = Profile::new("bootcamp");
    profile.start(&[]).ok();
    with_both(&profile, |walk| {
        deploy_and_explore(walk);
        let port = expose(walk);
        scale(walk, &port);
        update(walk, &port);
        walk.ok(&format!("delete deployment,service {NAME}"));
        walk.comes_to("No resources found", &format!("get pods -l app={NAME}"));
    });
}

fn deploy_and_explore(walk: &Walk<'_>) {
    walk.says("Kubernetes control plane.* is running at .*https://", "cluster-info");
    walk.says(&format!("{} +Ready +control-plane", walk.profile.name), "get nodes");
    walk.says(
        &format!("deployment.apps/{NAME} created"),
        &format!("create deployment {NAME} --image={HELLO}:v1"),
    );
    walk.comes_to(&format!("{NAME} +1/1 +1 +1"), "get deployments");
    walk.comes_to(&format!("{NAME}-[a-z0-9]+-[a-z0-9]+ +1/1 +Running +0"), "get pods");
    let pod = walk.ok(&format!("get pods -l app={NAME} -o jsonpath={{.items[0].metadata.name}}"));
    let template = "{{range .items}}{{.metadata.name}}{{\"\\n\"}}{{end}}";
    let said = walk.run_words(&["get", "pods", "-o", "go-template", "--template", template]);
    assert!(shows(&said, &format!("^{pod}")), "{said:?}");

    let port = free_port().to_string();
    let proxy = walk.command().args(["proxy", &format!("--port={port}")]).stdout(Stdio::null()).spawn();
    let proxy = Running(proxy.expect("the proxy runs"));
    let base = format!("http://127.0.0.1:{port}");
    answers("\"gitVersion\": *\"v1\\.", &format!("{base}/version"), &[]);
    let path = format!("{base}/api/v1/namespaces/default/pods/{pod}");
    answers("\"qosClass\": *\"BestEffort\"", &path, &[]);
    answers(&format!("Running on: {pod} .* v=1"), &format!("{path}:8080/proxy/"), &[]);
    drop(proxy);

    let node = &walk.profile.name;
    walk.comes_to("Started .*kubelet", &format!("describe pod {pod}"));
    let described = walk.run(&format!("describe pod {pod}"));
    for wanted in [
        "Controlled By: +ReplicaSet/",
        &format!("Node: +{node}/"),
        "Status: +Running",
        "QoS Class: +BestEffort",
        "Tolerations: +node.kubernetes.io/not-ready:NoExecute op=Exists for 300s",
        "Scheduled .*default-scheduler .*Successfully assigned default/",
        "Pulled .*kubelet .*already present on machine",
        "Created .*kubelet",
        r"/var/run/secrets/kubernetes.io/serviceaccount from .*\(ro\)",
    ] {
        assert!(shows(&described, wanted), "no {wanted:?} in {}", described.stdout);
    }
    let address = walk.ok(&format!("get pod {pod} -o jsonpath={{.status.podIP}}"));
    answers("v=1", &format!("{address}:8080"), &[]);
    walk.says(".", &format!("logs {pod}"));
    walk.ok(&format!("run shell --image={BUSYBOX} --restart=Never --command -- sleep 3600"));
    walk.comes_to("shell +1/1 +Running", "get pod shell");
    let service = walk.ok("get service kubernetes -o jsonpath={.spec.clusterIP}");
    walk.says(&format!("KUBERNETES_SERVICE_HOST={service}"), "exec shell -- env");
    walk.says("^shell", "exec shell -- hostname");
    walk.says("v=1", &format!("exec shell -- wget -qO- http://{address}:8080"));
    let ended = walk.run_words(&["exec", "shell", "--", "sh", "-c", "exit 7"]);
    assert!(ended.code == 7 && shows(&ended, "exit code 7"), "{ended:?}");
    walk.ok("delete pod shell --now");
}

/// The node port.
fn expose(walk: &Walk<'_>) -> String {
    let pod = walk.ok(&format!("get pods -l app={NAME} -o jsonpath={{.items[0].metadata.name}}"));
    let expose = format!("expose deployment/{NAME} --type=NodePort --port 8080");
    walk.says(&format!("service/{NAME} exposed"), &expose);
    walk.comes_to(r"Endpoints: +[0-9.]+:8080", &format!("describe services/{NAME}"));
    let port_of = || walk.ok(&format!("get svc {NAME} -o jsonpath={{.spec.ports[0].nodePort}}"));
    let (cluster, port) = (walk.ok(&format!("get svc {NAME} -o jsonpath={{.spec.clusterIP}}")), port_of());
    walk.says(&format!("{NAME} +NodePort +{cluster} +<none> +8080:{port}/TCP"), "get services");
    let node = walk.node_address();
    answers("v=1", &format!("{cluster}:8080"), &[]);
    answers("v=1", &format!("{node}:{port}"), &[]);
    walk.says(&format!("pod/{pod} labeled"), &format!("label pods {pod} version=v1"));
    walk.says(&pod, "get pods -l version=v1");
    walk.says(&format!("service \"{NAME}\" deleted"), &format!("delete service -l app={NAME}"));
    eventually("the node port is closed", || match curl(&format!("{node}:{port}"), &[]).code {
        7 => Ok(()),
        code => Err(format!("curl ends with {code}")),
    });
    walk.ok(&expose);
    port_of()
}

fn scale(walk: &Walk<'_>, port: &str) {
    let scaled = format!("deployment.apps/{NAME} scaled");
    walk.says(&scaled, &format!("scale deployments/{NAME} --replicas=4"));
    walk.comes_to(&format!("{NAME}-[a-z0-9]+ +4 +4 +4"), "get rs");
    let url = format!("{}:{port}", walk.node_address());
    let mut answered = std::collections::BTreeSet::new();
    eventually("requests reach four pods", || {
        let said = curl(&url, &[]).stdout;
        answered.extend(said.split('|').nth(1).map(str::to_owned));
        if answered.len() == 4 { Ok(()) } else { Err(format!("{answered:?}")) }
    });
    let described = format!("describe deployments/{NAME}");
    walk.says(r"Replicas: +4 desired \| 4 updated \| 4 total \| 4 available \| 0 unavailable", &described);
    walk.comes_to("Scaled up replica set .* to 4", &described);
    walk.says(&scaled, &format!("scale deployments/{NAME} --replicas=2"));
    eventually("two pods are left", || {
        match walk.ok(&format!("get pods -l app={NAME} --no-headers")).lines().count() {
            2 => Ok(()),
            count => Err(format!("{count} are")),
        }
    });
    walk.ok(&format!("scale deployments/{NAME} --replicas=4"));
    walk.ok(&format!("rollout status deployment/{NAME} --timeout=180s"));
}

fn update(walk: &Walk<'_>, port: &str) {
    let (deployment, url) = (format!("deployments/{NAME}"), format!("{}:{port}", walk.node_address()));
    walk.says(
        &format!("deployment.apps/{NAME} image updated"),
        &format!("set image {deployment} hello={HELLO}:v2"),
    );
    walk.says("successfully rolled out", &format!("rollout status {deployment} --timeout=180s"));
    answers("v=2", &url, &[]);
    walk.ok(&format!("set image {deployment} hello={HELLO}:v10"));
    walk.comes_to(&format!("{NAME} +3/4 +2 +3"), "get deployments");
    walk.comes_to("ImagePullBackOff", "get pods");
    answers("v=2", &url, &[]);
    walk.says(&format!("deployment.apps/{NAME} rolled back"), &format!("rollout undo {deployment}"));
    walk.says("successfully rolled out", &format!("rollout status {deployment} --timeout=180s"));
    walk.says("REVISION +CHANGE-CAUSE", &format!("rollout history {deployment}"));
}
