//! Putting the server into the background, and ending it.
//!
//! **Contract**: the child is this program again, in a session of its own (`setsid`), with its log as stdout's and
//! stderr's end; its reports come through a pipe that closes with it. Waiting for a process's end uses a pidfd.

use crate::profile::Profile;
use crate::server::Report;
use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A log that has grown beyond this is set aside at the next start (the one before is dropped).
const LOG_MAX: u64 = 10 << 20;

/// Starts the server of a profile in the background and hands on its reports until it is ready or has failed.
pub(crate) fn start(
    profile: &Profile,
    arguments: &[OsString],
    mut on_report: impl FnMut(Report),
) -> Result<()> {
    let log_path = profile.path("server.log");
    if fs::metadata(&log_path).is_ok_and(|meta| meta.len() > LOG_MAX) {
        fs::rename(&log_path, profile.path("server.log.1")).context("set the old log aside")?;
    }
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .with_context(|| format!("open {}", log_path.display()))?;
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    in_new_session(&mut command);
    let mut child = command.spawn().context("start the server")?;
    let reports = BufReader::new(child.stdout.take().context("the server's reports")?);
    for line in reports.lines() {
        let line = line.context("read the server's reports")?;
        let report: Report =
            serde_json::from_str(&line).with_context(|| format!("read the report {line:?}"))?;
        let is_last = matches!(report, Report::Ready | Report::Failed { .. });
        on_report(report);
        if is_last {
            return Ok(());
        }
    }
    let status = child.wait().context("wait for the server")?;
    bail!("the server ended while it started ({status}); see {}", log_path.display())
}

/// Sends a signal to a server and waits for its end; `false` if it has not ended in time.
pub(crate) fn end(pid: u32, signal: Signal, limit: Duration) -> Result<bool> {
    // Opened before the signal: the id cannot come to mean another process in between.
    let Some(handle) = open(pid)? else { return Ok(true) };
    match pidfd_send_signal(&handle, signal) {
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        sent => sent.context("signal the server")?,
    }
    has_ended(&handle, limit)
}

/// Whether a process has ended, now or within this time.
pub(crate) fn ends_within(pid: u32, limit: Duration) -> Result<bool> {
    match open(pid)? {
        Some(handle) => has_ended(&handle, limit),
        None => Ok(true),
    }
}

/// A handle on a process; `None` if there is none.
fn open(pid: u32) -> Result<Option<OwnedFd>> {
    let pid = Pid::from_raw(pid.cast_signed()).context("a process id")?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => Ok(None),
        handle => Ok(Some(handle.context("watch the server's process")?)),
    }
}

fn has_ended(handle: &OwnedFd, limit: Duration) -> Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    loop {
        match poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready.context("wait for the server's end")? > 0),
        }
    }
}

/// Sends a signal to a server, if it is there.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    let Some(handle) = open(pid)? else { return Ok(()) };
    match pidfd_send_signal(&handle, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        sent => sent.context("signal the server"),
    }
}

/// Whether a process is suspended by a signal.
pub(crate) fn is_suspended(pid: u32) -> bool {
    // The state is the first field behind the name, which stands in parentheses and may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Has a child lead a session of its own: what ends our terminal does not end it.
pub(crate) fn in_new_session(command: &mut Command) {
    #[expect(unsafe_code, reason = "std has no safe way to call setsid in the child")]
    // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system call, without allocation.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
}

/// Has the kernel kill this child when the thread that started it ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    #[expect(unsafe_code, reason = "std has no safe way to call prctl in the child")]
    // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system call, without allocation.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
        });
    }
}
