//! A watch over all of etcd, of which the caller sees one prefix.
//!
//! **Contract:** the whole keyspace is watched and foreign keys become progress, because etcd before 3.4.25 may answer
//! a progress request ahead of the events that it speaks of. A broken connection is made again, from the last
//! revision that was delivered; the reader does not notice. Only `Compacted` and closing the store end the stream.
//! etcd watches from the revision after `from`, but promises less of the compacted revision itself: deletions are
//! left out (before 3.4.36), and changes come without the values that they replaced. So the watch begins one revision
//! earlier, and a change without its old value counts as compacted.
//!
//! **Upstream:** etcd issues 15220 and 19179; `k8s.io/apiserver/pkg/storage/etcd3/event.go`, which refuses the same
//! events.

use std::time::Duration;

use etcd_client::{EventType, WatchClient, WatchOptions, WatchResponse};
use futures::StreamExt;
use tokio::sync::watch::Receiver;

use super::{failure, key_value, signed, unsigned};
use crate::{Batch, Error, Event, Key, Result, Revision, WatchStream};

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

struct Reader {
    client: WatchClient,
    connection: Option<etcd_client::WatchStream>,
    root: String,
    prefix: String,
    from: Revision,
    retry: Duration,
    ended: bool,
}

/// The stream of a watch.
pub(super) fn stream(
    client: WatchClient,
    root: String,
    prefix: String,
    from: Revision,
    closed: Receiver<bool>,
) -> WatchStream {
    let reader = Reader { client, connection: None, root, prefix, from, retry: FIRST_RETRY, ended: false };
    futures::stream::unfold((reader, closed), |(mut reader, mut closed)| async move {
        let item = tokio::select! {
            item = reader.next() => item,
            _ = closed.wait_for(|closed| *closed) => None,
        };
        item.map(|item| (item, (reader, closed)))
    })
    .boxed()
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Batch>> {
        loop {
            if self.ended {
                return None;
            }
            let item = match self.receive().await {
                Ok(Some(response)) => self.accept(&response),
                Ok(None) => Err("the connection was closed".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match item {
                Ok(None) => {}
                Ok(Some(item)) => {
                    self.retry = FIRST_RETRY;
                    self.ended = item.is_err();
                    return Some(item);
                }
                Err(reason) => {
                    tracing::warn!(reason, revision = self.from, "etcd watch is interrupted");
                    self.connection = None;
                    tokio::time::sleep(self.retry).await;
                    self.retry = (self.retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<WatchResponse>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let options = WatchOptions::new()
                    .with_all_keys()
                    .with_prev_key()
                    .with_start_revision(signed(self.from.max(1)));
                let opened = self.client.watch(vec![0], Some(options)).await;
                none.insert(opened.map_err(|error| failure::error("watch", error))?)
            }
        };
        connection.message().await.map_err(|error| failure::error("watch", error))
    }

    /// What a message means: an item of the stream, nothing, or (an error) that the watch must be made again.
    fn accept(&mut self, response: &WatchResponse) -> std::result::Result<Option<Result<Batch>>, String> {
        if response.compact_revision() > 0 {
            let compacted = unsigned(response.compact_revision());
            return Ok(Some(Err(Error::Compacted { requested: self.from, compacted })));
        }
        if response.canceled() {
            return Err(response.cancel_reason().to_owned());
        }
        let Some(last) = response.events().last().and_then(|event| event.kv()) else { return Ok(None) };
        let events =
            match response.events().iter().filter_map(|event| self.event(event).transpose()).collect() {
                Ok(events) => events,
                Err(compacted) => return Ok(Some(Err(compacted))),
            };
        self.from = self.from.max(unsigned(last.mod_revision()));
        Ok(Some(Ok(Batch { revision: self.from, events })))
    }

    /// One of our changes after `from`; `None` if it is another.
    fn event(&self, event: &etcd_client::Event) -> Result<Option<Event>> {
        let Some(kv) = event.kv() else { return Ok(None) };
        let Some(key) = kv.key().strip_prefix(self.root.as_bytes()) else { return Ok(None) };
        let Some(key) = std::str::from_utf8(key).ok().filter(|key| key.starts_with(&self.prefix)) else {
            return Ok(None);
        };
        let revision = unsigned(kv.mod_revision());
        if revision <= self.from {
            return Ok(None);
        }
        let (value, made) = match event.event_type() {
            EventType::Put => (key_value(&self.root, kv), kv.create_revision() == kv.mod_revision()),
            EventType::Delete => (None, false),
        };
        let prev = event.prev_kv().and_then(|prev| key_value(&self.root, prev));
        if prev.is_none() && !made {
            return Err(Error::Compacted { requested: self.from, compacted: revision });
        }
        Ok(Some(Event { key: Key::from(key), revision, value, prev }))
    }
}
