//! How a failed command is told to its user, and with which exit code.
//!
//! **Contract.** Texts and codes are kubectl's: a server's `Status` becomes `Error from server (Reason): message` or the
//! `is invalid` form, everything else `error: …`. Exit 0 success, 1 failure (of the command line, too: see
//! docs/decisions), 141 a reader that went away.
//! **Upstream.** `kubectl/pkg/cmd/util/helpers.go` (behaviour).

use std::fmt::Write as _;

use serde_json::Value;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The server answered with a `Status`; `context` names the file the request came from.
    #[error("{}", status_message(.status, .context.as_deref()))]
    Status {
        /// The `Status` object.
        status: Box<Value>,
        /// `error when creating "f.yaml"`, and the like.
        context: Option<String>,
    },
    /// Nothing listens at the server's address (`host:port`).
    #[error("connection refused")]
    Refused(String),
    /// The request did not reach the server, for the reason given.
    #[error("{0}")]
    Unreachable(String),
    /// Anything that is printed as `error: …`.
    #[error("{0}")]
    Message(String),
    /// A command line that cannot be understood: printed as `error: …`.
    #[error("{0}")]
    Usage(String),
    /// Text that is printed as it stands, with the exit code.
    #[error("{0}")]
    Plain(String, u8),
    /// Several failures of one command.
    #[error("several errors")]
    Many(Vec<Error>),
    /// Reading or writing of a file or stream.
    #[error("{0}")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// `error: …` with this text.
pub(crate) fn message(text: impl Into<String>) -> Error {
    Error::Message(text.into())
}

impl Error {
    /// The reason of the server's `Status`, if that is what failed.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Status { status, .. } => status["reason"].as_str(),
            _ => None,
        }
    }

    /// Whether the server said that the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.reason() == Some("NotFound")
    }

    /// Whether the server names this as one of the causes.
    pub(crate) fn has_cause(&self, reason: &str) -> bool {
        let Self::Status { status, .. } = self else { return false };
        let causes = status["details"]["causes"].as_array();
        causes.into_iter().flatten().any(|cause| cause["reason"] == reason)
    }

    /// `field: message` of each cause that the server names.
    pub(crate) fn causes(&self) -> Vec<String> {
        let Self::Status { status, .. } = self else { return Vec::new() };
        let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or("").to_owned();
        let causes = status["details"]["causes"].as_array().into_iter().flatten();
        causes.map(|cause| format!("{}: {}", text(cause, "field"), text(cause, "message"))).collect()
    }

    /// The same error with the place it comes from in front of the server's message.
    pub(crate) fn with_context(self, text: impl Into<String>) -> Self {
        match self {
            Self::Status { status, context: None } => Self::Status { status, context: Some(text.into()) },
            other => other,
        }
    }

    /// The error of several failures; a single one stays itself.
    pub(crate) fn from_many(mut errors: Vec<Error>) -> Result<(), Error> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Many(errors)),
        }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Plain(_, code) => *code,
            Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 141,
            _ => 1,
        }
    }

    /// What is written to standard error, with its final newline.
    pub(crate) fn report(&self) -> String {
        match self {
            Self::Status { status, context } => status_report(status, context.as_deref()),
            Self::Refused(host) => {
                format!(
                    "The connection to the server {host} was refused - did you specify the right host or port?\n"
                )
            }
            Self::Unreachable(reason) => format!("Unable to connect to the server: {reason}\n"),
            Self::Message(text) | Self::Usage(text) => error_line(text),
            Self::Plain(text, _) => text.clone(),
            Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => String::new(),
            Self::Io(error) => error_line(&error.to_string()),
            Self::Many(errors) => errors.iter().map(Self::report_of_many).collect(),
        }
    }
}

impl Error {
    /// One line of several: kubectl leaves out `error: ` and does not take `Invalid` apart there.
    fn report_of_many(&self) -> String {
        match self {
            Self::Message(text) | Self::Usage(text) => format!("{}\n", text.trim_end_matches('\n')),
            Self::Status { status, context } if status["reason"] == "Invalid" => {
                format!("Error from server (Invalid): {}\n", status_message(status, context.as_deref()))
            }
            other => other.report(),
        }
    }
}

fn error_line(text: &str) -> String {
    let prefix = if text.starts_with("error: ") { "" } else { "error: " };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{prefix}{text}{end}")
}

fn status_message(status: &Value, context: Option<&str>) -> String {
    let text = status["message"].as_str().unwrap_or("unknown");
    context.map_or_else(|| text.to_owned(), |context| format!("{context}: {text}"))
}

fn status_report(status: &Value, context: Option<&str>) -> String {
    let reason = status["reason"].as_str().unwrap_or("");
    let text = status_message(status, context);
    match reason {
        "Invalid" => invalid_report(status),
        "Unauthorized" => format!("error: You must be logged in to the server ({text})\n"),
        "" => format!("Error from server: {text}\n"),
        _ => format!("Error from server ({reason}): {text}\n"),
    }
}

/// `The Pod "x" is invalid: …`, or the list of causes where there are several.
fn invalid_report(status: &Value) -> String {
    let details = &status["details"];
    if details.is_null() {
        return "The request is invalid\n".to_owned();
    }
    let kind = details["kind"].as_str().unwrap_or("");
    let name = details["name"].as_str().unwrap_or("");
    let head = if kind.is_empty() && name.is_empty() {
        "The request is invalid".to_owned()
    } else {
        format!("The {kind} {name:?} is invalid")
    };
    let mut causes: Vec<String> = Vec::new();
    for cause in details["causes"].as_array().into_iter().flatten() {
        let line =
            format!("{}: {}", cause["field"].as_str().unwrap_or(""), cause["message"].as_str().unwrap_or(""));
        if !causes.contains(&line) {
            causes.push(line);
        }
    }
    match causes.as_slice() {
        [] => match status["message"].as_str() {
            Some(text) if kind.is_empty() => format!("{head}: {text}\n"),
            _ => format!("{head}\n"),
        },
        [one] => format!("{head}: {one}\n"),
        many => {
            let mut text = format!("{head}: \n");
            for cause in many {
                let _ = writeln!(text, "* {cause}");
            }
            text
        }
    }
}
