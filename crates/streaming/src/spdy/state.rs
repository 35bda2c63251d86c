//! What the tasks of a connection and its streams share.
//!
//! **Contract**: every method is synchronous and leaves the state consistent; who waits is woken. Buffers are bounded:
//! [`OUTPUT`] bytes toward the peer for the connection, [`WINDOW`] bytes from the peer for each of [`MAX_STREAMS`]
//! streams.

use super::frame::{Frame, Headers, MAX_DATA, ResetStatus, SETTING_INITIAL_WINDOW};
use bytes::{Buf, Bytes};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;
use tokio::sync::{Notify, oneshot, watch};

/// Bytes that wait to be sent.
pub(super) const OUTPUT: usize = 256 * 1024;
/// Bytes that the peer may send on a stream ahead of its reader.
pub(super) const WINDOW: usize = 128 * 1024;
/// Streams of the peer at a time. More are refused.
pub(super) const MAX_STREAMS: usize = 512;
/// A peer's window before it says otherwise (section 2.6.8).
const DEFAULT_WINDOW: i64 = 64 * 1024;
/// What the peer may send on the whole connection beyond the default: streams bound it anyhow.
const CONNECTION_CREDIT: u32 = 1 << 30;
/// Frames without data that wait to be sent: pings, resets. A peer that causes more is not read from.
const MAX_QUEUE: usize = 4096;

/// Which side of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

impl Role {
    /// The parity of what this side numbers.
    fn first_id(self) -> u32 {
        match self {
            Self::Client => 1,
            Self::Server => 2,
        }
    }
}

/// State, and who is to be woken when it changes.
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is something to send, or nothing ever will be.
    pub(super) output: Notify,
    /// A full stream has been read from, or the queue of output has shrunk.
    pub(super) room: Notify,
    /// Every handle is dropped.
    pub(super) closing: Notify,
    /// The connection has ended, or the peer says that it will.
    pub(super) gone: watch::Sender<bool>,
}

pub(super) struct State {
    role: Role,
    streams: HashMap<u32, StreamState>,
    output: VecDeque<Frame>,
    output_bytes: usize,
    output_wakers: Vec<Waker>,
    next_id: u32,
    next_ping: u32,
    pings: HashMap<u32, oneshot::Sender<()>>,
    /// The newest stream of the peer.
    last_received: u32,
    /// The peer obeys windows and updates ours.
    peer_flow: bool,
    peer_initial_window: i64,
    send_window: i64,
    /// Bytes received since the peer was last given credit for the connection.
    received: u32,
    peer_gone_away: bool,
    /// All handles are dropped.
    closing: bool,
    /// Nothing will be read or written any more.
    closed: bool,
}

/// What has become of a stream that this side opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Waiting,
    Open,
    Reset,
}

struct StreamState {
    input: VecDeque<Bytes>,
    input_bytes: usize,
    /// Bytes read since the peer was last given credit.
    consumed: usize,
    send_window: i64,
    remote_fin: bool,
    local_fin: bool,
    reset: bool,
    opening: Opening,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
}

impl StreamState {
    fn new(send_window: i64, opening: Opening) -> Self {
        Self {
            input: VecDeque::new(),
            input_bytes: 0,
            consumed: 0,
            send_window,
            remote_fin: false,
            local_fin: false,
            reset: false,
            opening,
            read_waker: None,
            write_waker: None,
        }
    }

