//! Reading Rust well enough for rules: code without comments and strings; and words that no file may contain.

use super::Finding;
use super::rules::Rules;

/// The same lines with comments and the insides of literals blanked out.
pub(super) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = at + literal(rest, at.checked_sub(1).map(|before| bytes[before]));
        if end > at {
            out.extend(text[at..end].chars().filter(|c| *c == '\n'));
            out.push(' ');
            at = end;
        } else if let Some(first) = rest.chars().next() {
            out.push(first);
            at += first.len_utf8();
        }
    }
    out
}

/// Length of the comment or literal that begins here; 0 if none does.
fn literal(rest: &str, before: Option<u8>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if let Some(raw) = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word) {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = rest.len() - raw.len() + hashes + 1;
            return rest[start..].find(&close).map_or(rest.len(), |end| start + end + close.len());
        }
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    // A character, and not a lifetime: a quote follows one character or an escape.
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut characters = inside.chars();
        if inside.starts_with('\\') {
            return quoted(rest, '\'');
        }
        if let (Some(character), Some('\'')) = (characters.next(), characters.next()) {
            return 2 + character.len_utf8();
        }
    }
    0
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Words that no file may contain: those of `tidy.toml`, and those that only make sense on one machine.
pub(super) fn words(path: &str, text: &str, machine: &[String], rules: &Rules) -> Vec<Finding> {
    // The file that lists them contains them.
    let listed = rules.words.iter().filter(|_| path != "xtask/tidy.toml");
    let mut findings = Vec::new();
    for word in listed.chain(machine) {
        if !text.contains(word.as_str()) {
            continue;
        }
        for (index, line) in text.lines().enumerate().filter(|(_, line)| line.contains(word.as_str())) {
            if line.match_indices(word.as_str()).any(|(at, _)| stands_alone(line, at)) {
                findings.push(Finding::new(path, index + 1, format!("{word:?} does not belong into a file")));
            }
        }
    }
    findings
}

/// `/srv/x` is a path of the machine, `/crates/srv/x` is not.
fn stands_alone(line: &str, at: usize) -> bool {
    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-}".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_literals() {
        for (text, expected) in [
            ("a // b", "a  "),
            ("a /* b\nc */ d", "a \n  d"),
            (r#"f("x \" y") + 1"#, "f( ) + 1"),
            ("f(r#\"x \" y\"#) + 1", "f( ) + 1"),
            (r"let c = '\''; x", "let c =  ; x"),
            ("'\"' + b'\"'", "  + b "),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("for\"x\"", "for "),
            ("var\"x\"", "var "),
            ("'ä' x", "  x"),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn finds_words_of_the_machine() {
        let machine = ["/home/jane/".to_owned()];
        let rules = Rules { words: vec!["FIX".to_owned() + "ME"], ..Rules::default() };
        let found = |text: &str| words("a.rs", text, &machine, &rules).len();
        assert_eq!(found("cd /home/jane/minik\n"), 1);
        assert_eq!(found("cd $root/home/jane/minik\n"), 0);
        assert_eq!(found(&format!("// {}: later", rules.words[0])), 1);
        assert_eq!(found("// fine"), 0);
    }
}
