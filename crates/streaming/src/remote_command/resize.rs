//! The size of a terminal, as JSON objects one after the other.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Bytes of the longest object.
const MAX_OBJECT: usize = 1024;
/// Sizes that nobody has taken yet.
pub(super) const QUEUE: usize = 16;

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl TerminalSize {
    /// `{"Width":80,"Height":24}` and a newline.
    pub(super) fn to_json(self) -> String {
        format!("{{\"Width\":{},\"Height\":{}}}\n", self.width, self.height)
    }
}

/// Collects objects that arrive in pieces.
#[derive(Default)]
pub(super) struct Sizes(Vec<u8>);

impl Sizes {
    /// The sizes that are complete with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<TerminalSize> {
        self.0.extend_from_slice(bytes);
        let mut stream = serde_json::Deserializer::from_slice(&self.0).into_iter::<serde_json::Value>();
        let (mut found, mut used, mut broken) = (Vec::new(), 0, false);
        while let Some(value) = stream.next() {
            match value {
                Ok(value) => {
                    found.extend(size(&value));
                    used = stream.byte_offset();
                }
                Err(error) => {
                    broken = !error.is_eof();
                    break;
                }
            }
        }
        self.0.drain(..used);
        if broken || self.0.len() > MAX_OBJECT {
            self.0.clear();
        }
        found
    }
}

/// Names are read in any case, as Go does.
fn size(value: &serde_json::Value) -> Option<TerminalSize> {
    let number = |name: &str| {
        let (_, value) = value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_u64()?.try_into().ok()
    };
    Some(TerminalSize { width: number("width")?, height: number("height")? })
}

/// Reads sizes until the end of the source, or until nobody wants them.
pub(super) async fn pump(
    mut source: impl AsyncRead + Unpin,
    sink: mpsc::Sender<TerminalSize>,
) -> io::Result<()> {
    let mut sizes = Sizes::default();
    let mut buffer = [0; MAX_OBJECT];
    loop {
        let n = source.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        for size in sizes.feed(&buffer[..n]) {
            if sink.send(size).await.is_err() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_in_pieces() {
        let mut sizes = Sizes::default();
        let size = |width, height| TerminalSize { width, height };
        assert_eq!(sizes.feed(size(80, 24).to_json().as_bytes()), [size(80, 24)]);
        assert_eq!(sizes.feed(b"{\"Width\":1,"), []);
        assert_eq!(sizes.feed(b"\"Height\":2}{\"width\":3,\"height\":4}{"), [size(1, 2), size(3, 4)]);
        assert_eq!(sizes.feed(b"]"), []);
        assert_eq!(sizes.feed(b"{\"Width\":5,\"Height\":6}"), [size(5, 6)]);
        assert_eq!(sizes.feed(&[b' '; 5000]), []);
        assert_eq!(sizes.feed(b"{\"Width\":70000,\"Height\":6}"), []);
    }
}
