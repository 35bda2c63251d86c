//! Cases about events.

#![allow(missing_docs)]

use futures::StreamExt;

use super::{DEADLINE, Harness};
use crate::*;

pub async fn tell_a_whole_life(h: &Harness) {
    let mut events = h.runtime.events().await.expect("events");
    let config = h.pod("told");
    let sandbox = h.sandbox(&config).await;
    let id = h.start_in(&sandbox, &config, &h.container("main", &["exit=5"])).await;
    h.ended(&id).await;
    h.runtime.remove_container(&id).await.expect("removed");
    h.runtime.remove_pod_sandbox(&sandbox).await.expect("removed");
    let (mut of_container, mut of_sandbox) = (Vec::new(), Vec::new());
    let read = async {
        while !of_sandbox.contains(&RuntimeEventKind::Deleted) {
            let event = events.next().await.expect("no end").expect("no error");
            assert_eq!((&event.sandbox_id, event.pod_uid.as_str()), (&sandbox, config.metadata.uid.as_str()));
            match &event.container_id {
                Some(container) => {
                    assert_eq!(container, &id);
                    if event.kind == RuntimeEventKind::Stopped {
                        assert_eq!(event.exit_code, Some(5));
                    }
                    of_container.push(event.kind);
                }
                None => of_sandbox.push(event.kind),
            }
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("all events arrive");
    use RuntimeEventKind::{Created, Deleted, Started, Stopped};
    assert_eq!(of_container, [Created, Started, Stopped, Deleted]);
    assert_eq!(of_sandbox, [Created, Started, Stopped, Deleted]);
}

pub async fn begin_with_the_subscription(h: &Harness) {
    let early = h.start("early", &["forever"]).await;
    let mut events = h.runtime.events().await.expect("events");
    h.runtime.remove_container(&early).await.expect("removed");
    let first = tokio::time::timeout(DEADLINE, events.next()).await.expect("an event").expect("no end");
    let first = first.expect("no error");
    assert_eq!((first.container_id, first.kind), (Some(early), RuntimeEventKind::Stopped));
}
