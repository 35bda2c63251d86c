//! Living with a cluster: its life, kubeconfig, namespaces, the control plane, names, mistakes, a stop and a start.

use crate::walk::{BUSYBOX, HELLO, Walk, answers, shows, with_both};
use std::io::Write as _;
use std::process::Stdio;
use tests::eventually;
use tests::profile::{Profile, Said};

#[test]
fn a_cluster_is_lived_with() {
    let profile = Profile::new("daily");
    profile.start(&[]).ok();
    with_both(&profile, |walk| {
        launcher(walk);
        control_plane(walk);
        namespaces_and_names(walk);
        mistakes(walk);
        stop_and_start(walk);
        walk.ok("delete deployment,svc hello-minikube");
        walk.ok("-n my-namespace delete pod probe --now");
        walk.ok("delete namespace my-namespace");
        walk.refuses("NotFound", "get namespace my-namespace");
    });
}

fn launcher(walk: &Walk<'_>) {
    let (profile, name) = (walk.profile, &walk.profile.name);
    for (line, pattern) in [
        ("status", "apiserver: *Running"),
        ("node list", name.as_str()),
        ("ip", "^[0-9.]+$"),
        ("version", r"v?[0-9]+\.[0-9]+"),
        ("addons list", "metrics-server.*enabled"),
        ("docker-env", "export DOCKER_HOST="),
        ("kubectl -- get nodes", name),
    ] {
        let said = profile.minik(&line.split_whitespace().collect::<Vec<_>>());
        assert!(said.code == 0 && shows(&said, pattern), "{line}: {said:?}");
    }
    assert!(shows(&profile.start(&[]), "already running"));
    walk.says("complete", "completion bash");
    walk.says(&format!("^{name}$"), "config current-context");
    walk.says(r"REDACTED|DATA\+OMITTED", "config view --minify");
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        walk.says(&format!("{namespace} +Active"), "get namespaces");
    }
}

fn control_plane(walk: &Walk<'_>) {
    let node = &walk.profile.name;
    for name in
        ["kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager", "kube-proxy", "coredns"]
    {
        walk.comes_to(&format!("{name}-{node} +1/1 +Running"), "get pods -n kube-system");
    }
    walk.says("serving securely", &format!("logs -n kube-system kube-apiserver-{node}"));
    walk.says("starting", &format!("logs -n kube-system kube-scheduler-{node}"));
    let uid = format!("get pod -n kube-system etcd-{node} -o jsonpath={{.metadata.uid}}");
    let before = walk.ok(&uid);
    walk.ok(&format!("delete pod -n kube-system etcd-{node} --wait=false"));
    eventually("a mirror that is deleted comes back", || match walk.run(&uid).stdout {
        now if !now.is_empty() && now != before => Ok(()),
        now => Err(now),
    });
    walk.comes_to(&format!("etcd-{node} +1/1 +Running +"), "get pods -n kube-system");
    walk.refuses("minik's own process", &format!("exec -n kube-system etcd-{node} -- ls"));
    // What runs in containers is none of them.
    assert!(!walk.profile.containers(true).iter().any(|name| name.contains("kube-apiserver")));
}

fn namespaces_and_names(walk: &Walk<'_>) {
    let name = &walk.profile.name;
    walk.ok("create namespace my-namespace");
    walk.says(
        &format!("Context \"{name}\" modified"),
        &format!("config set-context {name} --namespace=my-namespace"),
    );
    walk.says("No resources found in my-namespace namespace", "get pods");
    walk.ok("config set-context --current --namespace=default");
    walk.says("kubernetes +ClusterIP +[0-9.]+ +<none> +443/TCP", "get services");
    walk.ok(&format!("create deployment hello-minikube --image={HELLO}:v1"));
    walk.ok("expose deployment hello-minikube --type=NodePort --port=8080");
    walk.ok("rollout status deployment/hello-minikube --timeout=180s");
    answers("v=1", &hello_url(walk), &[]);
    // An address that is free in the range of this cluster's services.
    let first = walk.ok("get service kubernetes -o jsonpath={.spec.clusterIP}");
    let (range, _) = first.rsplit_once('.').expect("an address");
    let address = format!("{range}.9");
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: redis-master, namespace: my-namespace}}\nspec: {{clusterIP: {address}, selector: {{app: redis}}, ports: [{{name: http, port: 6379, protocol: TCP}}]}}\n"
    );
    assert_eq!(with_input(walk, &["apply", "-f", "-"], &service).code, 0);
    walk.ok(&format!("-n my-namespace run probe --image={BUSYBOX} --restart=Never --command -- sleep 3600"));
    walk.comes_to("Running", "-n my-namespace get pod probe");
    let env = "-n my-namespace exec probe -- env";
    walk.says(&format!("REDIS_MASTER_SERVICE_HOST={address}"), env);
    walk.says(&format!("REDIS_MASTER_PORT_6379_TCP=tcp://{address}:6379"), env);
    let ask = "-n my-namespace exec probe --";
    walk.says(&address, &format!("{ask} nslookup redis-master.my-namespace.svc.cluster.local"));
    walk.says("v=1", &format!("{ask} wget -qO- http://hello-minikube.default:8080"));
    walk.refuses(
        "NXDOMAIN|can.t resolve|SERVFAIL",
        &format!("{ask} timeout 30 nslookup nope.default.svc.cluster.local"),
    );
    walk.says("deployments +deploy +apps/v1 +true +Deployment", "api-resources");
    walk.says("containers", "explain pod.spec");
    walk.comes_to(&format!("{name} +[0-9]+m"), "top nodes");
}

fn mistakes(walk: &Walk<'_>) {
    walk.refuses("Error from server \\(NotFound\\): pods \"nope\" not found", "get pod nope");
    walk.refuses("the server doesn.t have a resource type \"nopes\"", "get nopes");
    walk.refuses("Invalid value.*RFC 1123", "create namespace Not_Valid");
    for (arguments, spec, pattern) in [
        (&["create", "-f", "-"][..], "containres: []", "unknown field \"spec.containres\""),
        (
            &["create", "--validate=false", "-f", "-"],
            "containers: [{name: c}]",
            r"spec.containers\[0\].image: Required value",
        ),
    ] {
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\nspec: {{{spec}}}\n");
        let said = with_input(walk, arguments, &text);
        assert!(said.code != 0 && shows(&said, pattern), "{said:?}");
    }
}

fn stop_and_start(walk: &Walk<'_>) {
    let restarts = format!(
        "get pod -n kube-system kube-scheduler-{} -o jsonpath={{.status.containerStatuses[0].restartCount}}",
        walk.profile.name
    );
    let (pods, before) = (walk.ok("get pods -o name"), walk.ok(&restarts));
    walk.profile.minik(&["stop"]).ok();
    walk.refuses("refused", "get pods");
    walk.profile.start(&[]).ok();
    assert_eq!(walk.ok("get pods -o name"), pods);
    answers("v=1", &hello_url(walk), &[]);
    let next = before.parse::<u32>().expect("a number") + 1;
    walk.comes_to(&format!("^{next}$"), &restarts);
}

fn hello_url(walk: &Walk<'_>) -> String {
    walk.profile.minik(&["service", "hello-minikube", "--url"]).ok().trim().to_owned()
}

fn with_input(walk: &Walk<'_>, arguments: &[&str], text: &str) -> Said {
    let mut command = walk.command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the client runs");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    Said::of(child.wait_with_output().expect("it ends"))
}
