//! Everything a command may touch of the process it runs in: streams, environment, clock, time zone.
//!
//! **Contract.** A `Terminal` is a cheap handle; clones share the same streams. Commands write only through it, so a test
//! runs a command in its own process and reads what was printed.
//! **Not here.** What is printed: `output` and the commands themselves. Error texts: `report`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::report::Error;
use crate::streams::console::Console;
use crate::streams::copy::{self, Pieces};

type Output = Arc<Mutex<Box<dyn Write + Send>>>;

/// The streams, environment and clock handed to a command.
#[derive(Clone)]
pub struct Terminal {
    stdin: Arc<Mutex<Box<dyn Read + Send>>>,
    stdout: Output,
    stderr: Output,
    environment: Arc<BTreeMap<String, String>>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    time_zone: fn() -> TimeZone,
    colors: bool,
    console: Option<Console>,
}

impl Terminal {
    /// A terminal over the given streams, without environment, in UTC.
    pub fn new(
        stdin: impl Read + Send + 'static,
        stdout: impl Write + Send + 'static,
        stderr: impl Write + Send + 'static,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        Self {
            stdin: Arc::new(Mutex::new(Box::new(stdin))),
            stdout: Arc::new(Mutex::new(Box::new(stdout))),
            stderr: Arc::new(Mutex::new(Box::new(stderr))),
            environment: Arc::new(BTreeMap::new()),
            clock: Arc::new(clock),
            time_zone: || TimeZone::UTC,
            colors: false,
            console: None,
        }
    }

    /// The same terminal with these environment variables.
    pub fn with_environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment = Arc::new(variables.into_iter().collect());
        self
    }

    /// The same terminal showing times in the zone that `zone` gives; it is not called unless a time is shown.
    pub fn with_time_zone(mut self, zone: fn() -> TimeZone) -> Self {
        self.time_zone = zone;
        self
    }

    /// The same terminal showing colors, unless `NO_COLOR` is set: for a standard output that a person looks at.
    pub fn with_colors(mut self, colors: bool) -> Self {
        self.colors = colors && self.variable("NO_COLOR").is_none();
        self
    }

    /// The same terminal with a person behind its standard input, if there is one.
    pub fn with_console(mut self, console: Option<Console>) -> Self {
        self.console = console;
        self
    }

    /// The terminal that a person sits at.
    pub(crate) fn console(&self) -> Option<Console> {
        self.console
    }

    /// Whether colors are shown.
    pub(crate) fn colors(&self) -> bool {
        self.colors
    }

    /// An environment variable; unset and empty are the same.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The user's home folder.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The zone in which `describe` shows times.
    pub(crate) fn time_zone(&self) -> TimeZone {
        (self.time_zone)()
    }

    /// Writes text to standard output.
    pub(crate) fn out(&self, text: &str) -> Result<(), Error> {
        self.out_bytes(text.as_bytes())
    }

    /// Writes bytes to standard output and flushes them.
    pub(crate) fn out_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut stream = self.stdout.lock().expect("no writer panics while it holds the stream");
        stream.write_all(bytes)?;
        stream.flush()?;
        Ok(())
    }

    /// Writes a text to standard error; a failure to do so is not reported anywhere.
    pub(crate) fn err(&self, text: &str) {
        self.err_bytes(text.as_bytes());
    }

    /// Writes bytes to standard error; a failure to do so is not reported anywhere.
    pub(crate) fn err_bytes(&self, bytes: &[u8]) {
        let mut stream = self.stderr.lock().expect("no writer panics while it holds the stream");
        let _ = stream.write_all(bytes);
        let _ = stream.flush();
    }

    /// Standard input piece by piece, read by a thread of its own.
    pub(crate) fn stdin_pieces(&self) -> Pieces {
        struct Stdin(Arc<Mutex<Box<dyn Read + Send>>>);
        impl Read for Stdin {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.lock().expect("no reader panics while it holds the stream").read(buffer)
            }
        }
        copy::pieces(Stdin(Arc::clone(&self.stdin)))
    }

    /// The next line of standard input, without its end.
    pub(crate) fn read_line(&self) -> Result<String, Error> {
        let mut stream = self.stdin.lock().expect("no reader panics while it holds the stream");
        let (mut line, mut byte) = (Vec::new(), [0]);
        while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// All of standard input.
    pub(crate) fn read_stdin(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.stdin.lock().expect("no reader panics while it holds the stream").read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
