//! What only a real engine can show of streams: input of a container, the ways to a port, counted use.

mod support;

use std::time::Duration;

use runtime::testing::{self, DEADLINE, Harness};
use runtime::*;
use support::{config, harness, harness_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Waits for a line of the log.
async fn ready(h: &Harness, id: &ContainerId) {
    testing::logs::wait_for_line(h, id, "ready").await;
}

/// Sends something, half closes, and reads it back to the end.
async fn echoed(mut connection: BoxDuplex) {
    connection.write_all(b"ping").await.expect("written");
    connection.shutdown().await.expect("half closed");
    let mut answer = String::new();
    let read = connection.read_to_string(&mut answer);
    tokio::time::timeout(DEADLINE, read).await.expect("in time").expect("an answer");
    assert_eq!(answer, "ping");
}

#[tokio::test]
async fn an_attached_container_reads_its_input_once() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let pod = h.pod("input");
            let sandbox = h.sandbox(&pod).await;
            let mut container = h.container("main", &["out=ready", "copy", "exit=4"]);
            (container.stdin, container.stdin_once) = (true, true);
            let id = h.start_in(&sandbox, &pod, &container).await;
            ready(h, &id).await;
            let (mut stdout, out) = tokio::io::duplex(1024);
            let input: &[u8] = b"typed\n";
            let streams =
                Streams { stdin: Some(Box::new(input)), stdout: Some(Box::new(out)), ..Streams::default() };
            let mut text = String::new();
            let (end, read) = tokio::join!(h.runtime.attach(&id, streams), stdout.read_to_string(&mut text));
            end.expect("attached");
            read.expect("text");
            assert_eq!(text, "typed\n");
            assert_eq!(h.ended(&id).await.exit_code, 4);
        })
    })
    .await;
}

#[tokio::test]
async fn a_terminal_echoes_and_is_resized() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let pod = h.pod("tty");
            let sandbox = h.sandbox(&pod).await;
            let mut container = h.container("main", &["out=ready", "size=90x30", "out=resized", "copy"]);
            (container.stdin, container.tty) = (true, true);
            let id = h.start_in(&sandbox, &pod, &container).await;
            ready_on_terminal(h, &id).await;
            let (mut stdout, out) = tokio::io::duplex(1024);
            let (mut stdin, input) = tokio::io::duplex(1024);
            let (sizes, resize) = tokio::sync::mpsc::channel(1);
            let streams = Streams {
                stdin: Some(Box::new(input)),
                stdout: Some(Box::new(out)),
                tty: true,
                resize: Some(resize),
                ..Streams::default()
            };
            let mut text = String::new();
            let talk = async {
                sizes.send(TerminalSize { width: 90, height: 30 }).await.expect("taken");
                while !text.contains("resized") {
                    let mut piece = [0; 64];
                    let n = stdout.read(&mut piece).await.expect("output");
                    text.push_str(&String::from_utf8_lossy(&piece[..n]));
                }
                stdin.write_all(b"typed\n\x04").await.expect("written");
                stdout.read_to_string(&mut text).await.expect("text");
            };
            let (end, ()) = tokio::join!(h.runtime.attach(&id, streams), talk);
            end.expect("attached");
            // Once by the terminal, once by the program.
            assert_eq!(text.matches("typed\r\n").count(), 2, "{text:?}");
        })
    })
    .await;
}

/// A terminal ends lines with a carriage return.
async fn ready_on_terminal(h: &Harness, id: &ContainerId) {
    testing::logs::wait_for_line(h, id, "ready\r").await;
}

#[tokio::test]
async fn every_way_leads_to_a_listener_on_loopback() {
    let (docker, harness) = harness_with(config()).await;
    testing::run(harness, |h| {
        Box::pin(async move {
            for (name, network, port) in
                [("own", NamespaceMode::Pod, 8080), ("shared", NamespaceMode::Node, free_port())]
            {
                let mut pod = h.pod(name);
                pod.namespaces.network = network;
                let sandbox = h.sandbox(&pod).await;
                let serve = format!("serve={port}");
                let server = h.container("main", &[&serve, "out=ready", "forever"]);
                let id = h.start_in(&sandbox, &pod, &server).await;
                ready(h, &id).await;
                echoed(docker.port_forward(&sandbox, port).await.expect("connected")).await;
                echoed(docker.connect_by_pause(&sandbox, port).await.expect("connected")).await;
                // A connection that is dropped leaves nothing behind that would hold up the next.
                drop(docker.connect_by_pause(&sandbox, port).await.expect("connected"));
                echoed(docker.connect_by_pause(&sandbox, port).await.expect("connected")).await;
                for refused in
                    [docker.port_forward(&sandbox, 1).await, docker.connect_by_pause(&sandbox, 1).await]
                {
                    match refused {
                        Err(error) => assert!(error.to_string().ends_with("connection refused"), "{error}"),
                        Ok(_) => panic!("nobody listens on port 1"),
                    }
                }
            }
        })
    })
    .await;
}

/// A port of this machine that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

#[tokio::test]
async fn counts_what_is_used() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let pod = h.pod("busy");
            let sandbox = h.sandbox(&pod).await;
            let steps = ["write=/file", "burn=300", "out=ready", "forever"];
            let id = h.start_in(&sandbox, &pod, &h.container("main", &steps)).await;
            ready(h, &id).await;
            let filter = ContainerFilter { id: Some(id), ..ContainerFilter::default() };
            let stats = h.runtime.container_stats(&filter, StatsDetail::Filesystems).await.expect("stats");
            let [stats] = &stats[..] else { panic!("one container: {stats:?}") };
            assert!(stats.cpu_nanos > Duration::from_millis(100).as_nanos() as u64, "{stats:?}");
            assert!(stats.memory.working_set > 0 && stats.memory.rss > 0, "{stats:?}");
            assert!(stats.rootfs.as_ref().is_some_and(|usage| usage.used_bytes > 0), "{stats:?}");
            assert!(stats.logs.as_ref().is_some_and(|usage| usage.used_bytes > 0), "{stats:?}");
        })
    })
    .await;
}
