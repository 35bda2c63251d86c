//! Pods and their ends, what a pod's containers share, volumes, replicas that come back, services, ingress.

use crate::walk::{BUSYBOX, NGINX, Walk, answers, curl, with_both};
use std::process::Command;
use tests::eventually;
use tests::profile::{Profile, free_port};

#[test]
fn objects_do_what_they_are_for() {
    let profile = Profile::new("objects");
    profile.start(&[]).ok();
    with_both(&profile, |walk| {
        pods(walk);
        shared(walk);
        volumes(walk);
        replicas_and_ingress(walk);
        walk.comes_to("No resources found", "get pods");
    });
}

fn pods(walk: &Walk<'_>) {
    let pod = walk.file(
        "pod.yaml",
        &format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web-pod, labels: {{app: nginx}}}}\nspec: {{containers: [{{name: web, image: \"{NGINX}\", ports: [{{containerPort: 80}}]}}]}}\n"),
    );
    let port = free_port();
    let service = walk.file(
        "svc.yaml",
        &format!("apiVersion: v1\nkind: Service\nmetadata: {{name: nginx-service}}\nspec: {{type: LoadBalancer, ports: [{{port: {port}, targetPort: 80, protocol: TCP}}], selector: {{app: nginx}}}}\n"),
    );
    walk.says("pod/web-pod created", &format!("create -f {pod}"));
    walk.refuses("AlreadyExists.*pods \"web-pod\" already exists", &format!("create -f {pod}"));
    walk.comes_to("web-pod +1/1 +Running", "get pods");
    for alias in ["po/web-pod", "pods/web-pod", "pod/web-pod", "pod web-pod"] {
        walk.says("web-pod", &format!("get {alias}"));
    }
    walk.says("service/nginx-service created", &format!("create -f {service}"));
    let row = format!("nginx-service +LoadBalancer +[0-9.]+ +[0-9a-z.]+ +{port}:[0-9]+/TCP");
    walk.comes_to(&row, "get svc nginx-service");
    answers("Welcome to nginx", &format!("http://localhost:{port}"), &[]);
    walk.says("deleted", "delete po/web-pod svc/nginx-service");
    for (name, code, phase, status) in [("ok", 0, "Succeeded", "Completed"), ("no", 3, "Failed", "Error")] {
        let (image, exit) = (format!("--image={BUSYBOX}"), format!("exit {code}"));
        walk.run_words(&["run", name, &image, "--restart=Never", "--", "sh", "-c", &exit]).ok();
        walk.comes_to(phase, &format!("get pod {name} -o jsonpath={{.status.phase}}"));
        walk.says(&format!("{name} +0/1 +{status}"), &format!("get pod {name}"));
        walk.ok(&format!("delete pod {name}"));
    }
}

fn shared(walk: &Walk<'_>) {
    let two = walk.file(
        "two.yaml",
        &format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: two}}\nspec:\n  shareProcessNamespace: true\n  containers:\n  - {{name: main, image: \"{NGINX}\"}}\n  - {{name: side, image: \"{BUSYBOX}\", command: [sleep, \"3600\"]}}\n"),
    );
    walk.ok(&format!("create -f {two}"));
    walk.comes_to("two +2/2 +Running", "get pod two");
    walk.comes_to("Welcome to nginx", "exec two -c side -- wget -qO- http://localhost:80");
    walk.says("^two", "exec two -c side -- hostname");
    walk.says("nginx", "exec two -c side -- ps");
    walk.ok("delete pod two --now");
}

fn volumes(walk: &Walk<'_>) {
    let file = walk.file(
        "pvc.yaml",
        &format!("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: my-data-claim}}\nspec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 2Gi}}}}}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: vol}}\nspec:\n  containers: [{{name: web, image: \"{BUSYBOX}\", command: [sleep, \"3600\"], volumeMounts: [{{name: my-data, mountPath: /data}}]}}]\n  volumes: [{{name: my-data, persistentVolumeClaim: {{claimName: my-data-claim}}}}]\n"),
    );
    walk.ok(&format!("create -f {file}"));
    walk.comes_to("my-data-claim +Bound +pvc-[0-9a-f-]{36} +2Gi +RWO", "get pvc");
    walk.comes_to("vol +1/1 +Running", "get pod vol");
    walk.run_words(&["exec", "vol", "--", "sh", "-c", "echo Hello world! > /data/sample.txt"]).ok();
    walk.ok("delete pod vol --now");
    walk.refuses("\"my-data-claim\" already exists", &format!("create -f {file}"));
    walk.comes_to("vol +1/1 +Running", "get pod vol");
    walk.says("Hello world!", "exec vol -- cat /data/sample.txt");
    walk.ok(&format!("delete -f {file} --now"));
    walk.comes_to("No resources found", "get pv");
}

fn replicas_and_ingress(walk: &Walk<'_>) {
    let rs = walk.file(
        "rs.yaml",
        &format!("apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {{name: rs-web}}\nspec:\n  replicas: 3\n  selector: {{matchLabels: {{app: web}}}}\n  template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: nginx, image: \"{NGINX}\", ports: [{{containerPort: 80}}]}}]}}}}\n"),
    );
    walk.ok(&format!("create -f {rs}"));
    walk.comes_to("rs-web +3 +3 +3", "get rs");
    let victim = walk.ok("get pods -l app=web -o jsonpath={.items[0].metadata.name}");
    walk.ok(&format!("delete po/{victim} --now"));
    walk.comes_to("rs-web +3 +3 +3", "get rs");
    walk.comes_to("SuccessfulCreate .*replicaset-controller .*Created pod: rs-web-", "describe rs rs-web");
    let container =
        walk.ok("get pods -l app=web -o jsonpath={.items[0].status.containerStatuses[0].containerID}");
    let id = container.trim_start_matches("docker://");
    assert!(Command::new("docker").args(["kill", id]).output().expect("docker runs").status.success());
    let counts = "get pods -l app=web -o jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    walk.comes_to("[1-9]", counts);

    walk.ok("expose rs rs-web --port=80 --name=web");
    let ingress = walk.file(
        "ing.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec:\n  rules:\n  - host: example.test\n    http: {paths: [{path: /web, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}\n",
    );
    walk.ok(&format!("create -f {ingress}"));
    walk.comes_to("web +[a-z<>]+ +example.test +[0-9a-z.]+", "get ingress");
    // On 80, or next to it where that is another's.
    let node = walk.node_address();
    let asked = |host: &str, port: u16| {
        let header = format!("Host: {host}");
        curl(&format!("http://{node}:{port}/web"), &["-i", "-H", &header]).stdout
    };
    let mut port = 0;
    eventually("host and path lead to the service", || {
        let found = [80, 8080].into_iter().find(|port| asked("example.test", *port).contains("nginx"));
        port = found.ok_or("nobody answers")?;
        Ok(())
    });
    let other = asked("other.test", port);
    assert!(other.contains("404") && !other.contains("nginx"), "{other}");
    walk.ok("delete ingress,svc web");
    walk.ok("delete rs rs-web");
}
