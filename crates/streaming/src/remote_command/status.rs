//! How a command ended, on the error stream.

use serde_json::{Value, json};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With exit code 0, or, for attach, with the connection.
    Success,
    /// With another exit code.
    Exit(i32),
    /// Not by itself.
    Failure(Failure),
}

/// Why there is no exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For the user, as the server says it.
    pub message: String,
}

impl Outcome {
    /// A failure to run the command.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::Failure(Failure { message: message.into() })
    }

    /// For a server: a failure to run it, in upstream's words.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::failure(format!("error executing command in container: {error}"))
    }

    /// The `Status` of the protocols that have one.
    pub(super) fn to_status(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::Exit(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.to_text(),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failure(Failure { message }) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {message}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": message}]},
                "code": 500,
            }),
        }
    }

    /// What the older protocols say; nothing is success.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Success => String::new(),
            Self::Exit(code) => {
                format!(
                    "command terminated with non-zero exit code: error executing command, exit code {code}"
                )
            }
            Self::Failure(Failure { message }) => format!("Internal error occurred: {message}"),
        }
    }

    /// From what an error stream said. Text that is no `Status` is a failure, as in the older protocols; none is
    /// success.
    pub(super) fn parse(said: &[u8]) -> Self {
        if said.is_empty() {
            return Self::Success;
        }
        let text = || String::from_utf8_lossy(said).into_owned();
        let Ok(status) = serde_json::from_slice::<Value>(said) else { return Self::failure(text()) };
        if status["status"] == "Success" {
            return Self::Success;
        }
        if status["reason"] == "NonZeroExitCode" {
            let causes = status["details"]["causes"].as_array().into_iter().flatten();
            let mut codes = causes.filter(|cause| cause["reason"] == "ExitCode");
            let code = codes.find_map(|cause| cause["message"].as_str()?.parse().ok());
            return match code {
                Some(0) => Self::Success,
                Some(code) => Self::Exit(code),
                None => Self::failure("error stream protocol error: no ExitCode cause given"),
            };
        }
        Self::failure(status["message"].as_str().map_or_else(text, str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_there_and_back() {
        for outcome in [Outcome::Success, Outcome::Exit(7)] {
            assert_eq!(Outcome::parse(outcome.to_status().to_string().as_bytes()), outcome);
        }
        let failure = Outcome::internal("no such file").to_status();
        assert_eq!(failure["code"], 500);
        let message = "Internal error occurred: error executing command in container: no such file";
        assert_eq!(Outcome::parse(failure.to_string().as_bytes()), Outcome::failure(message));
        assert_eq!(Outcome::parse(b""), Outcome::Success);
        assert_eq!(Outcome::parse(b"exit 3"), Outcome::failure("exit 3"));
    }
}
