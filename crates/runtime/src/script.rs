//! What a container on paper does: prints, waits, ends; read from its command or set by a test.
//!
//! Contract: a script is fixed when the container starts, so its whole log and end follow from the start time.
//! [`Script::from_command`] understands
//! - `steps` and then words `out=TEXT`, `err=TEXT`, `sleep=MILLISECONDS`, `exit=CODE`, `forever`, `on-term=CODE`,
//!   `ignore-term`, `copy` (input to output), `terminal` (says whether it has one), `size=COLUMNSxROWS` (waits until
//!   the terminal has it), `serve=PORT` (on 127.0.0.1, sends back what it receives): the language of the suite's test
//!   program;
//! - `sleep SECONDS` (also `infinity`), `echo WORDS…`, `cat`, `true`, `false`, `exit CODE`, `sh`, and `sh -c` with a
//!   list of these joined by `;` or `&&`;
//! - a program named `no-such-command` cannot be started;
//! - anything else prints one line and runs until it is stopped.

use std::time::Duration;

use crate::{LogStreamKind, TerminalSize};

/// One thing that a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes a line.
    Print(LogStreamKind, String),
    /// Waits.
    Sleep(Duration),
    /// Writes what it reads, until there is no more.
    Copy,
    /// Writes whether it has a terminal.
    Terminal,
    /// Waits until the terminal has this size.
    AwaitSize(TerminalSize),
    /// Reads commands and runs them.
    Shell,
}

/// How a container ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Not at all.
    Forever,
    /// With this exit code, after the last step.
    Exit(i32),
}

/// What it does on its stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTerm {
    /// Ends at once with this exit code.
    Exit(i32),
    /// Nothing; SIGKILL ends it with 137.
    Ignore,
}

/// The life of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// In order.
    pub steps: Vec<Step>,
    /// After the steps.
    pub end: End,
    /// On the stop signal.
    pub on_term: OnTerm,
    /// It cannot even start, with this message.
    pub cannot_start: Option<String>,
    /// Ports on which it sends back what it receives.
    pub serves: Vec<u16>,
    /// What it uses while it runs.
    pub usage: Usage,
}

/// What a container on paper uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self::forever()
    }
}

impl Script {
    /// Runs until stopped, silently; the stop signal ends it with 0.
    pub fn forever() -> Self {
        Self {
            steps: Vec::new(),
            end: End::Forever,
            on_term: OnTerm::Exit(0),
            cannot_start: None,
            serves: Vec::new(),
            usage: Usage::default(),
        }
    }

    /// Ends with `code` after `delay`.
    pub fn exit_after(delay: Duration, code: i32) -> Self {
        let steps = if delay.is_zero() { Vec::new() } else { vec![Step::Sleep(delay)] };
        Self { steps, end: End::Exit(code), ..Self::forever() }
    }

    /// Cannot be started.
    pub fn cannot_start(message: impl Into<String>) -> Self {
        Self { cannot_start: Some(message.into()), ..Self::forever() }
    }

    /// Prints a line first.
    pub fn printing(mut self, line: impl Into<String>) -> Self {
        self.steps.insert(0, Step::Print(LogStreamKind::Stdout, line.into()));
        self
    }

    /// Does nothing on its stop signal.
    pub fn ignoring_term(mut self) -> Self {
        self.on_term = OnTerm::Ignore;
        self
    }

    /// Reads a command line; see the head of this file.
    pub fn from_command(words: &[String]) -> Self {
        let Some(program) = words.first() else { return Self::forever().printing("running") };
        let name = program.rsplit('/').next().unwrap_or(program);
        let arguments = &words[1..];
        match (name, arguments) {
            ("steps", steps) => Self::from_steps(steps),
            ("sh" | "ash" | "bash", [flag, list]) if flag == "-c" => Self::from_shell(list),
            ("sh" | "ash" | "bash", []) => Self::doing(Step::Shell),
            ("cat", []) => Self::doing(Step::Copy),
            ("no-such-command", _) => {
                Self::cannot_start(format!("exec: {program:?}: executable file not found in $PATH: unknown"))
            }
            _ => Self::from_simple(words).unwrap_or_else(|| Self::forever().printing("running")),
        }
    }

    /// Does one thing and ends.
    fn doing(step: Step) -> Self {
        Self { steps: vec![step], end: End::Exit(0), ..Self::forever() }
    }

