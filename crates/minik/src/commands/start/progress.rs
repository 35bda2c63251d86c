//! What a start tells: lines for people, or with `-o json` events for programs, one a line, each when it happens.
//!
//! **Contract**: the last event is a `result` or an `error`. Events are CloudEvents 1.0 in JSON, as minikube's are
//! (`io.k8s.sigs.minikube.step`, `.info`, `.error`), with types of our own.

use crate::problem;
use crate::terminal::Terminal;
use serde_json::{Value, json};

/// Where a start's progress is told.
pub(super) struct Progress<'a> {
    terminal: &'a Terminal,
    source: String,
    is_json: bool,
    events: u32,
    steps: u32,
}

impl<'a> Progress<'a> {
    pub(super) fn new(terminal: &'a Terminal, profile: &str, is_json: bool) -> Self {
        Self { terminal, source: format!("minik/{profile}"), is_json, events: 0, steps: 0 }
    }

    /// What is good to know.
    pub(super) fn info(&mut self, text: &str) {
        match self.is_json {
            true => self.event("info", &json!({"message": text})),
            false => self.terminal.line(text),
        }
    }

    /// A step that is done.
    pub(super) fn step(&mut self, name: &str, milliseconds: u64) {
        self.steps += 1;
        match self.is_json {
            true => {
                let step = json!({"currentstep": self.steps, "name": name, "milliseconds": milliseconds});
                self.event("step", &step);
            }
            false => self.terminal.step(name, milliseconds),
        }
    }

    /// The cluster runs: as a line, and as what programs want to know of it.
    pub(super) fn result(&mut self, text: &str, result: &Value) {
        match self.is_json {
            true => self.event("result", result),
            false => self.terminal.line(text),
        }
    }

    /// Why it does not; people are told of failures where all commands tell them.
    pub(super) fn error(&mut self, error: &anyhow::Error) {
        if self.is_json {
            self.event("error", &json!({"message": format!("{error:#}"), "advice": problem::hint(error)}));
        }
    }

    fn event(&mut self, kind: &str, data: &Value) {
        self.events += 1;
        let event = json!({
            "specversion": "1.0",
            "id": format!("{}-{}", std::process::id(), self.events),
            "source": self.source,
            "type": format!("io.minik.{kind}"),
            "datacontenttype": "application/json",
            "data": data,
        });
        self.terminal.line(&event.to_string());
    }
}
