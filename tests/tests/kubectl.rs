//! Stock kubectls on a real cluster: what a user types in the first hour.
//!
//! Needs Docker, the images of `tests/images/build`, and kubectls (`tests/kubectl/fetch`).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use tests::kubectl::{self, Kubectl};
use tests::profile::{Profile, Said};
use tests::{DEADLINE, eventually, root};

/// Waits until a kubectl's output contains this.
#[track_caller]
fn shows(kubectl: &Kubectl, profile: &Profile, arguments: &[&str], wanted: &str) {
    eventually(&format!("1.{} {arguments:?} shows {wanted:?}", kubectl.minor), || {
        let said = kubectl.run(profile, arguments);
        if said.stdout.contains(wanted) { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

/// Runs a kubectl that goes on by itself, until it has printed a line with this.
#[track_caller]
fn prints(kubectl: &Kubectl, profile: &Profile, arguments: &[&str], wanted: &'static str) {
    let mut child =
        profile.command(&kubectl.path).args(arguments).stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (tell, told) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        let found = lines.map_while(Result::ok).any(|line| line.contains(wanted));
        // Nobody listens after the deadline.
        let _ = tell.send(found);
    });
    let found = told.recv_timeout(DEADLINE);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    reading.join().expect("read");
    assert_eq!(found, Ok(true), "1.{} {arguments:?} prints {wanted:?}", kubectl.minor);
}

#[test]
fn every_kubectl_runs_the_example() {
    let profile = Profile::new("kubectl");
    profile.start(&[]).ok();
    let example = root().join("examples/pod.yaml");
    let example = example.to_str().expect("a path");
    for kubectl in kubectl::all() {
        let run = |arguments: &[&str]| kubectl.run(&profile, arguments).ok();
        assert!(run(&["get", "nodes", "-o", "wide"]).contains("docker://"), "1.{}", kubectl.minor);
        let resources = run(&["api-resources"]);
        for name in ["pods", "configmaps", "clusterrolebindings", "leases"] {
            assert!(resources.contains(name), "1.{}: {resources}", kubectl.minor);
        }
        assert_eq!(run(&["create", "-f", example]), "pod/hello created\n");
        shows(&kubectl, &profile, &["get", "pods"], "Running");
        shows(&kubectl, &profile, &["get", "events"], "Container started");
        let described = run(&["describe", "pod", "hello"]);
        assert!(described.contains("QoS Class:") && described.contains("Container started"), "{described}");
        eventually("its log", || match run(&["logs", "hello"]).is_empty() {
            true => Err("empty".to_owned()),
            false => Ok(()),
        });
        prints(&kubectl, &profile, &["logs", "-f", "hello"], "");
        prints(&kubectl, &profile, &["get", "pods", "-w"], "hello");
        let bad = profile.home().join("bad.yaml");
        std::fs::write(&bad, "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {contaners: []}\n")
            .expect("written");
        let refused = kubectl.run(&profile, &["create", "-f", bad.to_str().expect("a path")]);
        assert!(refused.stderr.contains("contaners"), "1.{}: {refused:?}", kubectl.minor);
        let missing = kubectl.run(&profile, &["get", "pod", "none"]);
        assert_eq!(missing.stderr, "Error from server (NotFound): pods \"none\" not found\n");
        assert!(run(&["delete", "pod", "hello"]).contains("pod \"hello\" deleted"), "1.{}", kubectl.minor);
    }
}

#[test]
fn tables_are_those_of_kctl() {
    let profile = Profile::new("tables");
    profile.start(&["--runtime", "simulated"]).ok();
    for kubectl in kubectl::all() {
        for arguments in [
            &["get", "namespaces"][..],
            &["get", "clusterroles"],
            &["get", "priorityclasses"],
            &["get", "nodes", "-o", "name"],
            &["get", "namespace", "default", "-o", "jsonpath={.metadata.name}"],
            &["get", "pods"],
        ] {
            let (theirs, ours) = (kubectl.run(&profile, arguments), profile.kctl(arguments));
            // Ages go on between the two.
            let is_age = |word: &str| {
                word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with(['s', 'm', 'h'])
            };
            let stable = |text: &str| -> String {
                let words = text.lines().map(|l| l.split_whitespace().filter(|w| !is_age(w)).collect());
                words.collect::<Vec<Vec<&str>>>().iter().map(|l| l.join(" ") + "\n").collect()
            };
            assert_eq!(stable(&theirs.stdout), stable(&ours.stdout), "1.{} {arguments:?}", kubectl.minor);
            assert_eq!(theirs.code, ours.code);
        }
    }
}

/// Puts programs into a folder with all that they load, so that a pod of any image can run them; gives the loader's name.
fn pack(folder: &Path, programs: &[(&str, &Path)]) -> String {
    let mut loader = None;
    for (name, path) in programs {
        std::fs::copy(path, folder.join(name)).expect("copied");
        let listed = Said::of(Command::new("ldd").arg(path).output().expect("ldd runs")).stdout;
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new) {
            let file = library.file_name().expect("a name").to_str().expect("letters");
            std::fs::copy(library, folder.join(file)).expect("copied");
            if file.starts_with("ld-") {
                loader = Some(file.to_owned());
            }
        }
    }
    loader.expect("a loader")
}

#[test]
fn in_a_pod_its_account_is_used() {
    let kubectl = kubectl::all().into_iter().max_by_key(|one| one.minor).expect("one");
    let profile = Profile::new("inside");
    profile.start(&[]).ok();
    profile.kctl(&["create", "namespace", "inner"]).ok();
    profile
        .kctl(&[
            "create",
            "rolebinding",
            "may",
            "--clusterrole=view",
            "--serviceaccount=inner:default",
            "-n",
            "inner",
        ])
        .ok();
    profile.kctl(&["wait", "-n", "inner", "--for=create", "sa/default", "--timeout=60s"]).ok();
    profile
        .kctl(&["wait", "-n", "inner", "--for=create", "configmap/kube-root-ca.crt", "--timeout=60s"])
        .ok();
    let tools = profile.home().join("tools");
    std::fs::create_dir(&tools).expect("a folder");
    let loader = pack(&tools, &[("kctl", &tests::binary("kctl")), ("kubectl", &kubectl.path)]);
    let script = format!(
        "for one in kctl kubectl; do \
         run() {{ echo \"$*\"; /tools/{loader} --library-path /tools /tools/$one \"$@\" 2>&1; echo \"exit $?\"; }}; \
         run get pods -o name; run get configmaps -o name; run get pods -n default; \
         run auth whoami -o jsonpath={{.status.userInfo.username}}; run auth can-i list pods; \
         run get pods --token=wrong; run config current-context; echo ---; done"
    );
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": "inner"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
                "volumeMounts": [{"name": "tools", "mountPath": "/tools", "readOnly": true}]}],
            "volumes": [{"name": "tools", "hostPath": {"path": tools, "type": "Directory"}}]}});
    let file = profile.home().join("client.json");
    std::fs::write(&file, pod.to_string()).expect("written");
    profile.kctl(&["create", "-f", file.to_str().expect("letters")]).ok();
    let ended = "--for=jsonpath={.status.phase}=Succeeded";
    let said = profile.kctl(&["wait", "-n", "inner", ended, "pod/client", "--timeout=120s"]);
    let log = profile.kctl(&["logs", "-n", "inner", "client"]).stdout;
    assert_eq!(said.code, 0, "{said:?}: {log}");
    let sides: Vec<&str> = log.split("---\n").collect();
    assert_eq!(sides[0], sides[1], "kctl and kubectl");
    for wanted in [
        "get pods -o name\npod/client\nexit 0",
        "configmap/kube-root-ca.crt\nexit 0",
        "User \"system:serviceaccount:inner:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        "system:serviceaccount:inner:defaultexit 0",
        "auth can-i list pods\nyes\nexit 0",
        "error: You must be logged in to the server (Unauthorized)\nexit 1",
    ] {
        assert!(log.contains(wanted), "no {wanted:?} in {log}");
    }
}
