//! `exec`: a command in the container; exit code 0 is a success.
//!
//! **Upstream**: `pkg/probe/exec`.

use super::ask::{Ask, Said};
use runtime::Error;

/// `maxReadLength`: so much of the output is told.
const MAX_OUTPUT: usize = 10 * 1024;

pub(super) async fn ask(ask: &Ask<'_>, command: &[String]) -> Said {
    match ask.node.runtime.exec_sync(&ask.target.id, command, ask.timeout).await {
        Ok(result) if result.exit_code == 0 => Said::Success,
        Ok(result) => {
            let mut output = [&result.stdout[..], &result.stderr[..]].concat();
            output.truncate(MAX_OUTPUT);
            Said::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(error @ (Error::DeadlineExceeded { .. } | Error::CannotStart { .. })) => {
            Said::Failure(error.to_string())
        }
        Err(error) => Said::Error(error.to_string()),
    }
}
