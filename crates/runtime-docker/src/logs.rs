//! `container_logs`: the engine's json-file log through its API.
//!
//! Contract: the engine is always asked for timestamps, because only they tell the exact time; `since` is applied here,
//! since the client library knows whole seconds only.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use runtime::logs::limit_bytes;
use runtime::{ContainerId, LogLine, LogOptions, LogStream, LogStreamKind, Result};

use crate::client::DockerRuntime;
use crate::error;

impl DockerRuntime {
    pub(crate) async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<LogStream> {
        let since = options.since.map_or(0, |since| since.as_second().try_into().unwrap_or(i32::MAX));
        let query = LogsOptionsBuilder::default()
            .follow(options.follow)
            .stdout(options.stream != Some(LogStreamKind::Stderr))
            .stderr(options.stream != Some(LogStreamKind::Stdout))
            .since(since)
            .timestamps(true)
            .tail(&options.tail_lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string()))
            .build();
        let (since, timestamps) = (options.since, options.timestamps);
        let lines = self.client.logs(id.as_str(), Some(query)).boxed();
        // The first answer tells whether there is such a container; a quiet one that is followed has none yet.
        let mut lines = lines.peekable();
        if !options.follow
            && let Some(Err(_)) = std::pin::Pin::new(&mut lines).peek().await
            && let Some(Err(failed)) = lines.next().await
        {
            return Err(error::container("container logs", id.as_str())(failed));
        }
        let named = id.clone();
        let lines = lines.filter_map(move |output| {
            let line = match output {
                Ok(output) => parse(output, timestamps)
                    .filter(|line| since.is_none_or(|since| line.timestamp >= since))
                    .map(Ok),
                Err(failed) => Some(Err(error::container("container logs", named.as_str())(failed))),
            };
            std::future::ready(line)
        });
        Ok(limit_bytes(lines.boxed(), options.limit_bytes))
    }
}

/// `2026-11-21T06:00:00.123456789Z text`. None: not a line of a log.
fn parse(output: LogOutput, timestamps: bool) -> Option<LogLine> {
    let stream = match output {
        LogOutput::StdErr { .. } => LogStreamKind::Stderr,
        LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
            LogStreamKind::Stdout
        }
    };
    let mut bytes: Bytes = output.into_bytes();
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let timestamp: Timestamp = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
    if !timestamps {
        bytes = bytes.split_off(blank + 1);
    }
    Some(LogLine { stream, timestamp, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_time_off_a_line() {
        let output = || LogOutput::StdErr { message: "2026-11-21T06:00:00.123456789Z a b\n".into() };
        let line = parse(output(), false).expect("a line");
        assert_eq!((line.stream, &line.bytes[..]), (LogStreamKind::Stderr, &b"a b\n"[..]));
        assert_eq!(line.timestamp.subsec_nanosecond(), 123_456_789);
        let line = parse(output(), true).expect("a line");
        assert_eq!(&line.bytes[..], b"2026-11-21T06:00:00.123456789Z a b\n");
        assert_eq!(parse(LogOutput::StdOut { message: "x".into() }, false), None);
    }
}
