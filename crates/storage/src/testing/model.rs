//! Writers at random, and a model that a watch must agree with.
//!
//! Every writer notes what it was acknowledged. The watch replays into a plain map, which checks each previous value.
//! In the end there are three tellings of the same history - notes, events, lists at old revisions - and they agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::events_until;
use crate::{Error, Event, Expect, Key, KeyValue, ListOptions, Op, Revision, Storage, Txn};

const WRITERS: u64 = 6;
const TRANSACTIONS: usize = 60;
const KEYS: u64 = 12;

/// xorshift: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What one writer was told: revision → the operations of that transaction.
type Notes = BTreeMap<Revision, Vec<Op>>;

async fn write_at_random(store: Arc<dyn Storage>, writer: u64) -> Notes {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (writer + 1));
    let mut notes = Notes::new();
    let mut serial = 0;
    while notes.len() < TRANSACTIONS {
        let mut txn = Txn::new();
        let first = numbers.below(KEYS);
        for i in 0..=numbers.below(3) {
            let key = Key::from(format!("/{}/{}", ["p", "q"][(first % 2) as usize], (first + i) % KEYS));
            let seen = store.get(&key).await.expect("get").item;
            let expect = match (numbers.below(3), &seen) {
                (0, _) => Expect::Any,
                (_, None) => Expect::Absent,
                (_, Some(kv)) => Expect::ModRevision(kv.mod_revision),
            };
            serial += 1;
            txn = match numbers.below(4) {
                0 => txn.delete(key, expect),
                _ => txn.put(key, format!("{writer}-{serial}"), expect),
            };
        }
        match store.commit(txn.clone()).await {
            Ok(committed) if committed.changed => {
                let ops = txn.ops.into_iter().map(|(op, _)| op).collect();
                assert!(notes.insert(committed.revision, ops).is_none(), "a revision twice");
            }
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    notes
}

fn replay(state: &mut BTreeMap<Key, KeyValue>, event: &Event) {
    assert_eq!(state.get(&event.key), event.prev.as_ref(), "{event:?}");
    match &event.value {
        Some(kv) => {
            assert_eq!((&kv.key, kv.mod_revision), (&event.key, event.revision));
            let created = event.prev.as_ref().map_or(event.revision, |prev| prev.create_revision);
            assert_eq!(kv.create_revision, created, "{event:?}");
            state.insert(event.key.clone(), kv.clone());
        }
        None => {
            assert!(state.remove(&event.key).is_some(), "deleted what was not there: {event:?}");
        }
    }
}

/// What a transaction should have been seen to do, given that deleting nothing is no event.
fn agrees(op: &Op, events: &[&Event]) -> bool {
    let event = events.iter().find(|event| event.key == *op.key());
    let value = event.and_then(|event| event.value.as_ref()).map(|kv| kv.value.clone());
    match op {
        Op::Put { value: written, .. } => value.as_ref() == Some::<&Bytes>(written),
        Op::Delete { .. } => value.is_none(),
    }
}

/// Notes, events, and lists of the past tell the same history.
pub async fn random_writers_agree_with_the_model(store: Arc<dyn Storage>) {
    let mut live = store.watch("/", 1).await.expect("watch");
    let tasks: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write_at_random(store.clone(), writer))).collect();
    let mut notes = Notes::new();
    for task in tasks {
        for (revision, ops) in task.await.expect("writer") {
            assert!(notes.insert(revision, ops).is_none(), "revision {revision} was given twice");
        }
    }
    let last = store.current_revision().await.expect("revision");
    assert_eq!(notes.keys().copied().collect::<Vec<_>>(), (2..=last).collect::<Vec<_>>(), "no gaps");

    let events = events_until(&mut live, last).await;
    let mut state = BTreeMap::new();
    for revision in 2..=last {
        let now: Vec<_> = events.iter().filter(|event| event.revision == revision).collect();
        assert!(now.len() <= notes[&revision].len());
        assert!(notes[&revision].iter().all(|op| agrees(op, &now)), "{:?} told {now:?}", notes[&revision]);
        now.iter().for_each(|event| replay(&mut state, event));
        if revision % 16 == 0 || revision == last {
            let options = ListOptions { revision: Some(revision), ..ListOptions::default() };
            let page = store.list("/", options).await.expect("list");
            assert_eq!(page.items, state.values().cloned().collect::<Vec<_>>(), "at {revision}");
        }
    }
    let mut one = store.watch("/q/", 1).await.expect("watch");
    let of_q: Vec<_> = events.into_iter().filter(|event| event.key.starts_with("/q/")).collect();
    assert_eq!(events_until(&mut one, last).await, of_q);
}
