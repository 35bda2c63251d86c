//! Commands with streams, attached containers, connections to ports.

#![allow(missing_docs)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::{DEADLINE, Harness};
use crate::*;

/// Bytes that a command may be ahead of its reader.
const PIPE: usize = 4096;

fn steps(words: &[&str]) -> Vec<String> {
    std::iter::once("/steps").chain(words.iter().copied()).map(str::to_owned).collect()
}

fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(PIPE)
}

/// Everything until the end.
async fn all(mut pipe: DuplexStream) -> String {
    let mut text = String::new();
    tokio::time::timeout(DEADLINE, pipe.read_to_string(&mut text)).await.expect("in time").expect("text");
    text
}

pub async fn connect_a_command(h: &Harness) {
    let id = h.start("exec", &["forever"]).await;
    let ((stdout, out), (stderr, err)) = (pipe(), pipe());
    let streams = Streams { stdout: Some(Box::new(out)), stderr: Some(Box::new(err)), ..Streams::default() };
    let command = steps(&["out=hello", "err=oops", "terminal", "exit=3"]);
    let run = h.runtime.exec(&id, &command, streams);
    let (code, stdout, stderr) = tokio::join!(run, all(stdout), all(stderr));
    assert_eq!(code.expect("executed"), 3);
    assert_eq!((stdout.as_str(), stderr.as_str()), ("hello\nno terminal\n", "oops\n"));
    let code = h.runtime.exec(&id, &steps(&["out=unheard"]), Streams::default()).await;
    assert_eq!(code.expect("executed"), 0);
}

pub async fn end_input(h: &Harness) {
    let id = h.start("input", &["forever"]).await;
    let ((mut stdin, input), (stdout, out)) = (pipe(), pipe());
    let streams = Streams { stdin: Some(Box::new(input)), stdout: Some(Box::new(out)), ..Streams::default() };
    let write = async {
        stdin.write_all(b"one\ntwo\n").await.expect("written");
        drop(stdin);
    };
    let command = steps(&["copy", "out=end", "exit=0"]);
    let (code, stdout, ()) = tokio::join!(h.runtime.exec(&id, &command, streams), all(stdout), write);
    assert_eq!((code.expect("executed"), stdout.as_str()), (0, "one\ntwo\nend\n"));
}

pub async fn carry_a_terminal(h: &Harness) {
    let id = h.start("terminal", &["forever"]).await;
    let (stdout, out) = pipe();
    let (sizes, resize) = mpsc::channel(1);
    let streams =
        Streams { stdout: Some(Box::new(out)), tty: true, resize: Some(resize), ..Streams::default() };
    let send = async {
        for (width, height) in [(80, 24), (100, 40)] {
            sizes.send(TerminalSize { width, height }).await.expect("taken");
        }
    };
    let command = steps(&["terminal", "size=100x40", "err=also"]);
    let (code, stdout, ()) = tokio::join!(h.runtime.exec(&id, &command, streams), all(stdout), send);
    assert_eq!(code.expect("executed"), 0);
    let lines: Vec<_> = stdout.lines().map(str::trim_end).collect();
    assert_eq!(lines, ["terminal", "also"]);
}

pub async fn refuse_what_does_not_run(h: &Harness) {
    let id = h.start("refuse", &["forever"]).await;
    let (stdout, out) = pipe();
    let streams = Streams { stdout: Some(Box::new(out)), ..Streams::default() };
    let command = ["/no-such-command".to_owned()];
    let (missing, stdout) = tokio::join!(h.runtime.exec(&id, &command, streams), all(stdout));
    match missing {
        Err(Error::CannotStart { message, .. }) => assert!(message.contains("/no-such-command"), "{message}"),
        other => panic!("{other:?}, and the output {stdout:?}"),
    }
    assert_eq!(stdout, "");
    let unknown = ContainerId::from("0000000000000000000000000000000000000000000000000000000000000000");
    let answer = h.runtime.exec(&unknown, &steps(&[]), Streams::default()).await;
    assert!(answer.expect_err("unknown").is_not_found());
    let answer = h.runtime.attach(&unknown, Streams::default()).await;
    assert!(answer.expect_err("unknown").is_not_found());
    h.runtime.stop_container(&id, Duration::ZERO).await.expect("stopped");
    let late = h.runtime.exec(&id, &steps(&[]), Streams::default()).await;
    assert!(matches!(late, Err(Error::Invalid { .. })), "{late:?}");
    let late = h.runtime.attach(&id, Streams::default()).await;
    assert!(matches!(late, Err(Error::Invalid { .. })), "{late:?}");
}

