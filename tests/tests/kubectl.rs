//! Stock kubectls on a real cluster: what a user types in the first hour.
//!
//! Needs Docker, the images of `tests/images/build`, and kubectls (`tests/kubectl/fetch`).

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use tests::kubectl::{self, Kubectl};
use tests::profile::Profile;
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
