//! Frames there and back; connections against each other, and against a peer without flow control, as Go's is.

use super::frame::{Decoder, Encoder, Frame, Headers, MAX_DATA, ResetStatus};
use super::state::{MAX_STREAMS, WINDOW};
use super::{Connection, Incoming, Stream};
use crate::Error;
use bytes::{Bytes, BytesMut};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const DEADLINE: Duration = Duration::from_secs(60);

fn named(name: &str) -> Headers {
    Headers::new([("streamType", name)])
}

fn every_frame() -> Vec<Frame> {
    let headers = Headers::new([("streamType", "error"), ("port", "80"), ("x", "")]);
    vec![
        Frame::Settings(vec![(7, 1000), (4, 2)]),
        Frame::SynStream { id: 1, fin: false, unidirectional: true, headers: headers.clone() },
        Frame::SynReply { id: 1, fin: true, headers: Headers::default() },
        Frame::Data { id: 1, fin: false, bytes: Bytes::from_static(b"some data") },
        Frame::Headers { id: 1, fin: false, headers },
        Frame::Ping(3),
        Frame::WindowUpdate { id: 1, delta: 77 },
        Frame::RstStream { id: 1, status: ResetStatus::CANCEL },
        Frame::Data { id: 5, fin: true, bytes: Bytes::new() },
        Frame::GoAway { last: 1, status: 2 },
    ]
}

fn encode(frames: &[Frame]) -> BytesMut {
    let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
    frames.iter().for_each(|frame| encoder.encode(frame, &mut out));
    out
}

