//! Which plain texts a YAML 1.1 reader takes for something other than a string.

/// Whether a reader of YAML 1.1 would take the plain text for something other than a string.
pub(super) fn resolves_to_other(text: &str) -> bool {
    matches!(
        text,
        "" | "~"
            | "null"
            | "Null"
            | "NULL"
            | "true"
            | "True"
            | "TRUE"
            | "false"
            | "False"
            | "FALSE"
            | "y"
            | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "on"
            | "On"
            | "ON"
            | "off"
            | "Off"
            | "OFF"
            | ".nan"
            | ".NaN"
            | ".NAN"
            | ".inf"
            | ".Inf"
            | ".INF"
            | "+.inf"
            | "+.Inf"
            | "+.INF"
            | "-.inf"
            | "-.Inf"
            | "-.INF"
    ) || is_number(text)
        || is_base60(text)
        || is_timestamp(text)
}

fn is_number(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if !text.starts_with(['+', '-', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        return false;
    }
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let radix = |prefix: &[&str], test: fn(char) -> bool| {
        prefix.iter().any(|prefix| {
            digits.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(test))
        })
    };
    if radix(&["0x", "0X"], |c| c.is_ascii_hexdigit())
        || radix(&["0b", "0B"], |c| matches!(c, '0' | '1'))
        || radix(&["0o", "0O"], |c| matches!(c, '0'..='7'))
    {
        return true;
    }
    if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
        return true;
    }
    is_float(digits)
}

/// `[0-9]*(\.[0-9]*)?([eE][-+]?[0-9]+)?` with at least one digit in front of the exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return false;
    }
    exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && digits(text)
    })
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`: sixty-based numbers of YAML 1.1.
fn is_base60(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let text = text.split_once('.').map_or(text, |(whole, fraction)| {
        if fraction.chars().all(|c| c.is_ascii_digit() || c == '_') { whole } else { text }
    });
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or("");
    if !first.starts_with(|c: char| c.is_ascii_digit())
        || !first.chars().all(|c| c.is_ascii_digit() || c == '_')
    {
        return false;
    }
    let mut any = false;
    for part in parts {
        let sixty = part.len() <= 2 && !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        if !sixty || (part.len() == 2 && part.as_bytes()[0] > b'5') {
            return false;
        }
        any = true;
    }
    any
}

/// Dates and times that go-yaml reads as timestamps: `2006-1-2`, and with a time after `T`, `t` or a space.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let digits = |text: &str, sizes: std::ops::RangeInclusive<usize>| {
        sizes.contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit())
    };
    if !digits(year, 4..=4) || !digits(month, 1..=2) || !digits(day, 1..=2) {
        return false;
    }
    let within = |text: &str, most: u32| text.parse::<u32>().is_ok_and(|number| (1..=most).contains(&number));
    if !within(month, 12) || !within(day, 31) {
        return false;
    }
    let Some(time) = time else { return true };
    let clock = match time.find(['Z', '+', '-', ' ']) {
        Some(at) => &time[..at],
        None if text.contains(['T', 't']) => return false,
        None => time,
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts.as_slice() else { return false };
    digits(hour, 1..=2)
        && digits(minute, 1..=2)
        && digits(second, 1..=2)
        && fraction.chars().all(|c| c.is_ascii_digit())
}
