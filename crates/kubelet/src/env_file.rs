//! Files of variables that a pod's containers have written (`fileKeyRef`): what of a shell's words they may say.
//!
//! **Contract**: pure. `NAME='VALUE'`, a value over several lines if need be; blank lines and lines that begin with `#` are
//! passed over. Everything else is refused with its line, so that whatever is taken means the same to a shell.
//! **Upstream**: `pkg/kubelet/util/env`, KEP-3721.

/// The value of a variable, the last if there are several; none: the file does not name it.
pub(crate) fn value_of(text: &str, name: &str) -> Result<Option<String>, String> {
    let invalid = |rest: &str| {
        let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
        format!("invalid environment variable format at line {line}")
    };
    let blank = |c: char| c == ' ' || c == '\t';
    let (mut rest, mut found) = (text, None);
    loop {
        rest = rest.trim_start_matches(|c: char| blank(c) || c == '\n' || c == '\r');
        if rest.is_empty() {
            return Ok(found);
        }
        if rest.starts_with('#') {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            continue;
        }
        let line = rest.split_once('\n').map_or(rest, |(line, _)| line);
        let (key, _) = line.split_once('=').ok_or_else(|| invalid(rest))?;
        let after = rest[key.len() + 1..].trim_start_matches(blank);
        let key = key.trim_end_matches(blank);
        let quoted = after.strip_prefix('\'').filter(|_| !key.is_empty()).ok_or_else(|| invalid(rest))?;
        let (value, after) = quoted.split_once('\'').ok_or_else(|| invalid(rest))?;
        let (tail, after) = after.split_once('\n').unwrap_or((after, ""));
        if !tail.trim().is_empty() {
            return Err(invalid(rest));
        }
        if key == name {
            found = Some(value.to_owned());
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_shell_would_take_literally_is_read() {
        let text = "# comment\n\n  A='one # two'\nB = 'x=\"$y\"'  \nEMPTY=''\nLONG='a\nb'\nA='last'";
        for (name, value) in [
            ("A", Some("last")),
            ("B", Some("x=\"$y\"")),
            ("EMPTY", Some("")),
            ("LONG", Some("a\nb")),
            ("C", None),
        ] {
            assert_eq!(value_of(text, name), Ok(value.map(str::to_owned)), "{name}");
        }
        for (text, line) in [
            ("A=bare", 1),
            ("\nA=\"double\"", 2),
            ("A='a''b'", 1),
            ("A='a'$B", 1),
            ("A='open\n", 1),
            ("B='1'\n='no name'", 2),
            ("word", 1),
        ] {
            let message = format!("invalid environment variable format at line {line}");
            assert_eq!(value_of(text, "A"), Err(message), "{text}");
        }
    }
}
