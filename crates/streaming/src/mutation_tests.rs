//! Bytes that a hostile or broken peer could send: no panic, no hang, no unbounded memory.
//!
//! `PROPTEST_CASES` says how many cases each test tries.

use crate::channels::Encoding;
use crate::port_forward;
use crate::remote_command::{Options, SPDY_PROTOCOLS, ServerStreams, WEBSOCKET_PROTOCOLS};
use crate::spdy::frame::{Decoder, Encoder, Frame, Headers, MAX_CONTROL, MAX_DATA, MAX_HEADERS, ResetStatus};
use crate::upgrade::Transport;
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use testkit::mutation::{mutate, mutation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than anything may take; time is tokio's, paused.
const DEADLINE: Duration = Duration::from_secs(600);

fn headers() -> impl Strategy<Value = Headers> {
    let name = prop_oneof![
        Just("streamtype".to_owned()),
        Just("port".to_owned()),
        Just("requestid".to_owned()),
        "[a-z]{0,8}"
    ];
    let value = prop_oneof![
        prop::sample::select(vec!["error", "stdin", "stdout", "stderr", "resize", "data", "80", "1", "0"])
            .prop_map(str::to_owned),
        ".{0,40}"
    ];
    vec((name, value), 0..5).prop_map(Headers)
}

fn frame() -> impl Strategy<Value = Frame> {
    let id = || prop_oneof![4 => 1..12u32, 1 => any::<u32>().prop_map(|id| id & 0x7fff_ffff)];
    prop_oneof![
        4 => (id(), any::<bool>(), any::<bool>(), headers()).prop_map(|(id, fin, unidirectional, headers)| {
            Frame::SynStream { id, fin, unidirectional, headers }
        }),
        1 => (id(), any::<bool>(), headers()).prop_map(|(id, fin, headers)| Frame::SynReply { id, fin, headers }),
        1 => (id(), any::<bool>(), headers()).prop_map(|(id, fin, headers)| Frame::Headers { id, fin, headers }),
        1 => (id(), any::<u32>()).prop_map(|(id, status)| Frame::RstStream { id, status: ResetStatus(status) }),
        1 => vec((0..9u32, any::<u32>()), 0..4).prop_map(Frame::Settings),
        1 => any::<u32>().prop_map(Frame::Ping),
        1 => (id(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
        2 => (0..12u32, any::<u32>()).prop_map(|(id, delta)| Frame::WindowUpdate { id, delta }),
        4 => (id(), any::<bool>(), vec(any::<u8>(), 0..2000)).prop_map(|(id, fin, bytes)| Frame::Data {
            id,
            fin,
            bytes: bytes.into()
        }),
    ]
}

fn spdy_bytes() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (vec(frame(), 0..20), vec(mutation(), 0..6)).prop_map(|(frames, mutations)| {
        let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
        frames.iter().for_each(|frame| encoder.encode(frame, &mut out));
        mutate(out.to_vec(), &mutations)
    });
    prop_oneof![9 => mutated, 1 => vec(any::<u8>(), 0..500)]
}

/// A frame of WebSocket as a client sends it, masked with zeros or not at all.
fn websocket_frame(first: u8, masked: bool, length: Option<u64>, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mask = u8::from(masked) << 7;
    match length {
        Some(length) => {
            out.push(mask | 127);
            out.extend(length.to_be_bytes());
        }
        None if payload.len() < 126 => out.push(mask | payload.len() as u8),
        None => {
            out.push(mask | 126);
            out.extend((payload.len() as u16).to_be_bytes());
        }
    }
    if masked {
        out.extend([0; 4]);
    }
    out.extend(payload);
    out
}

fn websocket_bytes() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => Just(0x82), 3 => Just(0x81), 1 => Just(0x02), 1 => Just(0x80), 1 => Just(0x88), 1 => Just(0x89), 1 => any::<u8>()
    ];
    let payload = prop_oneof![
        (0..6u8, vec(any::<u8>(), 0..300)).prop_map(|(channel, rest)| [&[channel][..], &rest].concat()),
        (0..6u8, vec(any::<u8>(), 0..30)).prop_map(|(channel, rest)| [&[b'0' + channel][..], &rest].concat()),
        Just(b"\x04{\"Width\":80,\"Height\":24}".to_vec()),
        Just(b"4eyJXaWR0aCI6ODAsIkhlaWdodCI6MjR9".to_vec()),
        any::<u8>().prop_map(|channel| vec![255, channel]),
    ];
    let length = prop_oneof![9 => Just(None), 1 => any::<u64>().prop_map(Some)];
    let frame = (first, prop::bool::weighted(0.95), length, payload)
        .prop_map(|(first, masked, length, payload)| websocket_frame(first, masked, length, &payload));
    let mutated = (vec(frame, 0..12), vec(mutation(), 0..4))
        .prop_map(|(frames, mutations)| mutate(frames.concat(), &mutations));
    prop_oneof![9 => mutated, 1 => vec(any::<u8>(), 0..500)]
}

/// Runs on a paused clock, so that a hang is an end of time and not of patience.
fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let limited = async { tokio::time::timeout(DEADLINE, future).await };
    runtime.expect("a runtime").block_on(limited).expect("it hangs");
}

/// Sends bytes and then the end, reading whatever comes back.
async fn send(io: tokio::io::DuplexStream, bytes: Vec<u8>) {
    let (mut read, mut write) = tokio::io::split(io);
    let answers = tokio::spawn(async move { read.read_to_end(&mut Vec::new()).await });
    // The other side may hang up at any byte.
    let _sent = write.write_all(&bytes).await;
    let _ended = write.shutdown().await;
    let _answers = answers.await.expect("no panic");
}

