//! Hosts with a wildcard, as the Gateway API has them: `*.example` stands for any number of labels, and empty for every host.
//!
//! **Contract**: pure; hosts are in small letters.

/// Whether a pattern stands for a host.
pub(crate) fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        _ if pattern.is_empty() => true,
        // `.example`
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

/// The hosts that two patterns have in common, if there are any.
pub(crate) fn both<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    let within = |wide: &str, narrow: &str| match narrow.strip_prefix('*') {
        Some(suffix) => wide.is_empty() || wide.strip_prefix('*').is_some_and(|wide| suffix.ends_with(wide)),
        None => !narrow.is_empty() && covers(wide, narrow),
    };
    if one == other || within(one, other) {
        return Some(other);
    }
    within(other, one).then_some(one)
}

/// How exactly a pattern names hosts: greater comes first.
pub(crate) fn exactness(pattern: &str) -> (u8, usize) {
    let kind = match pattern {
        "" => 0,
        pattern if pattern.starts_with('*') => 1,
        _ => 2,
    };
    (kind, pattern.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_labels() {
        for (pattern, host, expected) in [
            ("", "a.example", true),
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("*.example", "a.example", true),
            ("*.example", "b.a.example", true),
            ("*.example", "example", false),
            ("*.example", "aexample", false),
        ] {
            assert_eq!(covers(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn two_patterns_have_the_narrower_in_common() {
        for (one, other, expected) in [
            ("", "", Some("")),
            ("", "a.example", Some("a.example")),
            ("*.example", "a.example", Some("a.example")),
            ("*.example", "*.a.example", Some("*.a.example")),
            ("*.example", "example", None),
            ("*.example", "*.other", None),
            ("a.example", "b.example", None),
        ] {
            assert_eq!(both(one, other), expected, "{one} {other}");
            assert_eq!(both(other, one), expected, "{other} {one}");
        }
    }
}