#[test]
fn frames_go_there_and_back_whatever_the_pieces() {
    let frames = every_frame();
    let bytes = encode(&frames);
    for size in [1, 3, 17, bytes.len()] {
        let (mut decoder, mut source, mut got) = (Decoder::default(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(size) {
            source.extend_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut source).expect("a frame") {
                match (got.last_mut(), frame) {
                    // Pieces of one frame.
                    (
                        Some(Frame::Data { id, fin, bytes }),
                        Frame::Data { id: same, fin: end, bytes: more },
                    ) if *id == same && !*fin => {
                        *bytes = [&bytes[..], &more[..]].concat().into();
                        *fin = end;
                    }
                    (_, frame) => got.push(frame),
                }
            }
        }
        assert_eq!(got, frames, "in pieces of {size}");
    }
}

/// The first bytes that a Go client sends to open a stream: the zlib header names the dictionary.
#[test]
fn header_blocks_are_those_of_the_specification() {
    let bytes =
        encode(&[Frame::SynStream { id: 1, fin: false, unidirectional: false, headers: named("error") }]);
    assert_eq!(&bytes[..4], [0x80, 3, 0, 1]);
    let block = &bytes[18..];
    // FDICT is set, and the dictionary's checksum follows.
    assert_eq!((block[0], block[1] & 0x20, &block[2..6]), (0x78, 0x20, &[0xe3, 0xc6, 0xa7, 0xc2][..]));
}

#[test]
fn skips_unknown_frames_and_refuses_wrong_ones() {
    let decode = |bytes: &[u8]| Decoder::default().decode(&mut BytesMut::from(bytes));
    let unknown = [&[0x80, 3, 0, 99, 0, 0, 0, 2, 1, 1][..], &encode(&[Frame::Ping(9)])].concat();
    assert_eq!(decode(&unknown), Ok(Some(Frame::Ping(9))));
    for wrong in [
        &[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1][..], // version 2
        &[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0],           // too short
        &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 0],     // ping 0
        &[0, 0, 0, 0, 0, 0, 0, 0],                    // data of stream 0
        &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff],        // 16 MiB of headers
        &[0x80, 3, 0, 4, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], // four thousand million settings
        &[0x80, 3, 0, 8, 0, 0, 0, 8, 0, 0, 0, 1, 1, 2, 3, 4], // no zlib
    ] {
        assert!(decode(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_header_block_that_grows_too_much_is_refused() {
    let bomb = Headers::new([("x", "y".repeat(5 << 20).as_str())]);
    let mut bytes = encode(&[Frame::Headers { id: 1, fin: false, headers: bomb }]);
    assert!(bytes.len() < 64 * 1024, "{} bytes are too many to get that far", bytes.len());
    assert!(Decoder::default().decode(&mut bytes).is_err());
}

fn pair() -> (Connection, Incoming, Connection, Incoming) {
    let (near, far) = tokio::io::duplex(4096);
    let (client, from_server) = Connection::client(near);
    let (server, from_client) = Connection::server(far);
    (client, from_server, server, from_client)
}

async fn opened(client: &Connection, incoming: &mut Incoming, name: &str) -> (Stream, Stream) {
    let take = async {
        let new = incoming.next().await.expect("a stream");
        assert_eq!(new.headers().get("StreamType"), Some(name));
        new.accept()
    };
    let (near, far) = tokio::join!(client.open(named(name)), take);
    (near.expect("taken"), far)
}

#[tokio::test]
async fn streams_carry_bytes_and_end_each_way() {
    let (client, _none, server, mut incoming) = pair();
    let (mut near, mut far) = opened(&client, &mut incoming, "data").await;
    let (mut other_near, mut other_far) = opened(&client, &mut incoming, "other").await;
    assert_eq!((near.id(), other_far.id()), (1, 3));
    let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    let send = async {
        near.write_all(&bytes).await.expect("written");
        near.shutdown().await.expect("shut down");
        near.write_all(b"x").await.expect_err("after the end");
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.expect("an answer");
        answer
    };
    let receive = async {
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("all");
        far.write_all(b"thanks").await.expect("written after the other's end");
        far.shutdown().await.expect("shut down");
        got
    };
    let (answer, got) = tokio::join!(send, receive);
    assert!(got == bytes && answer == b"thanks");
    other_far.write_all(b"hi").await.expect("written");
    let mut hi = [0; 2];
    other_near.read_exact(&mut hi).await.expect("read");
    server.ping().await.expect("an answer");
    client.ping().await.expect("an answer");
}

#[tokio::test]
async fn what_was_written_arrives_before_the_end() {
    let (client, none, server, mut incoming) = pair();
    let (mut near, mut far) = opened(&client, &mut incoming, "last").await;
    let write = async move {
        far.write_all(&[7; 100_000]).await.expect("written");
        far.shutdown().await.expect("shut down");
        drop((far, server, incoming));
    };
    let read = async {
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.expect("all");
        got.len()
    };
    assert_eq!(tokio::join!(write, read).1, 100_000);
    client.closed().await;
    assert!(matches!(client.open(named("late")).await, Err(Error::Closed)));
    drop(none);
}

#[tokio::test]
async fn drops_reset_and_refusals_are_told() {
    let (client, _none, _server, mut incoming) = pair();
    let (mut near, far) = opened(&client, &mut incoming, "dropped").await;
    drop(far);
    assert_eq!(near.read(&mut [0; 8]).await.expect("an end"), 0);
    near.write_all(b"x").await.expect_err("reset");
    let refuse = async { drop(incoming.next().await.expect("a stream")) };
    let (refused, ()) = tokio::join!(client.open(named("refused")), refuse);
    assert!(matches!(refused, Err(Error::Reset)));
    drop(incoming);
    assert!(matches!(client.open(named("unheard")).await, Err(Error::Reset)));
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_up_no_other() {
    let (client, _none, _server, mut incoming) = pair();
    let (mut stuck, mut unread) = opened(&client, &mut incoming, "stuck").await;
    let (mut near, mut far) = opened(&client, &mut incoming, "free").await;
    // The windows are known once a ping has been answered.
    client.ping().await.expect("an answer");
    let total = 3 * WINDOW;
    let flood = tokio::spawn(async move {
        stuck.write_all(&vec![1; total]).await.expect("written");
        stuck.shutdown().await.expect("shut down");
        stuck
    });
    let exchange = async {
        for _ in 0..20 {
            near.write_all(&[2; 20_000]).await.expect("written");
            let mut got = vec![0; 20_000];
            far.read_exact(&mut got).await.expect("read");
        }
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("not held up");
    assert!(!flood.is_finished(), "more was sent than the window lets through");
    let mut got = Vec::new();
    tokio::time::timeout(DEADLINE, unread.read_to_end(&mut got)).await.expect("in time").expect("all");
    assert_eq!(got.len(), total);
    flood.await.expect("no panic");
}

/// Reads one frame.
async fn next(decoder: &mut Decoder, source: &mut BytesMut, io: &mut DuplexStream) -> Frame {
    loop {
        if let Some(frame) = decoder.decode(source).expect("a frame") {
            return frame;
        }
        let read = tokio::time::timeout(DEADLINE, io.read_buf(source)).await.expect("in time");
        assert_ne!(read.expect("bytes"), 0, "the connection ended");
    }
}

/// Go's client neither announces nor obeys windows: nothing stops us but the transport, and nothing it but us.
#[tokio::test]
async fn a_peer_without_flow_control_is_held_back_by_the_transport() {
    let (mut peer, far) = tokio::io::duplex(4096);
    let (_server, mut incoming) = Connection::server(far);
    let (mut encoder, mut decoder, mut source) = (Encoder::default(), Decoder::default(), BytesMut::new());
    let mut out = BytesMut::new();
    encoder.encode(
        &Frame::SynStream { id: 1, fin: false, unidirectional: false, headers: named("x") },
        &mut out,
    );
    peer.write_all(&out).await.expect("written");
    let mut stream = incoming.next().await.expect("a stream").accept();

    // More than any window toward it.
    let sent = 4 * 64 * 1024;
    let write = async {
        stream.write_all(&vec![5; sent]).await.expect("written");
        stream
    };
    let read = async {
        let mut got = 0;
        while got < sent {
            if let Frame::Data { bytes, .. } = next(&mut decoder, &mut source, &mut peer).await {
                got += bytes.len();
            }
        }
    };
    let (mut stream, ()) = tokio::join!(write, read);

    // More than our buffers take: the write ends only when the stream is read.
    let mut out = BytesMut::new();
    let piece = Bytes::from(vec![6; MAX_DATA]);
    let pieces = 4 * WINDOW / MAX_DATA;
    for _ in 0..pieces {
        encoder.encode(&Frame::Data { id: 1, fin: false, bytes: piece.clone() }, &mut out);
    }
    let mut writing = tokio::spawn(async move {
        peer.write_all(&out).await.expect("written");
        peer
    });
    tokio::time::timeout(Duration::from_millis(300), &mut writing).await.expect_err("nothing stopped it");
    let mut got = vec![0; pieces * MAX_DATA];
    stream.read_exact(&mut got).await.expect("all");
    writing.await.expect("no panic");
}

#[tokio::test]
async fn too_many_streams_are_refused() {
    let (client, _none, _server, mut incoming) = pair();
    let mut kept = Vec::new();
    for _ in 0..MAX_STREAMS {
        kept.push(opened(&client, &mut incoming, "one").await);
    }
    assert!(matches!(client.open(named("more")).await, Err(Error::Reset)));
    kept.pop();
    // Its reset has arrived when a later ping is answered.
    client.ping().await.expect("an answer");
    kept.push(opened(&client, &mut incoming, "again").await);
}

#[tokio::test]
async fn a_lost_transport_ends_everything() {
    let (near, far) = tokio::io::duplex(64);
    let (client, _incoming) = Connection::client(near);
    let opening = client.open(named("x"));
    let lose = async { drop(far) };
    let (opened, ()) = tokio::join!(opening, lose);
    assert!(opened.is_err());
    client.closed().await;
    client.ping().await.expect_err("closed");
}
