//! The newest log lines of every crate of this process, in memory, for those who ask a component for its log.
//!
//! **Contract**: a crate's oldest lines give way to new ones; a line is kept as it was written, with its number among all
//! lines and its time.

use crate::Clock;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of text that are kept of a crate.
const KEPT: usize = 128 << 10;

/// The newest lines; clones share them.
#[derive(Clone, Debug)]
pub struct Tail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    crates: Mutex<BTreeMap<String, Kept>>,
    /// The number of the newest line.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place among all lines of the process, from 1.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What was written, with its end.
    pub text: Arc<[u8]>,
}

impl Tail {
    /// Keeps nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, crates: Mutex::default(), newest: watch::Sender::new(0) }))
    }

    /// The time, as lines have it.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Keeps a line of a crate.
    pub fn keep(&self, krate: &str, text: &[u8]) {
        let time = self.0.clock.now();
        let mut crates = self.0.crates.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted under the lock: what is in the lists is in the order of its numbers.
        let number = *self.0.newest.borrow() + 1;
        if !crates.contains_key(krate) {
            crates.insert(krate.to_owned(), Kept::default());
        }
        if let Some(kept) = crates.get_mut(krate) {
            kept.bytes += text.len();
            kept.lines.push_back(Line { number, time, text: text.into() });
            while kept.bytes > KEPT
                && let Some(oldest) = kept.lines.pop_front()
            {
                kept.bytes -= oldest.text.len();
            }
        }
        self.0.newest.send_replace(number);
    }

    /// What is kept of these crates beyond a number, in the order in which it was written.
    pub fn after(&self, number: u64, crates: &[&str]) -> Vec<Line> {
        let all = self.0.crates.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = crates.iter().filter_map(|name| all.get(*name));
        let newer = kept.flat_map(|kept| kept.lines.iter().filter(|line| line.number > number).cloned());
        let mut lines: Vec<Line> = newer.collect();
        lines.sort_by_key(|line| line.number);
        lines
    }

    /// The number of the newest line; 0 before there is one.
    pub fn newest(&self) -> u64 {
        *self.0.newest.borrow()
    }

    /// Told the number of the newest line.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }
}

/// Takes one event: to stderr and, where lines are kept, to them.
pub(super) struct Tee<'a> {
    tail: Option<&'a Tail>,
    krate: String,
}

impl Write for Tee<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // An event comes in one piece.
        if let Some(tail) = self.tail {
            tail.keep(&self.krate, text);
        }
        io::stderr().write_all(text)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Where the process's log goes.
pub(super) struct Sink(pub(super) Option<Tail>);

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Tee<'a>;

    fn make_writer(&'a self) -> Tee<'a> {
        Tee { tail: self.0.as_ref(), krate: String::new() }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Tee<'a> {
        let krate = event.target().split("::").next().unwrap_or_default();
        Tee { krate: krate.to_owned(), ..self.make_writer() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_give_way_and_the_order_is_that_of_writing() {
        let tail = Tail::new(Clock::simulated());
        tail.keep("a", b"1\n");
        tail.keep("b", b"2\n");
        tail.keep("a", b"3\n");
        let texts = |number, crates: &[&str]| -> Vec<String> {
            let lines = tail.after(number, crates);
            lines.iter().map(|line| String::from_utf8_lossy(&line.text).trim().to_owned()).collect()
        };
        assert_eq!(texts(0, &["a", "b"]), ["1", "2", "3"]);
        assert_eq!(texts(1, &["a"]), ["3"]);
        assert_eq!(*tail.subscribe().borrow(), 3);
        tail.keep("a", &[b'x'; KEPT]);
        assert_eq!(tail.after(0, &["a"]).len(), 1);
        assert_eq!(texts(0, &["b"]), ["2"]);
    }
}
