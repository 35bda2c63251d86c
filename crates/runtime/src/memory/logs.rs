//! Logs on paper: computed from the script and the time, never stored.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::watch;

use super::Memory;
use crate::logs::{limit_bytes, timestamp_prefix};
use crate::*;

struct Follow {
    lines: VecDeque<LogLine>,
    memory: Memory,
    id: ContainerId,
    ended: watch::Receiver<bool>,
    follow: bool,
}

impl Memory {
    pub(super) fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<LogStream> {
        let now = self.now();
        let state = self.state();
        let container = state.containers.get(id).ok_or_else(|| Error::container_not_found(id.as_str()))?;
        let Some(started_at) = container.started_at else { return Ok(stream::empty().boxed()) };
        let end = container.finished_at;
        let mut lines = VecDeque::new();
        let mut written = 0;
        for (after, kind, text) in container.script.lines() {
            let timestamp = started_at + after;
            if options.stream.is_some_and(|wanted| wanted != kind) || end.is_some_and(|end| timestamp > end) {
                continue;
            }
            written += usize::from(timestamp <= now);
            let text = Bytes::from(format!("{text}\n"));
            let bytes = if options.timestamps { timestamp_prefix(timestamp, &text) } else { text };
            lines.push_back(LogLine { stream: kind, timestamp, bytes });
        }
        if !options.follow {
            lines.truncate(written);
        }
        if let Some(tail) = options.tail_lines {
            lines.drain(..written.saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        }
        lines.retain(|line| options.since.is_none_or(|since| line.timestamp >= since));
        let ended = container.ended.subscribe();
        let follow = Follow { lines, memory: self.clone(), id: id.clone(), ended, follow: options.follow };
        Ok(limit_bytes(stream::unfold(follow, next).boxed(), options.limit_bytes))
    }

    fn ended_at(&self, id: &ContainerId) -> Option<Timestamp> {
        self.state().containers.get(id).and_then(|container| container.finished_at)
    }
}

/// The next line, when its time has come; the end, when the container has ended before that.
async fn next(mut follow: Follow) -> Option<(Result<LogLine>, Follow)> {
    let Some(line) = follow.lines.pop_front() else {
        if follow.follow {
            let _closed = follow.ended.wait_for(|ended| *ended).await;
        }
        return None;
    };
    let wait = line.timestamp.duration_since(follow.memory.now());
    if let (true, Ok(wait)) = (wait.is_positive(), wait.try_into()) {
        let _either = tokio::time::timeout(wait, follow.ended.wait_for(|ended| *ended)).await;
        if follow.memory.ended_at(&follow.id).is_some_and(|end| end < line.timestamp) {
            return None;
        }
    }
    Some((Ok(line), follow))
}
