//! The keys that end a session and leave the container as it is.
//!
//! **Upstream.** `kubectl/pkg/util/term`, `moby/term` (behaviour).

/// Looks for the keys in what is typed.
#[derive(Debug, Clone)]
pub(crate) struct Detach {
    keys: Vec<u8>,
    matched: usize,
}

impl Detach {
    /// Of keys like `ctrl-p,ctrl-q`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let keys = text.split(',').map(key).collect::<Result<_, _>>()?;
        Ok(Self { keys, matched: 0 })
    }

    /// What of the typed is for the container, and whether the keys were complete.
    pub(crate) fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            // What was held back was no beginning after all; the byte may be one.
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

fn key(text: &str) -> Result<u8, String> {
    let unknown = || format!("Unknown character: '{text}'");
    let (control, letter) = match text.strip_prefix("ctrl-") {
        Some(letter) => (true, letter),
        None => (false, text),
    };
    let [byte] = letter.as_bytes() else { return Err(unknown()) };
    match byte {
        _ if !control => Ok(*byte),
        b'a'..=b'z' => Ok(byte - b'a' + 1),
        b'@' => Ok(0),
        b'[' | b'\\' | b']' | b'^' | b'_' => Ok(byte - b'[' + 27),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_keys_and_passes_the_rest() {
        let keys = || Detach::parse("ctrl-p,ctrl-q").unwrap();
        assert_eq!(keys().feed(b"ab\x10\x11cd"), (b"ab".to_vec(), true));
        let mut split = keys();
        assert_eq!(split.feed(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(split.feed(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(split.feed(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(split.feed(b"\x11"), (Vec::new(), true));
        assert_eq!(Detach::parse("x,ctrl-[").unwrap().keys, [b'x', 27]);
        assert!(Detach::parse("ctrl-1").is_err() && Detach::parse("").is_err());
    }
}
