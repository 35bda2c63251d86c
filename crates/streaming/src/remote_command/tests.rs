//! Both sides against each other, in every protocol.

use super::{
    ClientStreams, Options, Outcome, SPDY_PROTOCOLS, ServerStreams, TerminalSize, WEBSOCKET_PROTOCOLS,
    connect,
};
use crate::upgrade::{Connected, Transport};
use futures::StreamExt;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

const DEADLINE: Duration = Duration::from_secs(60);

fn protocols() -> impl Iterator<Item = (Transport, &'static str)> {
    let websocket = WEBSOCKET_PROTOCOLS.into_iter().map(|name| (Transport::WebSocket, name));
    websocket.chain(SPDY_PROTOCOLS.into_iter().map(|name| (Transport::Spdy, name)))
}

async fn connected(transport: Transport, protocol: &str, options: Options) -> (ServerStreams, ClientStreams) {
    let (near, far) = tokio::io::duplex(1000);
    let server = ServerStreams::over(Box::new(far), transport, protocol, options);
    let connection = Connected { transport, protocol: protocol.to_owned(), io: Box::new(near) };
    let (server, client) = tokio::join!(server, connect(connection, &options));
    (server.expect("streams"), client.expect("streams"))
}

async fn all(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut text = String::new();
    if let Some(mut stream) = stream {
        stream.read_to_string(&mut text).await.expect("text");
    }
    text
}

/// What the older protocols can say of an outcome.
fn as_text(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Success => Outcome::Success,
        other => Outcome::failure(other.to_text()),
    }
}

/// A failure is worded by the server.
fn as_status(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Failure(_) => as_text(outcome),
        other => other.clone(),
    }
}

#[tokio::test]
async fn every_protocol_carries_a_command() {
    let options = Options { stdin: true, stdout: true, stderr: true, tty: false };
    for (transport, protocol) in protocols() {
        let with_status = protocol.starts_with('v') && protocol >= "v4";
        for outcome in [Outcome::Success, Outcome::Exit(42), Outcome::internal("no such file")] {
            let (mut server, mut client) = connected(transport, protocol, options).await;
            let (mut stdin, said) = (client.stdin.take().expect("input"), outcome.clone());
            let work = async move {
                let mut line = [0; 6];
                server.stdin.as_mut().expect("input").read_exact(&mut line).await.expect("read");
                server.stdout.as_mut().expect("output").write_all(&line).await.expect("written");
                server.stdout.as_mut().expect("output").write_all(&[b'x'; 50_000]).await.expect("written");
                server.stderr.as_mut().expect("output").write_all(b"careful").await.expect("written");
                server.finish(said).await.expect("finished");
            };
            let ask = async {
                stdin.write_all(b"hello\n").await.expect("written");
                let (stdout, stderr) = (all(client.stdout), all(client.stderr));
                tokio::join!(stdout, stderr, client.outcome)
            };
            let both = async { tokio::join!(work, ask).1 };
            let (stdout, stderr, got) = tokio::time::timeout(DEADLINE, both).await.expect("in time");
            let case = format!("{transport:?} {protocol}");
            assert_eq!(
                (stdout.len(), &stdout[..6], stderr.as_str()),
                (50_006, "hello\n", "careful"),
                "{case}"
            );
            let expected = if with_status { as_status(&outcome) } else { as_text(&outcome) };
            assert_eq!(got.expect("an outcome"), expected, "{case}");
        }
    }
}

