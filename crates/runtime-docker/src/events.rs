//! `events`: the engine's events of this profile.
//!
//! Contract: the subscription starts at the engine's own present time, so what happens while it is being set up is not
//! lost. The stream ends with an error when the engine stops or restarts.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use runtime::{Error, EventStream, Result, RuntimeEvent, RuntimeEventKind, StringMap, labels as pod_labels};

use crate::client::DockerRuntime;
use crate::{error, labels};

impl DockerRuntime {
    pub(crate) async fn subscribe(&self) -> Result<EventStream> {
        let info = self.client.info().await.map_err(error::other("info"))?;
        let now: Timestamp = info
            .system_time
            .and_then(|time| time.parse().ok())
            .ok_or(Error::Other { operation: "info", message: "no system time".to_owned() })?;
        let mut filters = labels::filter(&self.config, None, &StringMap::new());
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        filters.insert("type".to_owned(), list(&["container"]));
        filters.insert("event".to_owned(), list(&["create", "start", "die", "oom", "destroy"]));
        let since = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
        let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
        let events = self.client.events(Some(options)).map(|event| event.map_err(error::other("events")));
        let ended = Error::Unavailable { message: "the engine closed its event stream".to_owned() };
        let translated = events.filter_map(|event| std::future::ready(event.map(translate).transpose()));
        Ok(translated.chain(stream::once(std::future::ready(Err(ended)))).boxed())
    }
}

fn translate(event: EventMessage) -> Option<RuntimeEvent> {
    let kind = match event.action.as_deref()? {
        "create" => RuntimeEventKind::Created,
        "start" => RuntimeEventKind::Started,
        "die" => RuntimeEventKind::Stopped,
        "oom" => RuntimeEventKind::OomKilled,
        "destroy" => RuntimeEventKind::Deleted,
        _ => return None,
    };
    let actor = event.actor?;
    let attributes: HashMap<String, String> = actor.attributes.unwrap_or_default();
    let id = actor.id?;
    let is_sandbox = attributes.get(labels::TYPE).is_some_and(|kind| kind == labels::TYPE_SANDBOX);
    let attribute = |key: &str| attributes.get(key).cloned().unwrap_or_default();
    let nanoseconds = event.time_nano.map(i128::from);
    Some(RuntimeEvent {
        kind,
        sandbox_id: if is_sandbox { id.as_str().into() } else { attribute(labels::SANDBOX_ID).into() },
        container_id: (!is_sandbox).then(|| id.into()),
        pod_uid: attribute(pod_labels::POD_UID),
        exit_code: attributes.get("exitCode").and_then(|code| code.parse().ok()),
        time: nanoseconds.and_then(|n| Timestamp::from_nanosecond(n).ok()).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::EventActor;

    #[test]
    fn tells_sandboxes_from_containers() {
        let event = |attributes: &[(&str, &str)]| EventMessage {
            action: Some("die".into()),
            actor: Some(EventActor {
                id: Some("x".into()),
                attributes: Some(attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
            }),
            time_nano: Some(1_500_000_000),
            ..Default::default()
        };
        let sandbox =
            translate(event(&[(labels::TYPE, "podsandbox"), (pod_labels::POD_UID, "u")])).expect("ours");
        assert_eq!((sandbox.container_id, sandbox.sandbox_id.as_str()), (None, "x"));
        let container = translate(event(&[(labels::SANDBOX_ID, "s"), ("exitCode", "3")])).expect("ours");
        assert_eq!((container.sandbox_id.as_str(), container.exit_code), ("s", Some(3)));
        assert_eq!(container.container_id.expect("a container").as_str(), "x");
    }
}
