//! Images: present, to be pulled, not to be had.

use crate::{Bed, main, pod, with};
use runtime::Error;
use runtime::fake::{ImageBehaviour, Operation};
use serde_json::{Value, json};
use std::time::Duration;

fn asking(name: &str, image: &str, policy: &str) -> Value {
    let container =
        json!({"name": "main", "image": image, "imagePullPolicy": policy, "command": ["sleep", "infinity"]});
    with(name, json!({"containers": [container]}))
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_asked_for_until_it_appears() {
    let bed = Bed::new().await;
    bed.runtime.set_image("nowhere:1", ImageBehaviour::missing("nowhere:1"));
    bed.create(asking("p", "nowhere:1", "IfNotPresent")).await;
    let failed = bed.waits("p", "ErrImagePull").await;
    let said = main(&failed)["state"]["waiting"]["message"].as_str().expect("a message").to_owned();
    assert!(said.contains("manifest for nowhere:1 not found"), "{said}");
    assert_eq!(failed["status"]["phase"], "Pending");
    let held = bed.waits("p", "ImagePullBackOff").await;
    let message = format!("Back-off pulling image \"nowhere:1\": ErrImagePull: {said}");
    assert_eq!(main(&held)["state"]["waiting"]["message"], message);

    bed.pass(60).await;
    let tries = bed.calls(Operation::PullImage);
    let pauses: Vec<i64> =
        tries.windows(2).map(|two| two[1].time.duration_since(two[0].time).as_secs()).collect();
    assert_eq!(pauses, [10, 20]);

    bed.runtime.set_image("nowhere:1", ImageBehaviour::Pullable(Duration::from_millis(1500)));
    let running = bed.phase("p", "Running").await;
    assert_eq!(main(&running)["restartCount"], 0);
    for (reason, message) in [
        ("Pulling", "Pulling image \"nowhere:1\""),
        ("Failed", "Failed to pull image \"nowhere:1\": manifest for nowhere:1 not found"),
        ("Failed", "Error: ErrImagePull"),
        ("Failed", "Error: ImagePullBackOff"),
        ("BackOff", "Back-off pulling image \"nowhere:1\""),
        ("Pulled", "Successfully pulled image \"nowhere:1\" in 1.5"),
    ] {
        bed.event("p", reason, message).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_image_is_pulled_at_once() {
    let bed = Bed::new().await;
    bed.runtime.set_image("nowhere", ImageBehaviour::missing("nowhere"));
    bed.create(asking("p", "nowhere", "IfNotPresent")).await;
    bed.waits("p", "ImagePullBackOff").await;
    let then = bed.now();
    bed.patch("p", json!({"spec": {"containers": [{"name": "main", "image": "busybox"}]}})).await;
    bed.phase("p", "Running").await;
    assert!(bed.since(then) < 2, "{}", bed.since(then));
}

#[tokio::test(start_paused = true)]
async fn the_pull_policy_decides() {
    let bed = Bed::new().await;
    bed.runtime.set_image("absent", ImageBehaviour::Pullable(Duration::ZERO));
    bed.create(asking("never", "absent", "Never")).await;
    let waiting = bed.waits("never", "ErrImageNeverPull").await;
    assert_eq!(
        main(&waiting)["state"]["waiting"]["message"],
        "Container image \"absent\" is not present with pull policy of Never"
    );
    bed.event("never", "ErrImageNeverPull", "Container image \"absent\" is not present").await;
    bed.event("never", "Failed", "Error: ErrImageNeverPull").await;
    bed.create(asking("present", "busybox", "IfNotPresent")).await;
    bed.phase("present", "Running").await;
    assert!(bed.calls(Operation::PullImage).is_empty());
    bed.create(asking("always", "busybox", "Always")).await;
    bed.phase("always", "Running").await;
    assert_eq!(bed.calls(Operation::PullImage).len(), 1);
    bed.create(asking("absent", "absent", "IfNotPresent")).await;
    bed.phase("absent", "Running").await;
    assert_eq!(bed.calls(Operation::PullImage).len(), 2);
    // What was missing is there now.
    bed.phase("never", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_an_image_has_its_own_reason() {
    let bed = Bed::new().await;
    bed.create(asking("name", "Not/A:Valid:Name", "IfNotPresent")).await;
    let waiting = bed.waits("name", "InvalidImageName").await;
    let message = main(&waiting)["state"]["waiting"]["message"].as_str().expect("a message");
    assert!(message.starts_with("Failed to apply default image tag \"Not/A:Valid:Name\""), "{message}");
    bed.event("name", "InspectFailed", "Failed to apply default image tag").await;

    let down =
        Error::RegistryUnavailable { image: "far".to_owned(), message: "dial tcp: i/o timeout".to_owned() };
    bed.runtime.set_image("far", ImageBehaviour::Fails(Duration::ZERO, down));
    bed.create(asking("registry", "far", "IfNotPresent")).await;
    bed.waits("registry", "RegistryUnavailable").await;

    let broken = Error::Other { operation: "inspect image", message: "disk".to_owned() };
    bed.runtime.set_image("broken", ImageBehaviour::Broken(broken));
    bed.create(asking("inspect", "broken", "IfNotPresent")).await;
    bed.waits("inspect", "ImageInspectError").await;
}

#[tokio::test(start_paused = true)]
async fn a_pull_gives_way_to_the_pods_end() {
    let bed = Bed::new().await;
    bed.runtime.set_image("huge", ImageBehaviour::Pullable(Duration::from_secs(100_000)));
    bed.create(asking("p", "huge", "IfNotPresent")).await;
    bed.event("p", "Pulling", "").await;
    let then = bed.now();
    bed.delete("p", None).await;
    bed.gone("p").await;
    assert!(bed.since(then) <= 2);
    assert!(bed.is_clean().await);
    bed.create(pod("q")).await;
    bed.phase("q", "Running").await;
}
