//! Ages as people read them: `45s`, `3m20s`, `5d3h`; and spans as Go prints them.
//!
//! **Upstream**: `k8s.io/apimachinery/pkg/util/duration` (`HumanDuration`); Go's `time.Duration`.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A span in whole seconds, rounded as upstream rounds it; up to two seconds of clock skew are forgiven.
pub fn human(seconds: i64) -> String {
    let pair = |big: i64, unit: &str, small: i64, sub: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{sub}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => pair(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => pair(years, "y", days % 365, "d"),
        () => format!("{years}y"),
    }
}

/// How long ago a time was.
pub fn age(time: Timestamp, now: Timestamp) -> String {
    human(now.duration_since(time).as_secs())
}

/// How long ago the time in a field was; `<unknown>` when there is none.
pub fn age_of(time: &Value, now: Timestamp) -> String {
    crate::time::from_value(time).map_or_else(|| "<unknown>".to_owned(), |t| age(t, now))
}

/// A duration, to the millisecond, as Go prints it: `0s`, `250ms`, `1.5s`, `1m20s`, `5m0s`.
pub fn golang(span: SignedDuration) -> String {
    let millis = span.as_millis().max(0);
    if millis < 1000 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let fraction = format!("{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let seconds = format!("{}{dot}{fraction}s", rest / 1000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_gos() {
        for (millis, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1500, "1.5s"),
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (3_600_001, "1h0m0.001s"),
        ] {
            assert_eq!(golang(SignedDuration::from_millis(millis)), text);
        }
    }

    #[test]
    fn rounds_as_upstream_does() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600, "8h"),
            (48 * 3600, "2d"),
            (50 * 3600, "2d2h"),
            (8 * 86400, "8d"),
            (2 * 365 * 86400, "2y"),
            (2 * 365 * 86400 + 86400, "2y1d"),
            (9 * 365 * 86400, "9y"),
        ] {
            assert_eq!(human(seconds), text, "{seconds}");
        }
        assert_eq!(age_of(&Value::Null, Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
