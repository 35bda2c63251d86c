//! Cron schedules: what upstream's parser takes, and when a schedule is next due.
//!
//! **Contract**: a time that a clock change leaves out is skipped. Where both the day of the month and that of the week
//! are given, either is enough.
//! **Upstream**: `github.com/robfig/cron/v3`, `ParseStandard`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// The five fields: name, lowest, highest value, and the names that stand for values.
const FIELDS: [(i64, i64, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
/// What stands for five fields.
const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// Marks a field that leaves the choice to the others.
const STAR: u64 = 1 << 63;
/// A schedule that is not due for so many years never is.
const YEARS: i16 = 5;

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// At these minutes, hours, days, months and days of the week, as bits.
    Fields([u64; 5]),
    /// So long after the last time.
    Every(SignedDuration),
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Why it cannot be read, in the parser's words.
    pub fn parse(schedule: &str) -> Result<Self, String> {
        if schedule.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let mut rest = schedule;
        if rest.starts_with("TZ=") || rest.starts_with("CRON_TZ=") {
            rest = rest.split_once(' ').map_or("", |(_, rest)| rest.trim());
        }
        if rest.starts_with('@') {
            return descriptor(rest);
        }
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            let shown = format!("[{}]", fields.join(" "));
            return Err(format!("expected exactly 5 fields, found {}: {shown}", fields.len()));
        }
        let mut bits = [0; 5];
        for ((bits, text), (low, high, names)) in bits.iter_mut().zip(fields).zip(FIELDS) {
            *bits = field(text, low, high, names)?;
        }
        Ok(Self(Kind::Fields(bits)))
    }

    /// The first time after `after` at which it is due in this time zone; none if that is never.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let [minutes, hours, days, months, weekdays] = match self.0 {
            Kind::Every(span) => {
                return Timestamp::from_second(after.as_second()).ok()?.checked_add(span).ok();
            }
            Kind::Fields(fields) => fields,
        };
        let has = |bits: u64, value: i8| u8::try_from(value).is_ok_and(|value| bits >> value & 1 == 1);
        let mut at = whole_minute(after.to_zoned(zone.clone()).datetime().checked_add(1.minute()).ok()?);
        let last = at.year() + YEARS;
        // Where a clock is set back the same minutes come twice: each is after the one before.
        while at.year() <= last {
            if !has(months, at.month()) {
                at = at.date().first_of_month().checked_add(1.month()).ok()?.at(0, 0, 0, 0);
                continue;
            }
            let (day, weekday) = (has(days, at.day()), has(weekdays, at.weekday().to_sunday_zero_offset()));
            let due = if (days | weekdays) & STAR != 0 { day && weekday } else { day || weekday };
            if !due {
                at = at.date().tomorrow().ok()?.at(0, 0, 0, 0);
                continue;
            }
            if !has(hours, at.hour()) {
                at = at.date().at(at.hour(), 0, 0, 0).checked_add(1.hour()).ok()?;
                continue;
            }
            if has(minutes, at.minute()) {
                let ambiguous = zone.to_ambiguous_timestamp(at);
                let candidates = [ambiguous.earlier().ok(), ambiguous.later().ok()];
                let exists = |time: &Timestamp| time.to_zoned(zone.clone()).datetime() == at;
                if let Some(found) =
                    candidates.into_iter().flatten().find(|time| exists(time) && *time > after)
                {
                    return Some(found);
                }
            }
            at = at.checked_add(1.minute()).ok()?;
        }
        None
    }
}

fn whole_minute(at: DateTime) -> DateTime {
    at.date().at(at.hour(), at.minute(), 0, 0)
}

fn descriptor(text: &str) -> Result<Schedule, String> {
    if let Some((_, fields)) = DESCRIPTORS.iter().find(|(name, _)| *name == text) {
        return Schedule::parse(fields);
    }
    match text.strip_prefix("@every ") {
        Some(text_of) => match duration(text_of) {
            // Whole seconds, at least one.
            Some(seconds) => Ok(Schedule(Kind::Every(SignedDuration::from_secs(seconds.max(1))))),
            None => Err(format!("failed to parse duration {text}: time: invalid duration {text_of:?}")),
        },
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// Go's durations (`1h30m`), in whole seconds.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = &rest[..end];
        if !number.contains(|c: char| c.is_ascii_digit()) || number.matches('.').count() > 1 {
            return None;
        }
        rest = &rest[end..];
        let units =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, length) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        seconds += number.parse::<f64>().ok()? * length;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds are wanted")]
    let whole = (sign * seconds) as i64;
    Some(whole)
}

fn field(text: &str, low: i64, high: i64, names: &[&str]) -> Result<u64, String> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(|part| range(part, low, high, names)).try_fold(0, |bits, part| Ok(bits | part?))
}

fn range(text: &str, low: i64, high: i64, names: &[&str]) -> Result<u64, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let bounds: Vec<&str> = parts[0].split('-').collect();
    let single = bounds.len() == 1;
    let mut star = 0;
    let (start, mut end) = if matches!(bounds[0], "*" | "?") {
        star = STAR;
        (low, high)
    } else {
        let start = value(bounds[0], low, names)?;
        match bounds.as_slice() {
            [_] => (start, start),
            [_, end] => (start, value(end, low, names)?),
            _ => return Err(format!("too many hyphens: {text}")),
        }
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            if single {
                end = high;
            }
            let step = number(step)?;
            if step > 1 {
                star = 0;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < low {
        Err(format!("beginning of range ({start}) below minimum ({low}): {text}"))
    } else if end > high {
        Err(format!("end of range ({end}) above maximum ({high}): {text}"))
    } else if start > end {
        Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"))
    } else if step == 0 {
        Err(format!("step of range should be a positive number: {text}"))
    } else {
        let step = usize::try_from(step).unwrap_or(1);
        Ok((start..=end).step_by(step).fold(star, |bits, value| bits | 1 << value))
    }
}

fn value(text: &str, low: i64, names: &[&str]) -> Result<i64, String> {
    let lower = text.to_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(index) => Ok(low + i64::try_from(index).unwrap_or(0)),
        None => number(text),
    }
}

fn number(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(number),
        Err(_) => {
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_upstream_reads() {
        for schedule in [
            "* * * * *",
            "*/5 0-6,12 1 JAN-mar sun",
            "@every 1h30m",
            "@hourly",
            "0 0 ? * 1-5",
            "TZ=UTC 0 0 * * *",
        ] {
            assert!(Schedule::parse(schedule).is_ok(), "{schedule}");
        }
    }

    #[test]
    fn refuses_in_the_parsers_words() {
        for (schedule, error) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@never", "unrecognized descriptor: @never"),
        ] {
            assert_eq!(Schedule::parse(schedule).unwrap_err(), error);
        }
    }

    #[test]
    fn is_due_when_upstream_says() {
        for (schedule, zone, after, expected) in [
            ("* * * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "UTC", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "UTC", "2026-01-01T00:45:00Z", "2026-01-01T01:00:00Z"),
            ("0 9 * * mon-fri", "UTC", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // Either the 13th or a Friday.
            ("0 0 13 * fri", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 13 * fri", "UTC", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"),
            ("30 8 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", "2026-01-01T23:30:00Z"),
            // 02:30 does not exist on 2026-03-29 in Berlin.
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),
            ("@every 90s", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
            ("@monthly", "UTC", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            let next = Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &zone);
            assert_eq!(next, Some(expected.parse().unwrap()), "{schedule} after {after}");
        }
        let never = Schedule::parse("0 0 31 2 *").unwrap();
        assert_eq!(never.next("2026-01-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC), None);
    }
}
