//! The embedded store under SIGKILL: what was acknowledged is there, revisions never go back, watches resume.
//!
//! The test runs itself as a child: several writers that print each acknowledgement. The parent kills the child at
//! random moments, opens the file, and compares with what it was told.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::StreamExt;
use storage::testing::{self, within};
use storage::{Embedded, Expect, HistoryLimit, Key, ListOptions, OpenOptions, Storage, Txn};

const KILLS: u32 = 210;
/// How many acknowledgements every other child lives for, however slow the machine is.
const ENOUGH: usize = 10;
/// How long it may take over them.
const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: u64 = 4;
const KEYS: u64 = 8;
/// Tells the child where the file is.
const CHILD: &str = "STORAGE_CRASH_CHILD";

fn options() -> OpenOptions {
    let mut options = OpenOptions::new(testing::clock());
    // Small, so that compaction is killed as well.
    options.history = HistoryLimit { events: 2_000, bytes: 1 << 20 };
    options
}

fn key(writer: u64, serial: u64) -> String {
    format!("/{writer}/{}", serial % KEYS)
}

fn counter(writer: u64) -> Key {
    Key::from(format!("/counter/{writer}"))
}

/// A value that tells its writer and serial number, and whose every byte follows from them.
fn value(writer: u64, serial: u64) -> Vec<u8> {
    let length = 20 + (serial * 37 + writer * 101) % 3_000;
    let mut value = format!("{writer} {serial} ").into_bytes();
    value.extend((0..length).map(|i| (i * 31 + serial) as u8));
    value
}

fn serial_of(value: &[u8]) -> u64 {
    let text = value.split(|byte| *byte == b' ').nth(1).expect("two numbers");
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

/// Not a test of its own: what the child does, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = Arc::new(Embedded::open(&PathBuf::from(path), options()).await.unwrap());
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn write(store: Arc<Embedded>, writer: u64) {
    let counter = counter(writer);
    let last = store.get(&counter).await.unwrap().item;
    let mut serial = last.map_or(0, |kv| serial_of(&kv.value));
    loop {
        serial += 1;
        let txn = Txn::new()
            .put(key(writer, serial), value(writer, serial), Expect::Any)
            .put(counter.clone(), value(writer, serial), Expect::Any)
            .delete(key(writer, serial + KEYS / 2), Expect::Any);
        let revision = store.commit(txn).await.unwrap().revision;
        let line = format!("\nack {writer} {serial} {revision}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

/// (writer, serial number, revision) of one acknowledgement.
type Ack = (u64, u64, u64);

/// Runs the child until it has acknowledged so much, and for a while, and kills it; returns what it acknowledged.
fn run_and_kill(path: &Path, enough: usize, after: Duration) -> Vec<Ack> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--quiet"])
        .env(CHILD, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let acks = BufReader::new(output).split(b'\n').filter_map(|line| parse(&line.unwrap()));
        // Nobody listens any more once there are enough.
        acks.inspect(|_| {
            let _ = tell.send(());
        })
        .collect::<Vec<_>>()
    });
    for _ in 0..enough {
        told.recv_timeout(PATIENCE).expect("an acknowledgement in time");
    }
    // The one wait here that is for nothing but time: the moment of the crash.
    std::thread::sleep(after);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && status.code().is_none(), "the child ended by itself: {status}");
    reader.join().unwrap()
}

/// Lines that the kill cut short have no revision or a blank end; the pipe gets each line in one write.
fn parse(line: &[u8]) -> Option<Ack> {
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("ack ")?;
    let numbers: Vec<u64> = rest.split(' ').map(|number| number.parse().unwrap()).collect();
    Some((numbers[0], numbers[1], numbers[2]))
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut newest = 1;
    let mut last: BTreeMap<u64, Ack> = BTreeMap::new();
    let mut total = 0;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = Duration::from_micros(1_000 + (random >> 33) % 140_000);
        // One while it may still open the file, one while it writes.
        let enough = if kill % 2 == 0 { 0 } else { ENOUGH };
        let acks = run_and_kill(&path, enough, after);
        total += acks.len();
        for ack in &acks {
            assert!(ack.2 > newest, "kill {kill}: revision {} was given before {newest}", ack.2);
            last.insert(ack.0, *ack);
        }
        newest = verify(&path, kill, newest, &acks, &mut last).await;
    }
    assert!(total > 500, "only {total} acknowledgements in {KILLS} kills");
}

/// Opens the file and compares; returns its revision.
async fn verify(path: &Path, kill: u32, before: u64, acks: &[Ack], last: &mut BTreeMap<u64, Ack>) -> u64 {
    let store = Embedded::open(path, options()).await.unwrap();
    let current = store.current_revision().await.unwrap();
    let told = acks.iter().map(|ack| ack.2).max().unwrap_or(before).max(before);
    assert!(current >= told, "kill {kill}: at {current}, but {told} was acknowledged");
    assert!(current <= told + WRITERS, "kill {kill}: at {current}, {told} was the last acknowledged");

    let page = store.list("/", ListOptions::default()).await.unwrap();
    let items: BTreeMap<_, _> = page.items.iter().map(|kv| (kv.key.to_string(), kv)).collect();
    for kv in &page.items {
        let writer = kv.key.split('/').find_map(|part| part.parse::<u64>().ok()).unwrap();
        let writer = if kv.key.starts_with("/counter/") {
            kv.key.rsplit('/').next().unwrap().parse().unwrap()
        } else {
            writer
        };
        assert!(kv.value == value(writer, serial_of(&kv.value)), "kill {kill}: {} is damaged", kv.key);
    }
    for (writer, (_, serial, revision)) in last.iter_mut() {
        let counter = items[counter(*writer).as_str()];
        let stored = serial_of(&counter.value);
        assert!(stored == *serial || stored == *serial + 1, "kill {kill}: {stored} after {serial}");
        if stored == *serial {
            assert_eq!(counter.mod_revision, *revision, "kill {kill}");
        }
        // One that was written but not acknowledged counts from now on: it was read.
        (*serial, *revision) = (stored, counter.mod_revision);
        // The other writes of the same transaction.
        let pair = items[&key(*writer, stored)];
        assert_eq!(
            (serial_of(&pair.value), pair.mod_revision),
            (stored, counter.mod_revision),
            "kill {kill}"
        );
        assert!(!items.contains_key(&key(*writer, stored + KEYS / 2)), "kill {kill}: half a transaction");
    }
    resume(&store, kill, acks, current).await;
    current
}

/// A watch from an acknowledged revision tells every later acknowledgement.
async fn resume(store: &Embedded, kill: u32, acks: &[Ack], current: u64) {
    let compacted = store.compacted_revision().await.unwrap();
    let kept: Vec<_> = acks.iter().filter(|ack| ack.2 >= compacted).collect();
    let Some((_, _, from)) = kept.get(kept.len() / 3) else { return };
    let mut watch = store.watch("/counter/", *from).await.unwrap();
    let (mut told, mut reached) = (BTreeMap::new(), *from);
    while reached < current {
        let batch = within(watch.next()).await.unwrap().unwrap();
        reached = batch.revision;
        for event in batch.events {
            told.insert(event.revision, serial_of(&event.value.expect("counters stay").value));
        }
    }
    for (_, serial, revision) in kept.into_iter().filter(|ack| ack.2 > *from) {
        assert_eq!(told.get(revision), Some(serial), "kill {kill}: revision {revision}");
    }
}
