//! The engine's notion of time.

use jiff::Timestamp;

/// A time in the engine's text. None: not given, or Go's zero time, year 1, which means never.
pub(crate) fn parse(text: Option<&str>) -> Option<Timestamp> {
    let time: Timestamp = text?.parse().ok()?;
    (time.as_second() > 0).then_some(time)
}

/// A time in whole seconds; the epoch if there is none.
pub(crate) fn from_seconds(seconds: Option<i64>) -> Timestamp {
    Timestamp::from_second(seconds.unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_year_one_for_never() {
        assert_eq!(parse(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(parse(None), None);
        let time = parse(Some("2026-11-21T06:41:14.123456789Z")).expect("a time");
        assert_eq!(time.subsec_nanosecond(), 123_456_789);
    }
}
