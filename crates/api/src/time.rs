//! Time on the wire: RFC 3339 in UTC, to the second or to the microsecond.
//!
//! **Upstream**: `metav1.Time`, `metav1.MicroTime`.

use jiff::Timestamp;
use serde_json::Value;

/// `2026-01-01T00:00:00Z`: a `metav1.Time`.
pub fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-01T00:00:00.000000Z`: a `metav1.MicroTime`.
pub fn format_micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads either form.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Reads a field of an object; `None` when it is absent, null or no time.
pub fn from_value(value: &Value) -> Option<Timestamp> {
    parse(value.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_both_forms() {
        let time = parse("2026-01-02T03:04:05.678901Z").unwrap();
        assert_eq!(format(time), "2026-01-02T03:04:05Z");
        assert_eq!(format_micro(time), "2026-01-02T03:04:05.678901Z");
        assert_eq!(parse("2026-01-02T04:04:05+01:00").map(format).as_deref(), Some("2026-01-02T03:04:05Z"));
    }
}