#[tokio::test]
async fn sizes_and_the_end_of_input_arrive() {
    let options = Options { stdin: true, stdout: true, stderr: true, tty: true };
    for (transport, protocol) in protocols() {
        let case = format!("{transport:?} {protocol}");
        let (mut server, mut client) = connected(transport, protocol, options).await;
        assert!(client.stderr.is_none(), "{case}");
        let size = TerminalSize { width: 120, height: 50 };
        match (&mut client.resize, &mut server.resize) {
            (Some(sizes), Some(resize)) => {
                sizes.send(size).await.expect("taken");
                assert_eq!(resize.recv().await, Some(size), "{case}");
            }
            (None, None) => assert!(["v2.channel.k8s.io", "channel.k8s.io"].contains(&protocol), "{case}"),
            _ => panic!("{case}: one side only"),
        }
        // Before v5 a WebSocket channel cannot be closed by itself.
        if transport == Transport::Spdy || protocol.starts_with("v5") {
            let mut stdin = client.stdin.take().expect("input");
            stdin.write_all(b"bye").await.expect("written");
            stdin.shutdown().await.expect("shut down");
            let input = tokio::time::timeout(DEADLINE, all(server.stdin.take())).await.expect("in time");
            assert_eq!(input, "bye", "{case}");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed() {
    let options = Options { stdin: true, stdout: true, stderr: false, tty: false };
    for (transport, protocol) in protocols() {
        let (mut server, client) = connected(transport, protocol, options).await;
        drop(client);
        let noticed = async {
            assert_eq!(all(server.stdin.take()).await, "");
            (&mut server.gone).await;
        };
        let case = format!("{transport:?} {protocol}");
        tokio::time::timeout(DEADLINE, noticed).await.unwrap_or_else(|_| panic!("{case}: not noticed"));
    }
}

#[tokio::test]
async fn a_lost_server_is_an_error() {
    let options = Options { stdout: true, ..Options::default() };
    for (transport, protocol) in
        [(Transport::WebSocket, "v5.channel.k8s.io"), (Transport::Spdy, "v4.channel.k8s.io")]
    {
        let (server, client) = connected(transport, protocol, options).await;
        drop(server);
        let (text, outcome) = tokio::join!(all(client.stdout), client.outcome);
        assert_eq!(text, "");
        outcome.expect_err("there was no status");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_too_little_is_given_up() {
    let (near, far) = tokio::io::duplex(1000);
    let (connection, _incoming) = crate::spdy::Connection::client(near);
    let options = Options { stdout: true, ..Options::default() };
    let server = ServerStreams::over(Box::new(far), Transport::Spdy, "v4.channel.k8s.io", options);
    let open = async {
        let error = connection.open(crate::spdy::Headers::new([("streamType", "error")])).await;
        error.expect("taken")
    };
    let (server, _error) = tokio::join!(server, open);
    assert!(matches!(server.err(), Some(crate::Error::StreamsTimeout)));
}

/// kubectl takes any other close for a failure.
#[tokio::test]
async fn a_websocket_is_closed_normally() {
    let (near, far) = tokio::io::duplex(1000);
    let options = Options { stdout: true, ..Options::default() };
    let server = ServerStreams::over(Box::new(far), Transport::WebSocket, "v5.channel.k8s.io", options);
    let finish = async { server.await.expect("streams").finish(Outcome::Exit(7)).await.expect("finished") };
    let read = async {
        let mut socket = crate::websocket::client(near).await;
        let mut last = None;
        while let Some(Ok(message)) = socket.next().await {
            last = Some(message);
        }
        last
    };
    let ((), last) = tokio::join!(finish, read);
    assert_eq!(last, Some(crate::websocket::normal_closure()));
}

#[test]
fn reads_the_kubelets_query() {
    let read = |pairs: &[(&'static str, &'static str)]| Options::from_query(pairs.iter().copied());
    let all = Options { stdin: true, stdout: true, stderr: true, tty: false };
    assert_eq!(read(&[("input", "1"), ("output", "1"), ("error", "1"), ("command", "x")]), Ok(all));
    let terminal = Options { stdout: true, tty: true, ..Options::default() };
    assert_eq!(read(&[("output", "1"), ("error", "1"), ("tty", "1")]), Ok(terminal));
    let nothing = "you must specify at least 1 of stdin, stdout, stderr";
    assert_eq!(read(&[("output", "true"), ("tty", "1")]), Err(nothing.to_owned()));
}
