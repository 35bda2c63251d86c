//! Checks of lists: order, prefixes, pages, the past.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{delete, put, text};
use crate::{Error, Expect, ListOptions, Page, Revision, Storage, Txn};

async fn list(store: &Arc<dyn Storage>, prefix: &str) -> Page {
    store.list(prefix, ListOptions::default()).await.expect("list")
}

fn keys(page: &Page) -> Vec<&str> {
    page.items.iter().map(|kv| kv.key.as_str()).collect()
}

fn at(revision: Revision) -> ListOptions {
    ListOptions { revision: Some(revision), ..ListOptions::default() }
}

/// The order of bytes, however they were written.
pub async fn lists_in_the_order_of_keys(store: Arc<dyn Storage>) {
    let mut written = ["/b", "/a/b", "/a", "/ab", "/a/", "/é", "/a/a", "/A", "/z"];
    for key in written {
        put(&store, key, key).await;
    }
    written.sort_unstable();
    let page = list(&store, "").await;
    assert_eq!(keys(&page), written);
    assert!(page.items.iter().all(|kv| text(kv) == kv.key.as_str()));
    assert_eq!((page.revision, page.remaining), (10, 0));
}

/// A prefix is exactly what begins with it.
pub async fn prefixes_are_isolated(store: Arc<dyn Storage>) {
    for key in ["/pods/a", "/pods/b", "/podsets/a", "/pod", "/pods", "/pods0", "/po\u{ffff}"] {
        put(&store, key, "x").await;
    }
    assert_eq!(keys(&list(&store, "/pods/").await), ["/pods/a", "/pods/b"]);
    assert_eq!(keys(&list(&store, "/podsets/").await), ["/podsets/a"]);
    assert_eq!(keys(&list(&store, "/po\u{ffff}").await), ["/po\u{ffff}"]);
    assert_eq!(keys(&list(&store, "/none/").await), Vec::<&str>::new());
    delete(&store, "/pods/a").await;
    assert_eq!(keys(&list(&store, "/pods/").await), ["/pods/b"]);
}

/// `remaining` counts what comes after the page, and 0 may be asked for.
pub async fn counts_what_a_page_leaves_out(store: Arc<dyn Storage>) {
    let all = (0..10).fold(Txn::new(), |txn, i| txn.put(format!("/n/{i}"), "x", Expect::Any));
    store.commit(all.put("/o", "x", Expect::Any)).await.expect("put");
    let cases = [
        (None, Some(0), 0, 10),
        (None, Some(3), 3, 7),
        (Some("/n/2"), Some(3), 3, 4),
        (Some("/n/6"), Some(3), 3, 0),
        (Some("/n/6"), None, 3, 0),
        (Some("/n/9"), Some(3), 0, 0),
        (Some("/a"), Some(3), 3, 7),
        (Some("/n/55"), Some(9), 4, 0),
    ];
    for (after, limit, items, remaining) in cases {
        let options = ListOptions { start_after: after.map(Into::into), limit, revision: None };
        let page = store.list("/n/", options).await.expect("list");
        assert_eq!((page.items.len(), page.remaining), (items, remaining), "{after:?} {limit:?}");
        assert_eq!(page.more(), remaining > 0);
    }
}

/// All pages tell one state, the one of the first page.
pub async fn pages_of_one_revision_agree_while_writers_run(store: Arc<dyn Storage>) {
    for i in 0..40 {
        put(&store, &format!("/p/{i:03}"), "before").await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                put(&store, &format!("/p/{:03}", i % 80), "after").await;
                delete(&store, &format!("/p/{:03}", (i * 7) % 80)).await;
                i += 1;
            }
        })
    };
    for _ in 0..10 {
        let whole = list(&store, "/p/").await;
        let mut paged = Vec::new();
        let mut options =
            ListOptions { limit: Some(7), revision: Some(whole.revision), ..ListOptions::default() };
        loop {
            let page = store.list("/p/", options.clone()).await.expect("page");
            assert_eq!(page.revision, whole.revision);
            paged.extend(page.items.iter().cloned());
            assert_eq!(page.remaining, whole.items.len() - paged.len());
            if !page.more() {
                break;
            }
            options.start_after = paged.last().map(|kv| kv.key.clone());
        }
        assert_eq!(paged, whole.items);
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("writer");
}

/// Every revision that is kept can be read, deletions included.
pub async fn lists_the_past(store: Arc<dyn Storage>) {
    let mut expected = vec![(1, Vec::new())];
    for i in 0..12_u32 {
        let key = format!("/p/{}", i % 4);
        if i % 3 == 2 {
            delete(&store, &key).await
        } else {
            put(&store, &key, &i.to_string()).await
        };
        let page = list(&store, "/p/").await;
        expected.push((page.revision, page.items));
    }
    put(&store, "/q", "foreign").await;
    for (revision, items) in &expected {
        let page = store.list("/p/", at(*revision)).await.expect("list");
        assert_eq!((page.revision, &page.items), (*revision, items));
    }
}

/// What has not happened and what is forgotten are different errors.
pub async fn refuses_the_future_and_the_compacted(store: Arc<dyn Storage>) {
    for i in 0..10 {
        put(&store, "/a", &i.to_string()).await;
    }
    match store.list("/", at(20)).await.expect_err("the future") {
        Error::FutureRevision { requested, current } => assert_eq!((requested, current), (20, 11)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.compact(20).await, Err(Error::FutureRevision { .. })));
    store.compact(6).await.expect("compact");
    assert_eq!(store.compacted_revision().await.expect("compacted"), 6);
    match store.list("/", at(5)).await.expect_err("the past") {
        Error::Compacted { requested, compacted } => assert_eq!((requested, compacted), (5, 6)),
        other => panic!("{other:?}"),
    }
    for revision in 6..=11 {
        let page = store.list("/", at(revision)).await.expect("kept");
        assert_eq!(page.items[0].mod_revision, revision);
    }
    store.compact(3).await.expect("compacting less is nothing");
    assert_eq!(store.compacted_revision().await.expect("compacted"), 6);
    assert_eq!(list(&store, "/").await.items.len(), 1);
}
