//! Cases about containers.

#![allow(missing_docs)]

use std::time::Duration;

use tokio::time::Instant;

use super::{DEADLINE, Harness};
use crate::*;

pub async fn lives_and_dies(h: &Harness) {
    let config = h.pod("life");
    let sandbox = h.sandbox(&config).await;
    let container = h.container("main", &["forever"]);
    let id = h.runtime.create_container(&sandbox, &container, &config).await.expect("a container");
    let status = h.status(&id).await;
    assert_eq!((status.state, status.started_at), (ContainerState::Created, None));
    assert_eq!(status.pod_sandbox_id, sandbox);
    assert_eq!(status.metadata, container.metadata);
    h.runtime.start_container(&id).await.expect("started");
    h.runtime.start_container(&id).await.expect("started again");
    let status = h.status(&id).await;
    assert_eq!((status.state, status.finished_at), (ContainerState::Running, None));
    assert!(status.started_at.expect("a start") >= status.created_at);
    h.runtime.stop_container(&id, DEADLINE).await.expect("stopped");
    let status = h.status(&id).await;
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 0));
    assert!(status.finished_at >= status.started_at);
    h.runtime.remove_container(&id).await.expect("removed");
    assert!(h.runtime.container_status(&id).await.expect_err("gone").is_not_found());
}

pub async fn same_attempt_is_refused_with_its_id(h: &Harness) {
    let config = h.pod("twice");
    let sandbox = h.sandbox(&config).await;
    let container = h.container("main", &["forever"]);
    let id = h.runtime.create_container(&sandbox, &container, &config).await.expect("a container");
    match h.runtime.create_container(&sandbox, &container, &config).await {
        Err(Error::AlreadyExists { id: holder, .. }) => assert_eq!(holder, id.as_str()),
        other => panic!("{other:?}"),
    }
}

pub async fn next_attempt_is_another_container(h: &Harness) {
    let config = h.pod("restart");
    let sandbox = h.sandbox(&config).await;
    let mut container = h.container("main", &["exit=1"]);
    let first = h.start_in(&sandbox, &config, &container).await;
    h.ended(&first).await;
    container.metadata.attempt = 1;
    let second = h.start_in(&sandbox, &config, &container).await;
    assert_ne!(first, second);
    assert_eq!(h.status(&second).await.metadata.attempt, 1);
    assert_eq!(h.status(&first).await.metadata.attempt, 0);
}

pub async fn exit_codes_become_reasons(h: &Harness) {
    for (code, reason) in [(0, "Completed"), (3, "Error"), (137, "Error")] {
        let id = h.start(&format!("exit-{code}"), &[&format!("exit={code}")]).await;
        let status = h.ended(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason));
        assert!(status.finished_at.is_some());
    }
}

pub async fn stops_within_grace(h: &Harness) {
    let id = h.start("polite", &["out=ready", "forever", "on-term=7"]).await;
    super::logs::wait_for_line(h, &id, "ready").await;
    let before = Instant::now();
    h.runtime.stop_container(&id, DEADLINE).await.expect("stopped");
    assert!(before.elapsed() < DEADLINE / 3, "took {:?}", before.elapsed());
    let status = h.status(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
}

pub async fn kills_after_grace(h: &Harness) {
    let id = h.start("rude", &["out=ready", "forever", "ignore-term"]).await;
    super::logs::wait_for_line(h, &id, "ready").await;
    let before = Instant::now();
    h.runtime.stop_container(&id, Duration::from_secs(1)).await.expect("stopped");
    assert!(before.elapsed() >= Duration::from_millis(900), "took {:?}", before.elapsed());
    let status = h.status(&id).await;
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 137));
}

pub async fn kills_at_once_without_grace(h: &Harness) {
    let id = h.start("now", &["out=ready", "forever", "ignore-term"]).await;
    super::logs::wait_for_line(h, &id, "ready").await;
    let before = Instant::now();
    h.runtime.stop_container(&id, Duration::ZERO).await.expect("stopped");
    // Less than engines wait by themselves.
    assert!(before.elapsed() < Duration::from_secs(10), "took {:?}", before.elapsed());
    assert_eq!(h.status(&id).await.exit_code, 137);
}

pub async fn stop_and_remove_may_be_repeated(h: &Harness) {
    let id = h.start("repeat", &["exit=0"]).await;
    h.ended(&id).await;
    for _ in 0..2 {
        h.runtime.stop_container(&id, Duration::from_secs(1)).await.expect("stopped");
    }
    for _ in 0..2 {
        h.runtime.remove_container(&id).await.expect("removed");
    }
    h.runtime.stop_container(&id, Duration::from_secs(1)).await.expect("stopped when gone");
    let running = h.start("forced", &["forever"]).await;
    h.runtime.remove_container(&running).await.expect("removed while it runs");
}

