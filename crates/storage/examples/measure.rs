//! Prints what the embedded store costs here: commits a second, time to open, memory.
//!
//! Run it with `cargo run --release -p storage --features testing --example measure`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use storage::testing;
use storage::{Embedded, Expect, ListOptions, OpenOptions, Storage, Txn};

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("RssAnon")).collect()
}

async fn open(path: &Path) -> Embedded {
    let start = Instant::now();
    let store = Embedded::open(path, OpenOptions::new(testing::clock())).await.unwrap();
    println!("open {}: {:?} {}", path.display(), start.elapsed(), resident());
    store
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if let Some(path) = std::env::args().nth(1) {
        open(Path::new(&path)).await;
        return;
    }
    let folder = tempfile::tempdir_in(".").unwrap();
    let path = folder.path().join("store");
    let store = Arc::new(open(&path).await);
    let value = vec![7_u8; 2_000];
    let put = |key: String| store.commit(Txn::new().put(key, value.clone(), Expect::Any));

    let start = Instant::now();
    for i in 0..1_000 {
        put(format!("/one/{i}")).await.unwrap();
    }
    println!("one writer: {:.0} commits/s", 1_000.0 / start.elapsed().as_secs_f64());
    let reopen = |copy: &str| {
        let copy = folder.path().join(copy);
        std::fs::copy(&path, &copy).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert!(std::process::Command::new(exe).arg(copy).status().unwrap().success());
    };
    reopen("crashed-1000");

    let mut watch = store.watch("/", store.current_revision().await.unwrap()).await.unwrap();
    let mut latencies = Vec::new();
    for i in 0..500 {
        let revision = put(format!("/one/{i}")).await.unwrap().revision;
        let start = Instant::now();
        while watch.next().await.unwrap().unwrap().revision < revision {}
        latencies.push(start.elapsed());
    }
    latencies.sort();
    println!("watch after commit: p50 {:?} p99 {:?}", latencies[250], latencies[495]);

    let start = Instant::now();
    let tasks: Vec<_> = (0..32)
        .map(|writer| {
            let (store, value) = (store.clone(), value.clone());
            tokio::spawn(async move {
                for i in 0..300 {
                    let txn = Txn::new().put(format!("/many/{writer}/{i}"), value.clone(), Expect::Any);
                    store.commit(txn).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("32 writers: {:.0} commits/s", 9_600.0 / start.elapsed().as_secs_f64());
    reopen("crashed-10600");

    let start = Instant::now();
    let page = store.list("/", ListOptions::default()).await.unwrap();
    println!("list {}: {:?} {}", page.items.len(), start.elapsed(), resident());
    drop(page);
    println!("file: {} bytes; {}", std::fs::metadata(&path).unwrap().len(), resident());
    store.close().await.unwrap();
    reopen("closed-10600");
}
