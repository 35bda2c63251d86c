//! Breaks lines between words, and moves text to the right.

/// Breaks lines that are longer than `limit` where a space is; existing breaks stay.
pub(super) fn wrap(text: &str, limit: usize) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| wrap_line(line, limit)).collect();
    lines.join("\n")
}

fn wrap_line(line: &str, limit: usize) -> String {
    let mut out = String::with_capacity(line.len() + line.len() / limit.max(1));
    let mut column = 0;
    let mut rest = line;
    while !rest.is_empty() {
        let word_at = rest.find(|letter| !is_space(letter)).unwrap_or(rest.len());
        let (space, after) = rest.split_at(word_at);
        let end = after.find(is_space).unwrap_or(after.len());
        let (word, next) = after.split_at(end);
        let (spaces, letters) = (space.chars().count(), word.chars().count());
        if word.is_empty() {
            // Spaces at the end stay where there is room for them.
            if column + spaces <= limit {
                out.push_str(space);
            }
        } else if column + spaces + letters > limit && column + spaces > 1 {
            out.push('\n');
            out.push_str(word);
            column = letters;
        } else {
            out.push_str(space);
            out.push_str(word);
            column += spaces + letters;
        }
        rest = next;
    }
    out
}

fn is_space(letter: char) -> bool {
    letter.is_whitespace() && letter != '\u{a0}'
}

/// Puts so many spaces before every line, empty ones included.
pub(super) fn indent(text: &str, amount: usize) -> String {
    let pad = " ".repeat(amount);
    format!("{pad}{}", text.replace('\n', &format!("\n{pad}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        for (text, limit, wanted) in [
            ("a bb ccc", 4, "a bb\nccc"),
            ("a  bb", 10, "a  bb"),
            ("  a bb cc", 4, "  a\nbb\ncc"),
            ("a\n\nb", 4, "a\n\nb"),
            ("verylongword a", 4, "verylongword\na"),
            ("a verylongword", 4, "a\nverylongword"),
            ("aaa  ", 4, "aaa"),
        ] {
            assert_eq!(wrap(text, limit), wanted, "{text:?}");
        }
        assert_eq!(indent("a\n\nb", 2), "  a\n  \n  b");
    }
}
