//! Whole commands against a small API server: what is printed, what is asked, which exit code.
//!
//! The goldens were compared with kubectl 1.36 against the same objects.

mod changes;
mod fake;
mod flags;
mod help;
mod kubectl_flags;

use std::ffi::OsString;
use std::io::Write;
use std::sync::{Arc, Mutex};

use fake::{Discovery, Fake};

use crate::Terminal;

/// What a command printed.
struct Ran {
    code: u8,
    out: String,
    err: String,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

async fn run_with(environment: &[(&str, &str)], stdin: &str, arguments: &[&str]) -> Ran {
    let (out, err) = (Sink::default(), Sink::default());
    let input = std::io::Cursor::new(stdin.to_owned().into_bytes());
    let terminal = Terminal::new(input, out.clone(), err.clone(), || "2026-01-02T00:00:00Z".parse().unwrap())
        .with_environment(environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let all = std::iter::once("kctl").chain(arguments.iter().copied()).map(OsString::from);
    let code = crate::run(all, &terminal).await;
    Ran { code, out: out.text(), err: err.text() }
}

async fn run(fake: &Fake, line: &str) -> Ran {
    let arguments: Vec<&str> = ["-s", &fake.url].into_iter().chain(line.split_whitespace()).collect();
    run_with(&[], "", &arguments).await
}

/// Command lines with their output and errors, one after the other.
async fn session(lines: &[&str]) -> String {
    let fake = Fake::start(Discovery::Aggregated).await;
    let mut text = String::new();
    for line in lines {
        let ran = run(&fake, line).await;
        text += &format!("$ kctl {line}\n{}", ran.out);
        if !ran.out.is_empty() && !ran.out.ends_with('\n') {
            text += "⏎\n";
        }
        text += &ran.err.replace(&fake.url, "http://SERVER");
        if ran.code != 0 {
            text += &format!("[{}]\n", ran.code);
        }
    }
    text.replace(&fake.url, "http://SERVER")
}

#[tokio::test]
async fn get_prints_tables() {
    insta::assert_snapshot!(
        session(&[
            "get pods",
            "get po -o wide",
            "get pods,svc -A",
            "get nodes -A",
            "get cm",
            "get cm/cm0 pod/hello",
            "get all",
            "get pods -L app,tier --show-labels --no-headers",
            "get pods --sort-by=.metadata.uid",
            "get events",
            "get pods -l app=two --show-kind",
        ])
        .await
    );
}

#[tokio::test]
async fn get_prints_documents() {
    insta::assert_snapshot!(
        session(&[
            "get cm cm0 -o yaml",
            "get cm cm0 -o json",
            "get cm,svc -o name",
            "get pods -o jsonpath={.items[*].metadata.name}",
            "get cm -o custom-columns=N:.metadata.name,X:.nope",
            "get secrets -o yaml",
            "get pod hello -o yaml",
            "get validatingadmissionpolicies vap -o json",
        ])
        .await
    );
}

#[tokio::test]
async fn get_watches() {
    insta::assert_snapshot!(
        session(&["get pods -w", "get pods --watch-only -o name", "get pods -w --output-watch-events"]).await
    );
}

#[tokio::test]
async fn get_tells_what_is_wrong() {
    insta::assert_snapshot!(
        session(&[
            "get",
            "get nope",
            "get pod nope",
            "get pod hello nope",
            "get pod nope --ignore-not-found",
            "get secrets",
            "get secrets -A",
            "get pods -n forbidden",
            "get pods -n unauthorized",
            "get pods -A hello",
            "get pods hello -l a=b",
            "get pods --nope",
            "get pods --watch=maybe",
            "get pods -o",
            "get pods -o nope",
            "get pods -o custom-columns",
            "get pods -o jsonpath={.metadata",
            "nope",
            "--context nope get pods",
        ])
        .await
    );
}

#[tokio::test]
async fn describe_lays_pods_and_nodes_out() {
    insta::assert_snapshot!(
        session(&[
            "describe pod hello",
            "describe pod pending",
            "describe pod sysone -n kube-system",
            "describe node minik",
            "describe validatingadmissionpolicies vap",
            "describe cm cm0",
            "describe ns default",
        ])
        .await
    );
}

#[tokio::test]
async fn describe_finds_by_prefix_and_in_lists() {
    let text =
        session(&["describe pods", "describe pod pend", "describe pod zzz", "describe cm -l a=zz"]).await;
    assert_eq!(text.matches("Events:").count(), 0, "several objects show no events");
    assert!(text.contains("pods \"zzz\" not found\n[1]\n"), "{text}");
    assert!(text.ends_with("No resources found in default namespace.\n"), "{text}");
}

#[tokio::test]
async fn delete_names_what_it_deletes() {
    insta::assert_snapshot!(
        session(&[
            "delete pod hello",
            "delete pod/hello svc/kubernetes",
            "delete node minik",
            "delete deploy web -o name",
            "delete pods --all --dry-run=server",
            "delete pod hello --force",
            "delete pod nope",
            "delete pod nope --ignore-not-found",
            "delete pods",
            "delete",
            "delete pods -l app=zz",
        ])
        .await
    );
}

#[tokio::test]
async fn delete_waits_for_the_object_it_deleted() {
    let fake = Fake::start(Discovery::Aggregated).await;
    assert_eq!(run(&fake, "delete pod hello --now").await.code, 0);
    assert_eq!(
        fake.requests(),
        [
            "DELETE /api/v1/namespaces/default/pods/hello {\"apiVersion\":\"v1\",\"gracePeriodSeconds\":1,\"kind\":\"DeleteOptions\",\"propagationPolicy\":\"Background\"}",
            "GET /api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dhello",
        ]
    );
}

#[tokio::test]
async fn logs_choose_a_container() {
    insta::assert_snapshot!(
        session(&[
            "logs hello",
            "logs hello -c side --tail=3 --timestamps --since=5m",
            "logs hello -c nope",
            "logs pending",
            "logs nope",
            "logs",
            "logs hello --all-containers --prefix",
            "logs -l app=hello",
            "logs -l app=zz",
            "logs cm/cm0",
        ])
        .await
    );
}

#[tokio::test]
async fn create_reads_several_documents() {
    let fake = Fake::start(Discovery::Aggregated).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.yaml");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: \"1\"}\n---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: d}\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: hello}\n- apiVersion: foo/v1\n  kind: Bar\n  metadata: {name: b}\n";
    std::fs::write(&path, text).unwrap();
    let shown = path.display().to_string();
    let ran = run(&fake, &format!("create -f {shown}")).await;
    assert_eq!(ran.code, 1);
    assert_eq!(ran.out, "configmap/a created\ndeployment.apps/d created\n");
    assert_eq!(
        ran.err,
        format!(
            "Error from server (AlreadyExists): error when creating \"{shown}\": pods \"hello\" already exists\nresource mapping not found for name: \"b\" namespace: \"\" from \"{shown}\": no matches for kind \"Bar\" in version \"foo/v1\"\nensure CRDs are installed first\n"
        )
    );
    assert_eq!(
        fake.requests()[0],
        "POST /api/v1/namespaces/default/configmaps?fieldManager=kubectl-create&fieldValidation=Strict {\"apiVersion\":\"v1\",\"data\":{\"k\":\"1\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"namespace\":\"default\"}}"
    );
}

#[tokio::test]
async fn create_reads_standard_input() {
    let fake = Fake::start(Discovery::Aggregated).await;
    let pod = |name: &str| {
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{name}\"}}}}")
    };
    for (name, flags, code, out, err) in [
        ("new", "", 0, "pod/new created\n", ""),
        ("new", "--dry-run=client", 0, "pod/new created (dry run)\n", ""),
        ("new", "--dry-run=server -o name", 0, "pod/new\n", ""),
        ("warned", "", 0, "pod/warned created\n", "Warning: be careful\n"),
        (
            "warned",
            "--warnings-as-errors",
            1,
            "pod/warned created\n",
            "Warning: be careful\nerror: 1 warning received\n",
        ),
        (
            "x",
            "-n invalid",
            1,
            "",
            "The Pod \"x\" is invalid: \n* spec.a: Required value\n* spec.b: Invalid value: 1: no\n",
        ),
    ] {
        let line = format!("-s {} create -f - {flags}", fake.url);
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let ran = run_with(&[], &pod(name), &arguments).await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, out, err), "{name} {flags}");
    }
}

