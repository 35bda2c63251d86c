//! Commands that change objects: what they send, and what they say.

use super::fake::{Discovery, Fake};
use super::run;

/// The output of a command line and the writes it sent.
async fn changed(line: &str) -> (String, Vec<String>) {
    let fake = Fake::start(Discovery::Aggregated).await;
    let ran = run(&fake, line).await;
    let writes = fake.requests().into_iter().filter(|request| !request.starts_with("GET ")).collect();
    (format!("{}{}", ran.out, ran.err), writes)
}

const POD: &str = "/api/v1/namespaces/default/pods/hello";

#[tokio::test]
async fn label_sends_what_changes() {
    let (text, writes) = changed("label pod hello new=1 --overwrite").await;
    assert_eq!(text, "pod/hello labeled\n");
    let sent = "{\"metadata\":{\"labels\":{\"new\":\"1\"}}}";
    assert_eq!(writes, [format!("PATCH {POD}?fieldManager=kubectl-label {sent}")]);
    let (text, writes) = changed("label pod hello nope-").await;
    assert_eq!((text.as_str(), writes.len()), ("label \"nope\" not found.\npod/hello not labeled\n", 0));
    let (text, _) = changed("label pod hello").await;
    assert_eq!(text, "error: at least one label update is required\n");
}

#[tokio::test]
async fn annotate_in_a_dry_run_sends_nothing() {
    let (text, writes) = changed("annotate pod hello new=1 --dry-run=client").await;
    assert_eq!((text.as_str(), writes.len()), ("pod/hello annotated (dry run)\n", 0));
    let (text, writes) = changed("annotate pod hello new=1 --dry-run=server").await;
    assert_eq!(text, "pod/hello annotated (server dry run)\n");
    assert!(writes[0].starts_with(&format!("PATCH {POD}?dryRun=All&fieldManager=kubectl-annotate")));
}

#[tokio::test]
async fn patch_says_when_nothing_changed() {
    let (text, writes) = changed("patch pod hello -p {} --type=merge").await;
    assert_eq!(text, "pod/hello patched (no change)\n");
    assert_eq!(writes, [format!("PATCH {POD}?fieldManager=kubectl-patch {{}}")]);
    let (text, _) = changed("patch pod hello -p {} --type=x").await;
    assert_eq!(text, "error: --type must be one of [json merge strategic], not \"x\"\n");
}

#[tokio::test]
async fn apply_creates_with_what_was_applied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fresh}\n").unwrap();
    let (text, writes) = changed(&format!("apply -f {}", path.display())).await;
    assert_eq!(text, "configmap/fresh created\n");
    let query = "fieldManager=kubectl-client-side-apply&fieldValidation=Strict";
    assert!(writes[0].starts_with(&format!("POST /api/v1/namespaces/default/configmaps?{query} ")));
    assert!(writes[0].contains("last-applied-configuration\":\"{\\\"apiVersion\\\":\\\"v1\\\""));
}

#[tokio::test]
async fn apply_patches_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, "apiVersion: v1\nkind: Pod\nmetadata: {name: hello, labels: {new: x}}\n").unwrap();
    let (text, writes) = changed(&format!("apply -f {}", path.display())).await;
    // The server answers with the same version: nothing came of it.
    assert_eq!(text, "pod/hello unchanged\n");
    assert!(
        writes[0].starts_with(&format!("PATCH {POD}?")) && writes[0].contains("\"labels\":{\"new\":\"x\"}")
    );
    let (text, writes) = changed(&format!("apply --server-side -f {}", path.display())).await;
    assert_eq!(text, "pod/hello serverside-applied\n");
    assert!(writes[0].starts_with(&format!("PATCH {POD}?fieldManager=kubectl&fieldValidation=Strict {{")));
}

#[tokio::test]
async fn wait_returns_and_gives_up() {
    let fake = Fake::start(Discovery::Aggregated).await;
    let ran = run(&fake, "wait pod hello --for=jsonpath={.metadata.name}=hello").await;
    assert_eq!((ran.out.as_str(), ran.code), ("pod/hello condition met\n", 0));
    let ran = run(&fake, "wait pod hello --for=condition=Never --timeout=0").await;
    assert_eq!((ran.err.as_str(), ran.code), ("error: condition not met for pods/hello\n", 1));
    let ran = run(&fake, "wait pod hello").await;
    assert_eq!(ran.err, "error: unrecognized condition: []\n");
    let ran = run(&fake, "wait pod gone --for=delete").await;
    assert_eq!((ran.out + &ran.err, ran.code), (String::new(), 0));
}

#[tokio::test]
async fn run_makes_a_pod() {
    let (text, writes) = changed("run web --image=nginx --port=80 --env=A=b -- serve now").await;
    assert_eq!(text, "pod/web created\n");
    let pod = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"labels\":{\"run\":\"web\"},\"name\":\"web\"},\"spec\":{\"containers\":[{\"args\":[\"serve\",\"now\"],\"env\":[{\"name\":\"A\",\"value\":\"b\"}],\"image\":\"nginx\",\"name\":\"web\",\"ports\":[{\"containerPort\":80}],\"resources\":{}}],\"dnsPolicy\":\"ClusterFirst\",\"restartPolicy\":\"Always\"},\"status\":{}}";
    assert_eq!(writes, [format!("POST /api/v1/namespaces/default/pods?fieldManager=kubectl-run {pod}")]);
    let (text, _) = changed("run web").await;
    assert_eq!(text, "error: required flag(s) \"image\" not set\n");
}

#[tokio::test]
async fn a_command_line_that_is_not_understood_exits_with_1() {
    let fake = Fake::start(Discovery::Aggregated).await;
    for line in ["get pods --nope", "nope", "create extra", "scale pod hello", "cordon"] {
        let ran = run(&fake, line).await;
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line}: {}", ran.err);
    }
}