    fn from_steps(words: &[String]) -> Self {
        let mut script = Self { end: End::Exit(0), on_term: OnTerm::Exit(0), ..Self::forever() };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("out", text) => script.steps.push(Step::Print(LogStreamKind::Stdout, text.to_owned())),
                ("err", text) => script.steps.push(Step::Print(LogStreamKind::Stderr, text.to_owned())),
                ("sleep", millis) => {
                    script.steps.push(Step::Sleep(Duration::from_millis(millis.parse().unwrap_or(0))));
                }
                ("exit", code) => script.end = End::Exit(code.parse().unwrap_or(0)),
                ("forever", _) => script.end = End::Forever,
                ("on-term", code) => script.on_term = OnTerm::Exit(code.parse().unwrap_or(0)),
                ("ignore-term", _) => script.on_term = OnTerm::Ignore,
                ("copy", _) => script.steps.push(Step::Copy),
                ("terminal", _) => script.steps.push(Step::Terminal),
                ("size", size) => script.steps.extend(parse_size(size).map(Step::AwaitSize)),
                ("serve", port) => script.serves.extend(port.parse::<u16>()),
                _ => {}
            }
        }
        script
    }

    fn from_shell(list: &str) -> Self {
        let mut whole = Self { end: End::Exit(0), ..Self::forever() };
        for command in list.split([';', '\n']).flat_map(|part| part.split("&&")) {
            let words: Vec<String> =
                command.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()).collect();
            if words.is_empty() {
                continue;
            }
            let Some(part) = Self::from_simple(&words) else { return Self::forever().printing("running") };
            whole.steps.extend(part.steps);
            whole.end = part.end;
            if words[0] == "exit" || part.end == End::Forever {
                break;
            }
        }
        whole
    }

    fn from_simple(words: &[String]) -> Option<Self> {
        let name = words[0].rsplit('/').next()?;
        let number = || words.get(1).and_then(|word| word.parse::<u64>().ok());
        Some(match (name, words.get(1).map(String::as_str)) {
            ("true", _) => Self::exit_after(Duration::ZERO, 0),
            ("false", _) => Self::exit_after(Duration::ZERO, 1),
            ("exit", code) => {
                Self::exit_after(Duration::ZERO, code.and_then(|c| c.parse().ok()).unwrap_or(0))
            }
            ("sleep", Some("infinity" | "inf")) => Self::forever(),
            ("sleep", _) => Self::exit_after(Duration::from_secs(number()?), 0),
            ("echo", _) => Self::exit_after(Duration::ZERO, 0).printing(words[1..].join(" ")),
            _ => return None,
        })
    }

    /// The lines with the time after the start at which each is written.
    pub fn lines(&self) -> impl Iterator<Item = (Duration, LogStreamKind, &str)> {
        let mut at = Duration::ZERO;
        self.steps.iter().filter_map(move |step| match step {
            Step::Print(stream, text) => Some((at, *stream, text.as_str())),
            Step::Sleep(time) => {
                at += *time;
                None
            }
            Step::Copy | Step::Terminal | Step::AwaitSize(_) | Step::Shell => None,
        })
    }

    /// When, after the start, and with which code it ends by itself.
    pub fn ends_after(&self) -> Option<(Duration, i32)> {
        let End::Exit(code) = self.end else { return None };
        let sleeps = self.steps.iter().map(|step| match step {
            Step::Sleep(time) => *time,
            _ => Duration::ZERO,
        });
        Some((sleeps.sum(), code))
    }
}

/// `100x40`.
fn parse_size(text: &str) -> Option<TerminalSize> {
    let (width, height) = text.split_once('x')?;
    Some(TerminalSize { width: width.parse().ok()?, height: height.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Script {
        Script::from_command(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_commands() {
        let second = Duration::from_secs(1);
        for (line, end) in [
            ("/bin/sleep 5", Some((second * 5, 0))),
            ("sleep infinity", None),
            ("false", Some((Duration::ZERO, 1))),
            ("/steps out=a sleep=1000 exit=3", Some((second, 3))),
            ("steps forever", None),
            ("nginx -g daemon", None),
        ] {
            assert_eq!(read(line).ends_after(), end, "{line}");
        }
        let shell = ["sh", "-c", "echo \"a\"; sleep 1 && echo b; exit 4; echo c"].map(str::to_owned);
        let script = Script::from_command(&shell);
        assert_eq!(script.ends_after(), Some((second, 4)));
        let lines: Vec<_> = script.lines().map(|(at, _, text)| (at, text)).collect();
        assert_eq!(lines, [(Duration::ZERO, "a"), (second, "b")]);
    }

    #[test]
    fn knows_a_command_that_cannot_start() {
        assert!(read("/no-such-command x").cannot_start.is_some());
    }
}