#[tokio::test]
async fn small_commands_print_what_kubectl_prints() {
    insta::assert_snapshot!(
        session(&[
            "api-versions",
            "api-resources",
            "api-resources -o wide --namespaced=false",
            "api-resources -o name --api-group=apps",
            "cluster-info",
            "version",
            "options",
        ])
        .await
    );
}

#[tokio::test]
async fn legacy_discovery_gives_the_same_resources() {
    let (new, old) = (Fake::start(Discovery::Aggregated).await, Fake::start(Discovery::Legacy).await);
    let (new, old) = (run(&new, "api-resources -o wide").await, run(&old, "api-resources -o wide").await);
    assert_eq!(new.out, old.out);
    assert!(old.out.contains("deployments"), "{}", old.out);
}

#[tokio::test]
async fn a_refused_connection_is_told_as_kubectl_tells_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let ran = run_with(&[], "", &["-s", &format!("http://{address}"), "get", "pods"]).await;
    assert_eq!(
        ran.err,
        format!(
            "The connection to the server {address} was refused - did you specify the right host or port?\n"
        )
    );
    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn completion_scripts_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run_with(&[], "", &["completion", shell]).await;
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("kctl __complete") || ran.out.contains("__complete"), "{shell}");
    }
    let ran = run_with(&[], "", &["completion", "powershell"]).await;
    assert!(ran.out.contains("api-resources"));
}

