//! Rust files: header, size, name, and what stands in tests.

use super::Finding;
use super::rules::{Rule, Rules, Used};
use super::scan;

/// Checks one file.
pub(super) fn check(path: &str, text: &str, rules: &Rules, used: &mut Used) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |line: usize, text: String| findings.push(Finding::new(path, line, text));
    if !text.starts_with("//! ") {
        say(1, "a file opens with //! and one sentence that tells its purpose".to_owned());
    }
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    if rules.vague_names.iter().any(|vague| vague == name) {
        say(0, format!("the name {name} says nothing: name the one idea that the file holds"));
    }

    let code = scan::code(text);
    let tests_from = if is_test(path) { 0 } else { inline_tests(&code) };
    let lines = if tests_from == 0 { text.lines().count() } else { tests_from };
    if lines > rules.max_lines && !rules.excepts(Rule::Size, path, used) {
        say(0, format!("{lines} lines without tests, {} are the limit: split it by ideas", rules.max_lines));
    }
    // With time that does not pass by itself a sleep costs nothing and waits for nothing real.
    let paused = text.contains("start_paused") || text.contains("time::pause()");
    for (index, line) in code.lines().enumerate() {
        if line.contains("#[ignore") {
            say(index + 1, "no test is ignored: mend it or delete it".to_owned());
        }
        if is_unsafe(line) && !rules.excepts(Rule::Unsafe, path, used) {
            say(index + 1, "unsafe code belongs into the files that xtask/tidy.toml lists".to_owned());
        }
        let sleeps = calls(line, "sleep") && index >= tests_from && !paused;
        if sleeps && !rules.excepts(Rule::Sleep, path, used) {
            say(index + 1, "a test waits on a condition (testkit::eventually), it does not sleep".to_owned());
        }
    }
    findings
}

/// Whether the whole file is tests.
fn is_test(path: &str) -> bool {
    path.starts_with("tests/tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}

/// Number of lines before the first inline module of tests; all of them, if there is none.
fn inline_tests(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let start = lines.iter().enumerate().position(|(index, line)| {
        *line == "#[cfg(test)]"
            && lines[index + 1..].iter().find(|next| !next.starts_with('#')).is_some_and(|next| {
                next.trim_start_matches("pub(crate) ").starts_with("mod ") && next.ends_with('{')
            })
    });
    start.unwrap_or(lines.len())
}

fn is_unsafe(line: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe extern", "unsafe impl", "unsafe trait"]
        .iter()
        .any(|words| line.contains(words))
}

/// Whether a line calls a function of this name (`_sleep(` is another one's).
fn calls(line: &str, function: &str) -> bool {
    line.match_indices(function).any(|(at, _)| {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        line[at + function.len()..].starts_with('(')
            && !line[..at].ends_with(word)
            && !line[..at].trim_end().ends_with("fn")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let rules = Rules { max_lines: 5, vague_names: vec!["utils".into()], ..Rules::default() };
        check(path, text, &rules, &mut Used::new()).into_iter().map(|f| f.text).collect()
    }

    #[track_caller]
    fn finds(path: &str, text: &str, words: &str) {
        let found = findings(path, text);
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }

    #[test]
    fn a_file_tells_its_purpose() {
        finds("crates/x/src/a.rs", "fn f() {}\n", "//!");
        finds("crates/x/src/utils.rs", "//! Things.\n", "says nothing");
        assert_eq!(findings("crates/x/src/a.rs", "//! Adds.\n"), [""; 0]);
    }

    #[test]
    fn inline_tests_do_not_count() {
        let mut text = "//! Adds.\nfn f() {}\n#[cfg(test)]\nmod tests {\n".to_owned();
        for index in 0..20 {
            let _ = writeln!(text, "    fn f{index}() {{}}");
        }
        assert_eq!(findings("crates/x/src/a.rs", &format!("{text}}}\n")), [""; 0]);
        finds("crates/x/src/a.rs", &text.replace("#[cfg(test)]", ""), "limit");
        finds("crates/x/src/a/tests.rs", &text, "limit");
    }

    #[test]
    fn tests_neither_sleep_nor_are_ignored() {
        let sleep = "//! A test.\nfn f() { sleep(SECOND) }\n";
        finds("crates/x/tests/a.rs", sleep, "does not sleep");
        assert_eq!(findings("crates/x/src/a.rs", sleep), [""; 0]);
        assert_eq!(
            findings("crates/x/tests/a.rs", &sleep.replace("fn", "#[x(start_paused = true)] fn")),
            [""; 0]
        );
        assert_eq!(findings("crates/x/tests/a.rs", "//! A test.\n// sleep(1)\n"), [""; 0]);
        finds("crates/x/src/a.rs", "//! A test.\n#[ignore]\nfn f() {}\n", "ignored");
    }

    #[test]
    fn unsafe_code_has_its_files() {
        finds("crates/x/src/a.rs", "//! Calls.\nfn f() { unsafe { g() } }\n", "unsafe");
        assert_eq!(findings("crates/x/src/a.rs", "//! Calls.\n// unsafe { g() }\n"), [""; 0]);
    }
}
