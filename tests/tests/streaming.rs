//! Streams into containers and through the API server, by kctl and by stock kubectls: SPDY with the old ones, WebSocket
//! with the new.
//!
//! Needs Docker, the images of `tests/images/build`, and kubectls (`tests/kubectl/fetch`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tests::profile::{Profile, Said};
use tests::{binary, eventually, kubectl};

/// A program that speaks to the cluster.
#[derive(Clone)]
struct Client {
    name: String,
    path: PathBuf,
}

/// kctl, and every stock kubectl.
fn clients() -> Vec<Client> {
    let stock = kubectl::all().into_iter();
    let stock = stock.map(|one| Client { name: format!("kubectl 1.{}", one.minor), path: one.path });
    std::iter::once(Client { name: "kctl".to_owned(), path: binary("kctl") }).chain(stock).collect()
}

impl Client {
    fn command(&self, profile: &Profile, arguments: &[&str]) -> Command {
        let mut command = profile.command(&self.path);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, profile: &Profile, arguments: &[&str]) -> Said {
        Said::of(self.command(profile, arguments).output().expect("it runs"))
    }

    fn run_with(&self, profile: &Profile, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(profile, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        // A command that reads no further closes the pipe.
        let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let said = Said::of(child.wait_with_output().expect("it ends"));
        writing.join().expect("written");
        said
    }

    /// Starts a command that goes on; the first line that it prints which holds this.
    fn serve(&self, profile: &Profile, arguments: &[&str], wanted: &str) -> (Serving, String) {
        let mut child = self.command(profile, arguments).stdout(Stdio::piped()).spawn().expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains(wanted));
        // Read on, or the next line would be one too many.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        (Serving(child), line.unwrap_or_else(|| panic!("{} {arguments:?}: no {wanted:?}", self.name)))
    }
}

/// A command that ends with its value.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The port in `Forwarding from 127.0.0.1:1234 -> 80`.
fn port(line: &str) -> u16 {
    let rest = line.split("127.0.0.1:").nth(1).expect("an address");
    rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).expect("a port")
}

/// What an HTTP server on this machine answers.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    String::from_utf8_lossy(&answer).into_owned()
}

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, 'while true; do echo tick; sleep 1; done']}
  - {name: web, image: nginx, imagePullPolicy: IfNotPresent, ports: [{name: http, containerPort: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: cat}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: busybox, imagePullPolicy: IfNotPresent, stdin: true, command: [sh, -c, 'while read line; do echo got $line; done; sleep 1000']}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: box}, ports: [{name: http, port: 8080, targetPort: http}]}
";

/// A cluster with something to talk to.
fn with_pods(test: &str) -> Profile {
    let profile = Profile::new(test);
    profile.start(&[]).ok();
    apply(&profile, PODS);
    for pod in ["box", "cat"] {
        eventually("the pods run", || {
            let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
            let ready = profile.kctl(&["get", "pod", pod, "-o", path]).stdout;
            if ready == "True" { Ok(()) } else { Err(ready) }
        });
    }
    profile
}

fn apply(profile: &Profile, manifest: &str) {
    let file = profile.home().join("manifest.yaml");
    std::fs::write(&file, manifest).expect("written");
    profile.kctl(&["create", "-f", file.to_str().expect("a path")]).ok();
}

