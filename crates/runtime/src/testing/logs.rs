//! Cases about logs.

#![allow(missing_docs)]

use futures::{StreamExt, TryStreamExt};

use super::{DEADLINE, Harness};
use crate::*;

/// Follows the log until this line appears.
pub async fn wait_for_line(h: &Harness, id: &ContainerId, text: &str) {
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut lines = h.runtime.container_logs(id, &options).await.expect("a log");
    let wait = async {
        while let Some(line) = lines.next().await {
            if line.expect("a line").bytes == format!("{text}\n") {
                return;
            }
        }
        panic!("the log ends without {text:?}");
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the line appears");
}

async fn read(h: &Harness, id: &ContainerId, options: LogOptions) -> Vec<LogLine> {
    let lines = h.runtime.container_logs(id, &options).await.expect("a log");
    tokio::time::timeout(DEADLINE, lines.try_collect()).await.expect("the log ends").expect("no error")
}

fn text(lines: &[LogLine]) -> String {
    lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
}

pub async fn have_both_streams_in_order(h: &Harness) {
    // The pause makes the order certain: a process has two pipes.
    let id = h.start("both", &["out=one", "sleep=100", "err=two", "sleep=100", "out=three"]).await;
    h.ended(&id).await;
    let lines = read(h, &id, LogOptions::default()).await;
    assert_eq!(text(&lines), "one\ntwo\nthree\n");
    use LogStreamKind::{Stderr, Stdout};
    assert_eq!(lines.iter().map(|line| line.stream).collect::<Vec<_>>(), [Stdout, Stderr, Stdout]);
    assert!(lines[0].timestamp < lines[1].timestamp);
    let errors = read(h, &id, LogOptions { stream: Some(Stderr), ..LogOptions::default() }).await;
    assert_eq!(text(&errors), "two\n");
}

pub async fn tail_limit_and_timestamps(h: &Harness) {
    let id = h.start("part", &["out=one", "out=two", "out=three"]).await;
    h.ended(&id).await;
    let tail = |lines| LogOptions { tail_lines: Some(lines), ..LogOptions::default() };
    assert_eq!(text(&read(h, &id, tail(2)).await), "two\nthree\n");
    assert_eq!(text(&read(h, &id, tail(0)).await), "");
    assert_eq!(text(&read(h, &id, tail(9)).await), "one\ntwo\nthree\n");
    let limited = LogOptions { limit_bytes: Some(6), ..LogOptions::default() };
    assert_eq!(text(&read(h, &id, limited).await), "one\ntw");
    let timed = read(h, &id, LogOptions { timestamps: true, ..tail(1) }).await;
    let (time, rest) = timed[0].bytes.split_at(30);
    assert_eq!(rest, b" three\n");
    let time: jiff::Timestamp = std::str::from_utf8(time).expect("text").parse().expect("a time");
    assert_eq!(time, timed[0].timestamp);
}

pub async fn since_leaves_out_what_is_older(h: &Harness) {
    let id = h.start("since", &["out=old", "sleep=150", "out=new"]).await;
    h.ended(&id).await;
    let all = read(h, &id, LogOptions::default()).await;
    let since = |time| LogOptions { since: Some(time), ..LogOptions::default() };
    assert_eq!(text(&read(h, &id, since(all[1].timestamp)).await), "new\n");
    assert_eq!(text(&read(h, &id, since(all[0].timestamp)).await), "old\nnew\n");
}

pub async fn follow_until_the_end(h: &Harness) {
    let id = h.start("follow", &["out=one", "sleep=300", "out=two", "sleep=300", "exit=2"]).await;
    let lines = read(h, &id, LogOptions { follow: true, ..LogOptions::default() }).await;
    assert_eq!(text(&lines), "one\ntwo\n");
    assert_eq!(h.ended(&id).await.exit_code, 2);
}

pub async fn follow_only_new_lines(h: &Harness) {
    let id = h.start("new", &["out=old", "sleep=500", "out=new", "sleep=100"]).await;
    wait_for_line(h, &id, "old").await;
    let options = LogOptions { follow: true, tail_lines: Some(0), ..LogOptions::default() };
    assert_eq!(text(&read(h, &id, options).await), "new\n");
}

pub async fn remain_after_the_end(h: &Harness) {
    let id = h.start("late", &["out=bye", "exit=1"]).await;
    h.ended(&id).await;
    let followed = read(h, &id, LogOptions { follow: true, ..LogOptions::default() }).await;
    assert_eq!(text(&followed), "bye\n");
    h.runtime.remove_container(&id).await.expect("removed");
}
