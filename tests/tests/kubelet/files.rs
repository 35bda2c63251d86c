//! Files of pods on the node: last words.

use crate::{Bed, main, with};
use runtime::fake::{Operation, Script};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

fn container(policy: &str) -> Value {
    json!([{"name": "main", "image": "busybox", "terminationMessagePolicy": policy}])
}

/// The node's file of the newest container's last words.
fn file(bed: &Bed) -> PathBuf {
    let call = bed.calls(Operation::CreateContainer).pop().expect("one was created");
    let mounts = call.container_config.expect("a configuration").mounts;
    let mount = mounts.into_iter().find(|mount| mount.container_path == "/dev/termination-log");
    PathBuf::from(mount.expect("it is mounted").host_path)
}

#[tokio::test(start_paused = true)]
async fn last_words_are_read_from_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let bed = Bed::with(Some(folder.path().to_owned())).await;
    bed.create(with("p", json!({"containers": container("File")}))).await;
    bed.phase("p", "Running").await;
    let path = file(&bed);
    assert!(path.starts_with(folder.path()));
    std::fs::write(&path, "out of coffee").expect("written");
    bed.runtime.exit_container(&bed.container("p", "main").await, 1);
    let again = bed.restarts("p", 1).await;
    assert_eq!(main(&again)["lastState"]["terminated"]["message"], "out of coffee");
    assert_ne!(file(&bed), path, "each attempt has its own");

    std::fs::write(file(&bed), "x".repeat(10_000)).expect("written");
    bed.runtime.exit_container(&bed.container("p", "main").await, 1);
    let long = bed.restarts("p", 2).await;
    let message = main(&long)["lastState"]["terminated"]["message"].as_str().expect("a message");
    assert_eq!(message.len(), 4096);

    bed.delete("p", None).await;
    bed.gone("p").await;
    let pods = path.ancestors().find(|folder| folder.ends_with("pods")).expect("the folder of all pods");
    assert_eq!(std::fs::read_dir(pods).expect("a folder").count(), 0, "its files go with it");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_log_stands_in_after_an_error_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let bed = Bed::with(Some(folder.path().to_owned())).await;
    for (name, policy, code, expected) in [
        ("failed", "FallbackToLogsOnError", 1, json!("no database\n")),
        ("fine", "FallbackToLogsOnError", 0, Value::Null),
        ("file", "File", 1, Value::Null),
    ] {
        let script = Script::exit_after(Duration::from_secs(1), code).printing("no database");
        bed.runtime.set_script("main", script);
        bed.create(with(name, json!({"restartPolicy": "Never", "containers": container(policy)}))).await;
        let ended = bed
            .until(name, |pod| {
                ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or(""))
            })
            .await;
        assert_eq!(main(&ended)["state"]["terminated"]["message"], expected, "{name}");
    }
}