#[test]
fn commands_run_in_containers() {
    let profile = with_pods("exec");
    for client in clients() {
        let name = &client.name;
        let said = client.run(
            &profile,
            &["exec", "box", "-c", "main", "--", "sh", "-c", "echo out; echo err >&2; exit 7"],
        );
        assert_eq!((said.stdout.as_str(), said.code), ("out\n", 7), "{name}: {said:?}");
        assert_eq!(said.stderr, "err\ncommand terminated with exit code 7\n", "{name}");

        let said = client.run(&profile, &["exec", "box", "--", "echo", "a b"]);
        assert_eq!((said.stdout.as_str(), said.code), ("a b\n", 0), "{name}: {said:?}");
        assert!(said.stderr.contains("main, web") || name == "kubectl 1.20", "{name}: {said:?}");

        let input: Vec<u8> = (0..300_000_u32).flat_map(|i| format!("{i}\n").into_bytes()).collect();
        let said = client.run_with(&profile, &["exec", "-i", "box", "-c", "main", "--", "cat"], &input);
        assert!(said.stdout.as_bytes() == input, "{name}: {} of {} bytes", said.stdout.len(), input.len());
        assert_eq!(said.code, 0, "{name}");

        let said = client.run(&profile, &["exec", "box", "-c", "main", "--", "nonsense"]);
        assert_ne!(said.code, 0, "{name}: {said:?}");
        assert!(said.stderr.contains("executable file not found"), "{name}: {said:?}");
        let said = client.run(&profile, &["exec", "box", "-c", "nobody", "--", "true"]);
        assert!(said.stderr.contains("container nobody is not valid for pod box"), "{name}: {said:?}");
        let said = client.run(&profile, &["exec", "nobody", "--", "true"]);
        assert_eq!(said.stderr, "Error from server (NotFound): pods \"nobody\" not found\n", "{name}");
    }
    // A client that is told to do without WebSocket.
    let spdy = profile
        .command(&binary("kctl"))
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
        .args(["exec", "box", "-c", "main", "--", "sh", "-c", "echo over; exit 3"])
        .output();
    let spdy = Said::of(spdy.expect("it runs"));
    assert_eq!((spdy.stdout.as_str(), spdy.code), ("over\n", 3), "{spdy:?}");
}

#[test]
fn containers_are_attached_to() {
    let profile = with_pods("attach");
    for client in clients() {
        let name = &client.name;
        let (_attached, line) = client.serve(&profile, &["attach", "box", "-c", "main"], "tick");
        assert_eq!(line, "tick", "{name}");
        let mut command = client.command(&profile, &["attach", "-i", "cat"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let _attached = Serving(child);
        stdin.write_all(format!("{name}\n").as_bytes()).expect("written");
        let wanted = format!("got {name}");
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line == wanted), "{name}");
    }
}

#[test]
fn files_are_copied() {
    let profile = with_pods("cp");
    let at = |name: &str| profile.home().join(name).to_str().expect("a path").to_owned();
    let big: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    for (i, client) in clients().into_iter().enumerate() {
        let name = &client.name;
        let (local, back, remote) =
            (at(&format!("local{i}")), at(&format!("back{i}")), format!("box:/tmp/there{i}"));
        std::fs::create_dir_all(format!("{local}/sub")).expect("made");
        std::fs::write(format!("{local}/sub/big"), &big).expect("written");
        std::fs::write(format!("{local}/small"), "small").expect("written");
        client.run(&profile, &["cp", &local, &remote, "-c", "main"]).ok();
        let listed = client
            .run(&profile, &["exec", "box", "-c", "main", "--", "cat", &format!("/tmp/there{i}/small")]);
        assert_eq!(listed.ok(), "small", "{name}");
        client.run(&profile, &["cp", &remote, &back, "-c", "main"]).ok();
        assert!(std::fs::read(format!("{back}/sub/big")).expect("copied") == big, "{name}");
        // Into a folder that is there.
        client.run(&profile, &["cp", &format!("{local}/small"), &remote, "-c", "main"]).ok();
        let missing = client.run(&profile, &["cp", "/nonexistent", &remote, "-c", "main"]);
        assert!(missing.stderr.contains("doesn't exist in local filesystem"), "{name}: {missing:?}");
    }
}

#[test]
fn ports_are_forwarded() {
    let profile = with_pods("forward");
    for client in clients() {
        let name = &client.name;
        for target in ["box", "service/web"] {
            let wanted = if target == "box" { ":80" } else { ":8080" };
            let (_forwarding, line) =
                client.serve(&profile, &["port-forward", target, wanted], "Forwarding from 127.0.0.1");
            assert!(line.ends_with("-> 80"), "{name}: {line}");
            // Several connections, one after the other and at the same time.
            for _ in 0..2 {
                let answers: Vec<String> = std::thread::scope(|scope| {
                    let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| get(port(&line), "/"))).collect();
                    asked.into_iter().map(|one| one.join().expect("answered")).collect()
                });
                for answer in answers {
                    assert!(answer.starts_with("HTTP/1.1 200"), "{name} {target}: {answer}");
                }
            }
        }
    }
}

