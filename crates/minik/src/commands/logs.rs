//! `minik logs`: what the server has logged.

use super::CommandContext;
use crate::problem::Problem;
use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Show the server's log
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Go on as the log grows
    #[arg(short, long)]
    follow: bool,
    /// Only what went wrong: warnings and errors
    #[arg(long, conflicts_with = "follow")]
    problems: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "follow")]
    length: Option<usize>,
    /// Write to this file, instead of standard output
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    file: Option<PathBuf>,
}

/// Whether a line of the log is a warning or an error: the level stands behind the time.
fn is_problem(line: &str) -> bool {
    line.split_whitespace().nth(1).is_some_and(|level| matches!(level, "WARN" | "ERROR"))
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let path = cx.profile.path("server.log");
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Problem::error(
                format!("profile {:?} has no log", cx.profile.name),
                format!("start it: minik start -p {}", cx.profile.name),
            ));
        }
        file => file.with_context(|| format!("open {}", path.display()))?,
    };
    if arguments.problems || arguments.length.is_some() || arguments.file.is_some() {
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
        let lines: Vec<&str> = text.lines().filter(|line| !arguments.problems || is_problem(line)).collect();
        let skipped = lines.len().saturating_sub(arguments.length.unwrap_or(usize::MAX));
        if let Some(to) = &arguments.file {
            let text: String = lines[skipped..].iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(to, text).with_context(|| format!("write {}", to.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
        for line in &lines[skipped..] {
            cx.terminal.line(line);
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Watched before it is read, so that nothing falls between.
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC).context("watch the log")?;
    inotify::add_watch(&changes, &path, inotify::WatchFlags::MODIFY).context("watch the log")?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        if read > 0 {
            match cx.terminal.raw(&buffer[..read]) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written.context("print the log")?,
            }
            continue;
        }
        if !arguments.follow {
            return Ok(ExitCode::SUCCESS);
        }
        match poll(&mut [PollFd::new(&changes, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) => {}
            ready => {
                ready.context("watch the log")?;
                rustix::io::read(&changes, &mut buffer).context("watch the log")?;
            }
        }
    }
}
