//! A disk that is full: the commit fails and says so, and the store goes on once there is space.
//!
//! The test runs itself as a child with a limit on the size of its files, which fails writes in the same place.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use storage::testing;
use storage::{Embedded, Error, Expect, Key, ListOptions, OpenOptions, Storage, Txn};

const CHILD: &str = "STORAGE_FULL_DISK_CHILD";

#[test]
fn a_full_disk_fails_the_commit_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // The signal of the limit is ignored, so that the write fails instead; exec keeps that.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, folder.path().join("store"))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

/// Not a test of its own: what the child does.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let options = || OpenOptions::new(testing::clock());
    let store = Embedded::open(&path, options()).await.unwrap();
    let put = async |i: u32| {
        let txn = Txn::new().put(format!("/{i:05}"), vec![i as u8; 20_000], Expect::Absent);
        store.commit(txn).await.map(|committed| committed.revision)
    };
    limit_files(Some(3 << 20));
    let mut written = 0;
    let error = loop {
        match put(written).await {
            Ok(revision) => {
                written += 1;
                assert_eq!(revision, u64::from(written) + 1);
            }
            Err(error) => break error,
        }
        assert!(written < 1_000, "the limit has no effect");
    };
    assert!(matches!(error, Error::Full), "{error:?}");
    for _ in 0..3 {
        assert!(matches!(put(written).await, Err(Error::Full)));
        let page = store.list("/", ListOptions::default()).await.unwrap();
        assert_eq!((page.items.len() as u32, page.revision), (written, u64::from(written) + 1));
    }
    limit_files(None);
    for i in written..written + 50 {
        assert_eq!(put(i).await.unwrap(), u64::from(i) + 2, "no revision was used up");
    }
    drop(store);
    let store = Embedded::open(&path, options()).await.unwrap();
    assert_eq!(store.current_revision().await.unwrap(), u64::from(written) + 51);
    let last = store.get(&Key::from(format!("/{written:05}"))).await.unwrap().item.unwrap();
    assert_eq!(last.value, vec![written as u8; 20_000]);
}