pub async fn unknown_ids_are_not_found(h: &Harness) {
    let id = ContainerId::from("0000000000000000000000000000000000000000000000000000000000000000");
    let sandbox = SandboxId::from(id.as_str());
    let config = h.pod("unknown");
    assert!(h.runtime.container_status(&id).await.expect_err("unknown").is_not_found());
    assert!(h.runtime.start_container(&id).await.expect_err("unknown").is_not_found());
    assert!(h.runtime.pod_sandbox_status(&sandbox).await.expect_err("unknown").is_not_found());
    assert!(
        h.runtime.exec_sync(&id, &["/steps".into()], DEADLINE).await.expect_err("unknown").is_not_found()
    );
    match h.runtime.container_logs(&id, &LogOptions::default()).await {
        Err(error) => assert!(error.is_not_found(), "{error:?}"),
        Ok(_) => panic!("logs of an unknown container"),
    }
    let orphan = h.runtime.create_container(&sandbox, &h.container("main", &[]), &config).await;
    if let Ok(id) = orphan {
        // Some engines notice only at the start.
        h.runtime.start_container(&id).await.expect_err("there is no such sandbox");
        h.runtime.remove_container(&id).await.expect("removed");
    }
}

pub async fn missing_image_is_typed(h: &Harness) {
    let config = h.pod("missing");
    let sandbox = h.sandbox(&config).await;
    let container = ContainerConfig { image: h.missing_image.clone(), ..h.container("main", &[]) };
    match h.runtime.create_container(&sandbox, &container, &config).await {
        Err(Error::ImageNotFound { image, message }) => {
            assert_eq!(image, h.missing_image);
            assert!(!message.is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(h.images.image_status(&h.missing_image).await.expect("an answer"), None);
    let present = h.images.image_status(&h.image).await.expect("an answer").expect("present");
    let by_id = h.images.image_status(present.id.as_str()).await.expect("an answer").expect("present");
    assert_eq!(by_id.id, present.id);
    h.images.remove_image(&h.missing_image).await.expect("removed already");
}

pub async fn invalid_image_is_typed(h: &Harness) {
    for image in ["UPPER", "a b", "x:"] {
        let found = h.images.image_status(image).await;
        assert!(matches!(found, Err(Error::InvalidImageName { .. })), "{image}: {found:?}");
        let pulled = h.images.pull_image(image, None).await;
        assert!(matches!(pulled, Err(Error::InvalidImageName { .. })), "{image}: {pulled:?}");
    }
}

pub async fn command_that_cannot_start(h: &Harness) {
    let config = h.pod("broken");
    let sandbox = h.sandbox(&config).await;
    let container = ContainerConfig { command: vec!["/no-such-command".into()], ..h.container("main", &[]) };
    let id = h.runtime.create_container(&sandbox, &container, &config).await.expect("a container");
    match h.runtime.start_container(&id).await {
        Err(Error::CannotStart { message, exit_code }) => {
            assert_eq!(exit_code, 127);
            assert!(message.contains("/no-such-command"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let status = h.status(&id).await;
    assert_eq!(
        (status.state, status.reason.as_str()),
        (ContainerState::Exited, reason::CONTAINER_CANNOT_RUN)
    );
    assert_eq!(status.exit_code, 127);
    assert!(status.message.contains("/no-such-command"), "{}", status.message);
}

pub async fn executes_commands(h: &Harness) {
    let id = h.start("exec", &["forever"]).await;
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let result =
        h.runtime.exec_sync(&id, &command(&["/steps", "out=hello", "err=oops", "exit=3"]), DEADLINE).await;
    let result = result.expect("executed");
    assert_eq!(
        (&result.stdout[..], &result.stderr[..], result.exit_code),
        (&b"hello\n"[..], &b"oops\n"[..], 3)
    );
    let result = h.runtime.exec_sync(&id, &command(&["/steps"]), Duration::ZERO).await.expect("executed");
    assert_eq!(result.exit_code, 0);
    let missing = h.runtime.exec_sync(&id, &command(&["/no-such-command"]), DEADLINE).await;
    assert!(matches!(missing, Err(Error::CannotStart { .. })), "{missing:?}");
    h.runtime.stop_container(&id, Duration::ZERO).await.expect("stopped");
    let late = h.runtime.exec_sync(&id, &command(&["/steps"]), DEADLINE).await;
    assert!(matches!(late, Err(Error::Invalid { .. })), "{late:?}");
}

pub async fn exec_has_a_limit(h: &Harness) {
    let id = h.start("slow", &["forever"]).await;
    let command = ["/steps", "sleep=60000"].map(str::to_owned);
    let before = Instant::now();
    let result = h.runtime.exec_sync(&id, &command, Duration::from_millis(300)).await;
    assert!(matches!(result, Err(Error::DeadlineExceeded { .. })), "{result:?}");
    assert!(before.elapsed() < DEADLINE / 3);
}

pub async fn containers_share_the_sandboxs_network(h: &Harness) {
    let config = h.pod("shared");
    let sandbox = h.sandbox(&config).await;
    let server =
        h.start_in(&sandbox, &config, &h.container("server", &["listen=8080", "out=ready", "forever"])).await;
    super::logs::wait_for_line(h, &server, "ready").await;
    let client = h.start_in(&sandbox, &config, &h.container("client", &["connect=8080", "exit=0"])).await;
    assert_eq!(h.ended(&client).await.exit_code, 0, "the client does not reach 127.0.0.1:8080");
    assert_eq!(h.status(&server).await.state, ContainerState::Running);
}

pub async fn lists_containers(h: &Harness) {
    let (one, two) = (h.pod("one"), h.pod("two"));
    let first = h.sandbox(&one).await;
    let second = h.sandbox(&two).await;
    let a = h.start_in(&first, &one, &h.container("a", &["forever"])).await;
    let b = h.start_in(&first, &one, &h.container("b", &["exit=0"])).await;
    let c = h.start_in(&second, &two, &h.container("c", &["forever"])).await;
    h.ended(&b).await;
    let list = async |filter: ContainerFilter| {
        let mut found = h.runtime.list_containers(&filter).await.expect("a list");
        found.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        found.into_iter().map(|container| container.id).collect::<Vec<_>>()
    };
    let all = ContainerFilter::default;
    assert_eq!(list(all()).await, [a.clone(), b.clone(), c.clone()]);
    assert_eq!(
        list(ContainerFilter { pod_sandbox_id: Some(first.clone()), ..all() }).await,
        [a.clone(), b.clone()]
    );
    let running = Some(ContainerState::Running);
    assert_eq!(list(ContainerFilter { state: running, ..all() }).await, [a.clone(), c.clone()]);
    assert_eq!(list(ContainerFilter { state: Some(ContainerState::Exited), ..all() }).await, [b]);
    assert_eq!(list(ContainerFilter { id: Some(c.clone()), ..all() }).await, std::slice::from_ref(&c));
    let by_uid = StringMap::from([(labels::POD_UID.to_owned(), two.metadata.uid.clone())]);
    assert_eq!(list(ContainerFilter { labels: by_uid, ..all() }).await, [c]);
    let summary =
        h.runtime.list_containers(&ContainerFilter { id: Some(a.clone()), ..all() }).await.expect("a list");
    assert_eq!((summary[0].pod_uid(), &summary[0].pod_sandbox_id), (one.metadata.uid.as_str(), &first));
}

pub async fn keeps_labels_and_annotations(h: &Harness) {
    let config = h.pod("labelled");
    let sandbox = h.sandbox(&config).await;
    let mut container = h.container("main", &["forever"]);
    container.labels.insert("tier".into(), "web".into());
    container.annotations.insert("io.kubernetes.container.hash".into(), "cafe".into());
    container.annotations.insert("io.kubernetes.container.restartCount".into(), "0".into());
    container.user_image = "example.org/as/written:v1".into();
    let id = h.start_in(&sandbox, &config, &container).await;
    let status = h.status(&id).await;
    assert_eq!(status.annotations, container.annotations);
    assert_eq!(status.image, container.user_image);
    for (key, value) in [
        ("tier", "web"),
        (labels::POD_NAME, "labelled"),
        (labels::POD_NAMESPACE, "default"),
        (labels::POD_UID, &config.metadata.uid),
        (labels::CONTAINER_NAME, "main"),
    ] {
        assert_eq!(status.labels.get(key).map(String::as_str), Some(value), "{key}");
    }
    let found = h.runtime.list_containers(&ContainerFilter::default()).await.expect("a list");
    assert_eq!((&found[0].annotations, &found[0].image), (&container.annotations, &container.user_image));
}
