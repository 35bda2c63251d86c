//! The part of log options that every runtime applies the same way.
//!
//! Contract: [`timestamp_prefix`] is the format of `kubectl logs --timestamps`; [`limit_bytes`] counts what the user
//! sees, times included, and cuts within a line.

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use jiff::Timestamp;

use crate::{LogLine, LogStream};

/// The line with its time in front: RFC 3339 with nine digits of a second, in UTC, and a blank.
pub fn timestamp_prefix(timestamp: Timestamp, line: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(line.len() + 31);
    out.put_slice(timestamp.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string().as_bytes());
    out.put_slice(line);
    out.freeze()
}

/// The part of `line` that fits into `left` bytes; takes it off `left`.
pub fn cut(mut line: LogLine, left: &mut u64) -> LogLine {
    let fits = usize::try_from(*left).unwrap_or(usize::MAX).min(line.bytes.len());
    line.bytes.truncate(fits);
    *left -= fits as u64;
    line
}

/// Ends the stream after `limit` bytes.
pub fn limit_bytes(stream: LogStream, limit: Option<u64>) -> LogStream {
    let Some(limit) = limit else { return stream };
    futures::stream::unfold((stream, limit), |(mut stream, mut left)| async move {
        if left == 0 {
            return None;
        }
        let item = stream.next().await?.map(|line| cut(line, &mut left));
        Some((item, (stream, left)))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogStreamKind;

    fn line(text: &'static str) -> LogLine {
        LogLine {
            stream: LogStreamKind::Stdout,
            timestamp: Timestamp::UNIX_EPOCH,
            bytes: Bytes::from_static(text.as_bytes()),
        }
    }

    #[test]
    fn prefixes_nine_digits_and_utc() {
        let at = Timestamp::new(1, 5_000_000).expect("in range");
        assert_eq!(&timestamp_prefix(at, b"x\n")[..], b"1970-01-01T00:00:01.005000000Z x\n");
    }

    #[tokio::test]
    async fn cuts_within_a_line_and_ends() {
        let stream = futures::stream::iter([Ok(line("abc\n")), Ok(line("def\n")), Ok(line("ghi\n"))]).boxed();
        let got: Vec<_> = limit_bytes(stream, Some(6)).map(|l| l.expect("ok").bytes).collect().await;
        assert_eq!(got, [Bytes::from("abc\n"), Bytes::from("de")]);
    }
}