#[tokio::test]
async fn completion_offers_what_the_server_has() {
    let fake = Fake::start(Discovery::Aggregated).await;
    for (line, wanted) in [
        ("get po", "pods\n"),
        ("get pods he", "hello\n"),
        ("get pods/he", "pods/hello\n"),
        ("get cm,po", "cm,pods\n"),
        ("logs hel", "hello\n"),
        ("rollo", "rollout\n"),
        ("rollout hi", "history\n"),
        ("get pods -o js", "json\njsonpath\n"),
        ("get pods -o=ya", "-o=yaml\n"),
        ("get pods --watch-o", "--watch-only\n"),
        ("apply -f x", ":files\n"),
        ("get nothings x", ""),
    ] {
        let words = ["__complete", "-s", &fake.url].into_iter().chain(line.split(' '));
        let ran = run_with(&[], "", &words.collect::<Vec<_>>()).await;
        assert_eq!((ran.out.as_str(), ran.err.as_str()), (wanted, ""), "{line}");
    }
}

#[tokio::test]
async fn config_merges_shows_and_changes_files() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    std::fs::write(
        &first,
        "apiVersion: v1\nkind: Config\nclusters:\n- name: a\n  cluster: {server: \"https://a:1\", certificate-authority: ca.crt}\ncontexts:\n- name: a\n  context: {cluster: a, user: u, namespace: ns}\nusers:\n- name: u\n  user: {token: secret}\n",
    )
    .unwrap();
    std::fs::write(
        &second,
        "current-context: b\nclusters:\n- name: a\n  cluster: {server: \"https://ignored\"}\n- name: b\n  cluster: {server: \"https://b:1\", certificate-authority-data: eA==}\ncontexts:\n- name: b\n  context: {cluster: b, user: w}\nusers:\n- name: w\n  user: {client-key-data: eA==, client-certificate-data: eA==}\n",
    )
    .unwrap();
    let list = std::env::join_paths([&first, &second]).unwrap().into_string().unwrap();
    let environment = [("KUBECONFIG", list.as_str())];
    let mut text = String::new();
    for line in [
        "config view",
        "config view --minify --raw -o json",
        "config get-contexts",
        "config current-context",
        "config use-context nope",
        "config use-context a",
        "config current-context",
        "config view --minify -o jsonpath={..namespace}",
    ] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let ran = run_with(&environment, "", &arguments).await;
        text += &format!("$ kctl {line}\n{}{}", ran.out, ran.err);
    }
    insta::assert_snapshot!(text.replace(&folder.path().display().to_string(), "FOLDER"));
    assert!(
        std::fs::read_to_string(&second).unwrap().contains("current-context: a"),
        "the file that set it is changed"
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_command_quietly() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let err = Sink::default();
    let terminal =
        Terminal::new(std::io::empty(), Closed, err.clone(), || "2026-01-02T00:00:00Z".parse().unwrap());
    let code = crate::run(["kctl", "options"].map(OsString::from), &terminal).await;
    assert_eq!((code, err.text().as_str()), (141, ""));
}