#[test]
fn requests_are_proxied() {
    let profile = with_pods("proxy");
    for client in clients() {
        let name = &client.name;
        let (_proxy, line) = client.serve(&profile, &["proxy", "--port=0"], "Starting to serve on");
        let at = port(&line);
        assert!(get(at, "/version").contains("gitVersion"), "{name}");
        let base = "/api/v1/namespaces/default";
        for path in [format!("{base}/pods/box:80/proxy/"), format!("{base}/services/web:http/proxy/")] {
            let mut last = String::new();
            eventually("the service has endpoints", || {
                last = get(at, &path);
                if last.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(last.clone()) }
            });
        }
        let moved = get(at, &format!("{base}/pods/box:80/proxy"));
        assert!(moved.starts_with("HTTP/1.1 301") && moved.contains("/proxy/"), "{name}: {moved}");
        let refused = get(at, &format!("{base}/pods/box:81/proxy/"));
        assert!(refused.contains("error trying to reach service: dial tcp"), "{name}: {refused}");
        let nodes = get(at, &format!("/api/v1/nodes/{}/proxy/healthz", profile.name));
        assert!(nodes.starts_with("HTTP/1.1 200") && nodes.ends_with("ok"), "{name}: {nodes}");
        let exec = get(at, &format!("{base}/pods/box/exec"));
        assert!(exec.starts_with("HTTP/1.1 403"), "{name}: {exec}");
    }
}

const WORKLOAD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: i}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
";

#[test]
fn a_drain_respects_budgets() {
    let profile = Profile::new("drain");
    profile.start(&["--runtime", "simulated"]).ok();
    apply(&profile, WORKLOAD);
    let node = profile.kctl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    let budget = |minimum: u8, allowed: u8| {
        let patch = format!("{{\"spec\": {{\"minAvailable\": {minimum}}}}}");
        profile.kctl(&["patch", "pdb", "web", "--type=merge", "-p", &patch]).ok();
        eventually("the budget is counted", || {
            let path = "jsonpath={.status.disruptionsAllowed} {.status.currentHealthy}";
            let status = profile.kctl(&["get", "pdb", "web", "-o", path]).stdout;
            if status == format!("{allowed} 2") { Ok(()) } else { Err(status) }
        });
    };
    for client in clients() {
        let name = &client.name;
        budget(2, 0);
        let refused = client.run(&profile, &["drain", &node, "--timeout=6s"]);
        assert_ne!(refused.code, 0, "{name}: {refused:?}");
        let why = "Cannot evict pod as it would violate the pod's disruption budget.";
        assert!(refused.stderr.contains(why), "{name}: {refused:?}");
        budget(0, 2);
        let drained = client.run(&profile, &["drain", &node, "--timeout=60s"]);
        assert_eq!(drained.code, 0, "{name}: {drained:?}");
        assert!(drained.stdout.contains("evicting pod default/web-"), "{name}: {drained:?}");
        assert!(drained.stdout.contains(" evicted\n"), "{name}: {drained:?}");
        client.run(&profile, &["uncordon", &node]).ok();
    }
    // What has no controller is in the way.
    apply(
        &profile,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: alone}\nspec: {containers: [{name: c, image: i}]}\n",
    );
    eventually("the pod is on the node", || {
        let on = profile.kctl(&["get", "pod", "alone", "-o", "jsonpath={.spec.nodeName}"]).stdout;
        if on == node { Ok(()) } else { Err(on) }
    });
    let (ours, theirs) = {
        let said = |client: &Client| client.run(&profile, &["drain", &node]);
        let all: Vec<Said> = clients().iter().map(said).collect();
        (all[0].stderr.clone(), all.last().expect("a kubectl").stderr.clone())
    };
    assert!(
        ours.contains(
            "cannot delete Pods that declare no controller (use --force to override): default/alone"
        )
    );
    assert_eq!(ours, theirs);
}