/// A server that plays a command: echoes, then says how it ended.
async fn command(transport: Transport, protocol: &str, options: Options, bytes: Vec<u8>) {
    let (near, far) = tokio::io::duplex(256);
    let serve = async {
        let Ok(mut streams) = ServerStreams::over(Box::new(far), transport, protocol, options).await else {
            return;
        };
        let (stdin, stdout) = (streams.stdin.take(), streams.stdout.take());
        let mut sizes = streams.resize.take();
        let echo = async {
            if let (Some(mut stdin), Some(mut stdout)) = (stdin, stdout) {
                // The client may hang up at any byte.
                let _copied = tokio::io::copy(&mut stdin, &mut stdout).await;
            }
        };
        let resize = async { while let Some(_size) = async { sizes.as_mut()?.recv().await }.await {} };
        tokio::join!(echo, resize);
        let _told = streams.finish(crate::remote_command::Outcome::Exit(1)).await;
    };
    tokio::join!(serve, send(near, bytes));
}

proptest! {
    #[test]
    fn spdy_decoder(bytes in spdy_bytes(), chunk in 1..600usize) {
        let (mut decoder, mut source) = (Decoder::default(), BytesMut::new());
        'all: for piece in bytes.chunks(chunk) {
            source.extend_from_slice(piece);
            loop {
                let before = source.len();
                match decoder.decode(&mut source) {
                    Ok(Some(frame)) => {
                        prop_assert!(source.len() < before);
                        match frame {
                            Frame::Data { bytes, .. } => prop_assert!(bytes.len() <= MAX_DATA),
                            Frame::SynStream { headers, .. } | Frame::SynReply { headers, .. } | Frame::Headers { headers, .. } => {
                                let size: usize = headers.0.iter().map(|(k, v)| k.len() + v.len()).sum();
                                // Text that is none is three times as long as it was.
                                prop_assert!(size <= 3 * 2 * MAX_HEADERS);
                            }
                            _ => {}
                        }
                    }
                    // It never asks for more than the longest control frame.
                    Ok(None) => {
                        prop_assert!(source.len() < MAX_CONTROL + 8);
                        break;
                    }
                    Err(_) => break 'all,
                }
            }
        }
    }

    #[test]
    fn command_over_spdy(bytes in spdy_bytes(), protocol in prop::sample::select(&SPDY_PROTOCOLS[..]), tty: bool) {
        let options = Options { stdin: true, stdout: true, stderr: !tty, tty };
        run(command(Transport::Spdy, protocol, options, bytes));
    }

    #[test]
    fn command_over_websocket(bytes in websocket_bytes(), protocol in prop::sample::select(&WEBSOCKET_PROTOCOLS[..]), tty: bool) {
        let options = Options { stdin: true, stdout: true, stderr: !tty, tty };
        run(command(Transport::WebSocket, protocol, options, bytes));
    }

    #[test]
    fn ports_over_spdy(bytes in spdy_bytes()) {
        run(async {
            let (near, far) = tokio::io::duplex(256);
            tokio::join!(port_forward::serve_spdy(far, Arc::new(echo)), send(near, bytes));
        });
    }

    #[test]
    fn ports_over_websocket(bytes in websocket_bytes(), base64: bool) {
        let encoding = if base64 { Encoding::Base64 } else { Encoding::Binary };
        run(async {
            let (near, far) = tokio::io::duplex(256);
            tokio::join!(port_forward::serve_channels(Box::new(far), encoding, &[80, 443], Arc::new(echo)), send(near, bytes));
        });
    }

    #[test]
    fn spdy_within_websocket(bytes in spdy_bytes(), size in 1..400usize, mutations in vec(mutation(), 0..3)) {
        let frames: Vec<u8> = bytes.chunks(size).flat_map(|piece| websocket_frame(0x82, true, None, piece)).collect();
        run(async {
            let (near, far) = tokio::io::duplex(256);
            let tunnel = crate::websocket::ByteStream::new(crate::websocket::server(far).await);
            tokio::join!(port_forward::serve_spdy(tunnel, Arc::new(echo)), send(near, mutate(frames, &mutations)));
        });
    }
}

/// A port that sends back what it receives.
async fn echo(port: u16) -> Result<crate::BoxDuplex, String> {
    if port == 1 {
        return Err("connection refused".to_owned());
    }
    let (near, far) = tokio::io::duplex(64);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(far);
        let _copied = tokio::io::copy(&mut read, &mut write).await;
        let _ended = write.shutdown().await;
    });
    Ok(Box::new(near))
}

#[test]
fn a_length_that_never_comes_takes_no_memory() {
    // 4 GiB are announced; the limit of a message is found at once.
    let bytes = websocket_frame(0x82, true, Some(4 << 30), &[0; 100]);
    let options = Options { stdin: true, stdout: true, ..Options::default() };
    run(command(Transport::WebSocket, "v5.channel.k8s.io", options, bytes));
    // A data frame of 16 MiB comes out in pieces.
    let mut decoder = Decoder::default();
    let mut source = BytesMut::from(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 1, 2, 3][..]);
    let piece = Frame::Data { id: 1, fin: false, bytes: Bytes::from_static(&[1, 2, 3]) };
    assert_eq!(decoder.decode(&mut source), Ok(Some(piece)));
    assert!(source.is_empty());
}