    fn wake(&mut self) {
        for waker in [self.read_waker.take(), self.write_waker.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// What the reading task does next.
pub(super) enum Next {
    Continue,
    /// The peer opened a stream.
    Opened(u32, Headers),
    /// Nothing is read until there is room.
    Full,
    /// The peer broke the rules.
    Broken(&'static str),
}

impl Shared {
    pub(super) fn new(role: Role) -> Self {
        let mut state = State {
            role,
            streams: HashMap::new(),
            output: VecDeque::new(),
            output_bytes: 0,
            output_wakers: Vec::new(),
            next_id: role.first_id(),
            next_ping: role.first_id(),
            pings: HashMap::new(),
            last_received: 0,
            peer_flow: false,
            peer_initial_window: DEFAULT_WINDOW,
            send_window: DEFAULT_WINDOW,
            received: 0,
            peer_gone_away: false,
            closing: false,
            closed: false,
        };
        state.output.push_back(Frame::Settings(vec![(SETTING_INITIAL_WINDOW, WINDOW as u32)]));
        state.output.push_back(Frame::WindowUpdate { id: 0, delta: CONNECTION_CREDIT });
        Self {
            state: Mutex::new(state),
            output: Notify::new(),
            room: Notify::new(),
            closing: Notify::new(),
            gone: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, state: &mut State, frame: Frame) {
        state.push(frame);
        self.output.notify_one();
    }

    /// Opens a stream; none: the connection takes no new ones.
    pub(super) fn open(&self, headers: Headers) -> Option<u32> {
        let mut state = self.lock();
        if state.closed || state.closing || state.peer_gone_away || state.next_id > 0x7fff_fffd {
            return None;
        }
        let id = state.next_id;
        state.next_id += 2;
        let stream = StreamState::new(state.peer_initial_window, Opening::Waiting);
        state.streams.insert(id, stream);
        self.push(&mut state, Frame::SynStream { id, fin: false, unidirectional: false, headers });
        Some(id)
    }

    /// Whether the peer has answered.
    pub(super) fn poll_opened(&self, context: &Context<'_>, id: u32) -> Poll<Opening> {
        let mut state = self.lock();
        let closed = state.closed;
        let Some(stream) = state.streams.get_mut(&id) else { return Poll::Ready(Opening::Reset) };
        match stream.opening {
            Opening::Waiting if !closed => {
                stream.read_waker = Some(context.waker().clone());
                Poll::Pending
            }
            Opening::Waiting => Poll::Ready(Opening::Reset),
            answered => Poll::Ready(answered),
        }
    }

    /// Takes a stream of the peer.
    pub(super) fn reply(&self, id: u32) {
        let mut state = self.lock();
        if state.streams.get(&id).is_some_and(|stream| !stream.reset) {
            self.push(&mut state, Frame::SynReply { id, fin: false, headers: Headers::default() });
        }
    }

    /// A number for a ping and what tells of its answer.
    pub(super) fn ping(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if !state.closed {
            let id = state.next_ping;
            state.next_ping = state.next_ping.wrapping_add(2);
            state.pings.insert(id, sender);
            self.push(&mut state, Frame::Ping(id));
        }
        receiver
    }

    pub(super) fn poll_read(&self, context: &Context<'_>, id: u32, buffer: &mut ReadBuf<'_>) -> Poll<()> {
        let mut state = self.lock();
        let (closed, peer_flow) = (state.closed, state.peer_flow);
        let Some(stream) = state.streams.get_mut(&id) else { return Poll::Ready(()) };
        let Some(front) = stream.input.front_mut() else {
            if stream.remote_fin || stream.reset || closed {
                return Poll::Ready(());
            }
            stream.read_waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let n = front.len().min(buffer.remaining());
        buffer.put_slice(&front[..n]);
        front.advance(n);
        if front.is_empty() {
            stream.input.pop_front();
        }
        stream.input_bytes -= n;
        stream.consumed += n;
        if peer_flow && stream.consumed >= WINDOW / 2 && !stream.remote_fin {
            let delta = std::mem::take(&mut stream.consumed) as u32;
            self.push(&mut state, Frame::WindowUpdate { id, delta });
        }
        self.room.notify_one();
        Poll::Ready(())
    }

    /// Err: the stream or the connection takes no more.
    pub(super) fn poll_write(&self, context: &Context<'_>, id: u32, bytes: &[u8]) -> Poll<Result<usize, ()>> {
        let mut state = self.lock();
        let State { streams, closed, closing, output_bytes, output_wakers, peer_flow, send_window, .. } =
            &mut *state;
        let Some(stream) = streams.get_mut(&id) else { return Poll::Ready(Err(())) };
        if *closed || *closing || stream.local_fin || stream.reset {
            return Poll::Ready(Err(()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if *output_bytes >= OUTPUT {
            if !output_wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                output_wakers.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        let mut n = bytes.len().min(MAX_DATA);
        if *peer_flow {
            let window = stream.send_window.min(*send_window);
            if window <= 0 {
                stream.write_waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            n = n.min(usize::try_from(window).unwrap_or(n));
        }
        stream.send_window -= n as i64;
        *send_window -= n as i64;
        let bytes = Bytes::copy_from_slice(&bytes[..n]);
        self.push(&mut state, Frame::Data { id, fin: false, bytes });
        Poll::Ready(Ok(n))
    }

    /// No more will be written.
    pub(super) fn shutdown(&self, id: u32) {
        let mut state = self.lock();
        let Some(stream) = state.streams.get_mut(&id) else { return };
        if !stream.local_fin && !stream.reset {
            stream.local_fin = true;
            self.push(&mut state, Frame::Data { id, fin: true, bytes: Bytes::new() });
        }
    }

    /// The stream's handle is dropped, or the stream is refused.
    pub(super) fn release(&self, id: u32, status: ResetStatus) {
        let mut state = self.lock();
        let Some(stream) = state.streams.remove(&id) else { return };
        if !(stream.reset || stream.local_fin && stream.remote_fin) {
            self.push(&mut state, Frame::RstStream { id, status });
        }
        self.room.notify_one();
    }

    /// Every handle is dropped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        let last = state.last_received;
        self.push(&mut state, Frame::GoAway { last, status: 0 });
        self.closing.notify_one();
    }

    /// The transport is gone: everyone who waits learns it.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.pings.clear();
        state.streams.values_mut().for_each(StreamState::wake);
        state.output_wakers.drain(..).for_each(Waker::wake);
        self.gone.send_replace(true);
        self.output.notify_one();
        self.room.notify_one();
    }

    /// The frames to send now. None: nothing will ever be sent again.
    pub(super) fn take_output(&self) -> Option<VecDeque<Frame>> {
        let mut state = self.lock();
        if state.closed || state.closing && state.output.is_empty() {
            return None;
        }
        let taken = std::mem::take(&mut state.output);
        state.output_bytes = 0;
        state.output_wakers.drain(..).for_each(Waker::wake);
        self.room.notify_one();
        Some(taken)
    }

    /// Applies a frame of the peer.
    pub(super) fn receive(&self, frame: Frame) -> Next {
        let mut state = self.lock();
        match frame {
            Frame::SynStream { id, fin, headers, .. } => {
                return self.receive_stream(&mut state, id, fin, headers);
            }
            Frame::SynReply { id, fin, .. } => {
                if let Some(stream) = state.streams.get_mut(&id) {
                    stream.opening = Opening::Open;
                    stream.remote_fin |= fin;
                    stream.wake();
                }
            }
            Frame::Headers { id, fin, .. } => {
                if let Some(stream) = state.streams.get_mut(&id) {
                    stream.remote_fin |= fin;
                    stream.wake();
                }
            }
            Frame::RstStream { id, .. } => {
                if let Some(stream) = state.streams.get_mut(&id) {
                    stream.reset = true;
                    if stream.opening == Opening::Waiting {
                        stream.opening = Opening::Reset;
                    }
                    stream.wake();
                }
            }
            Frame::Data { id, fin, bytes } => return self.receive_data(&mut state, id, fin, bytes),
            Frame::Settings(settings) => {
                for (_, value) in settings.into_iter().filter(|(key, _)| *key == SETTING_INITIAL_WINDOW) {
                    let value = i64::from(value & 0x7fff_ffff);
                    let change = value - state.peer_initial_window;
                    state.peer_initial_window = value;
                    state.peer_flow = true;
                    for stream in state.streams.values_mut() {
                        stream.send_window += change;
                        stream.wake();
                    }
                }
            }
            Frame::WindowUpdate { id, delta } => {
                state.peer_flow = true;
                let State { streams, send_window, .. } = &mut *state;
                if id == 0 {
                    *send_window = (*send_window + i64::from(delta)).min(i64::from(u32::MAX));
                    streams.values_mut().for_each(StreamState::wake);
                } else if let Some(stream) = streams.get_mut(&id) {
                    stream.send_window = (stream.send_window + i64::from(delta)).min(i64::from(u32::MAX));
                    stream.wake();
                }
            }
            Frame::Ping(id) => {
                if id % 2 != state.role.first_id() % 2 {
                    self.push(&mut state, Frame::Ping(id));
                } else if let Some(waiting) = state.pings.remove(&id) {
                    // Nobody may wait any more.
                    let _gone = waiting.send(());
                }
            }
            Frame::GoAway { .. } => {
                state.peer_gone_away = true;
                self.gone.send_replace(true);
            }
        }
        if state.output.len() > MAX_QUEUE { Next::Full } else { Next::Continue }
    }

    fn receive_stream(&self, state: &mut State, id: u32, fin: bool, headers: Headers) -> Next {
        if id % 2 == state.role.first_id() % 2 || id <= state.last_received {
            return Next::Broken("stream id out of order");
        }
        state.last_received = id;
        let theirs = state.streams.keys().filter(|known| **known % 2 == id % 2).count();
        if state.closing || theirs >= MAX_STREAMS {
            self.push(state, Frame::RstStream { id, status: ResetStatus::REFUSED_STREAM });
            return if state.output.len() > MAX_QUEUE { Next::Full } else { Next::Continue };
        }
        let mut stream = StreamState::new(state.peer_initial_window, Opening::Open);
        stream.remote_fin = fin;
        state.streams.insert(id, stream);
        Next::Opened(id, headers)
    }

    fn receive_data(&self, state: &mut State, id: u32, fin: bool, bytes: Bytes) -> Next {
        if state.peer_flow {
            state.received += bytes.len() as u32;
            if state.received >= CONNECTION_CREDIT / 2 {
                let delta = std::mem::take(&mut state.received);
                self.push(state, Frame::WindowUpdate { id: 0, delta });
            }
        }
        // Of a stream that is gone here: the peer was told, or will be.
        let Some(stream) = state.streams.get_mut(&id) else { return Next::Continue };
        if stream.remote_fin || stream.reset {
            return Next::Continue;
        }
        if !bytes.is_empty() {
            stream.input_bytes += bytes.len();
            merge(&mut stream.input, bytes);
        }
        stream.remote_fin |= fin;
        if let Some(waker) = stream.read_waker.take() {
            waker.wake();
        }
        if stream.input_bytes > WINDOW { Next::Full } else { Next::Continue }
    }

    /// Whether there is room to read on.
    pub(super) fn has_room(&self) -> bool {
        let state = self.lock();
        let fits = |stream: &StreamState| stream.input_bytes <= WINDOW;
        state.closed || state.closing || state.output.len() <= MAX_QUEUE && state.streams.values().all(fits)
    }
}

impl State {
    fn push(&mut self, frame: Frame) {
        if let Frame::Data { bytes, .. } = &frame {
            self.output_bytes += bytes.len();
        }
        self.output.push_back(frame);
    }
}

/// Small pieces go together, so that a million one-byte frames do not take a million allocations.
fn merge(input: &mut VecDeque<Bytes>, bytes: Bytes) {
    const SMALL: usize = 1024;
    match input.back_mut() {
        Some(last) if last.len() + bytes.len() <= SMALL => {
            let mut joined = Vec::with_capacity(last.len() + bytes.len());
            joined.extend_from_slice(last);
            joined.extend_from_slice(&bytes);
            *last = joined.into();
        }
        // A slice would keep alive all that it was received with.
        _ => input.push_back(Bytes::copy_from_slice(&bytes)),
    }
}
