//! Numbers that may be percentages: `maxSurge`, `maxUnavailable`, `minAvailable`.
//!
//! **Upstream**: `intstr.GetScaledValueFromIntOrPercent`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a fraction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    Up,
    Down,
}

/// The number, or so much of `total`; what is neither counts as nothing (validation refuses it).
pub(crate) fn scaled(value: &IntOrString, total: i32, round: Round) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
            let hundredfold = percent * i64::from(total);
            let rounded = match round {
                Round::Up => hundredfold.saturating_add(99).div_euclid(100),
                Round::Down => hundredfold.div_euclid(100),
            };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_as_asked() {
        let percent = |text: &str| IntOrString::String(text.to_owned());
        for (value, total, up, down) in [
            (IntOrString::Int(3), 10, 3, 3),
            (percent("25%"), 10, 3, 2),
            (percent("100%"), 7, 7, 7),
            (percent("0%"), 7, 0, 0),
            (percent("1%"), 1, 1, 0),
            (percent("nonsense"), 10, 0, 0),
        ] {
            assert_eq!(scaled(&value, total, Round::Up), up, "{value:?}");
            assert_eq!(scaled(&value, total, Round::Down), down, "{value:?}");
        }
    }
}