pub async fn attach_until_the_end(h: &Harness) {
    let words = ["out=before", "sleep=1500", "out=after", "err=wrong", "exit=0"];
    let id = h.start("attach", &words).await;
    super::logs::wait_for_line(h, &id, "before").await;
    let ((stdout, out), (stderr, err)) = (pipe(), pipe());
    let streams = Streams { stdout: Some(Box::new(out)), stderr: Some(Box::new(err)), ..Streams::default() };
    let (end, stdout, stderr) = tokio::join!(h.runtime.attach(&id, streams), all(stdout), all(stderr));
    end.expect("attached");
    assert_eq!((stdout.as_str(), stderr.as_str()), ("after\n", "wrong\n"));
}

async fn exchange(h: &Harness, sandbox: &SandboxId, port: u16) {
    let mut connection = h.runtime.port_forward(sandbox, port).await.expect("connected");
    connection.write_all(b"ping").await.expect("written");
    let mut answer = [0; 4];
    connection.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"ping");
    connection.write_all(b"last").await.expect("written");
    connection.shutdown().await.expect("half closed");
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, connection.read_to_end(&mut rest))
        .await
        .expect("in time")
        .expect("an end");
    assert_eq!(rest, b"last");
}

pub async fn reach_a_port_of_loopback(h: &Harness) {
    let config = h.pod("served");
    let sandbox = h.sandbox(&config).await;
    let server = h.container("main", &["serve=8080", "out=ready", "forever"]);
    let id = h.start_in(&sandbox, &config, &server).await;
    super::logs::wait_for_line(h, &id, "ready").await;
    tokio::join!(exchange(h, &sandbox, 8080), exchange(h, &sandbox, 8080));
}

pub async fn report_a_closed_port(h: &Harness) {
    let config = h.pod("closed");
    let sandbox = h.sandbox(&config).await;
    match h.runtime.port_forward(&sandbox, 8081).await {
        Err(error) => assert!(error.to_string().contains("connection refused"), "{error}"),
        Ok(_) => panic!("nobody listens"),
    }
    let unknown = SandboxId::from("0000000000000000000000000000000000000000000000000000000000000000");
    match h.runtime.port_forward(&unknown, 8081).await {
        Err(error) => assert!(error.is_not_found(), "{error:?}"),
        Ok(_) => panic!("there is no such sandbox"),
    }
}

/// A command that nobody reads from waits; another one does not.
pub async fn keep_a_flood_apart(h: &Harness) {
    let id = h.start("flood", &["forever"]).await;
    let (unread, out) = pipe();
    let flood: Vec<String> = (0..2000).map(|n| format!("out={n:0100}")).collect();
    let words: Vec<&str> = flood.iter().map(String::as_str).collect();
    let command = steps(&words);
    let streams = Streams { stdout: Some(Box::new(out)), ..Streams::default() };
    let flooding = h.runtime.exec(&id, &command, streams);
    let other = async {
        let (stdout, out) = pipe();
        let streams = Streams { stdout: Some(Box::new(out)), ..Streams::default() };
        let command = steps(&["out=through"]);
        let (code, text) = tokio::join!(h.runtime.exec(&id, &command, streams), all(stdout));
        assert_eq!((code.expect("executed"), text.as_str()), (0, "through\n"));
        assert_eq!(all(unread).await.lines().count(), 2000);
    };
    let (code, ()) = tokio::join!(flooding, other);
    assert_eq!(code.expect("executed"), 0);
}
