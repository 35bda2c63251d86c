//! Tables of scalars, and round trips through the reader.

use serde_json::{Value, json};

use super::*;

#[test]
fn quotes_what_would_read_as_something_else() {
    for (text, want) in [
        ("plain", "plain"),
        ("", "\"\""),
        ("true", "\"true\""),
        ("yes", "\"yes\""),
        ("y", "\"y\""),
        ("null", "\"null\""),
        ("123", "\"123\""),
        ("0x1f", "\"0x1f\""),
        ("1.5", "\"1.5\""),
        ("1e3", "\"1e3\""),
        ("1_000", "\"1_000\""),
        ("1:30", "\"1:30\""),
        ("2026-01-01", "\"2026-01-01\""),
        ("2026-01-01T00:00:00Z", "\"2026-01-01T00:00:00Z\""),
        ("1.2.3", "1.2.3"),
        ("10.0.0.1", "10.0.0.1"),
        ("v1", "v1"),
        ("a: b", "'a: b'"),
        ("a:b", "a:b"),
        ("a #b", "'a #b'"),
        ("#b", "'#b'"),
        ("-x", "-x"),
        ("- x", "'- x'"),
        ("*", "'*'"),
        ("{}", "'{}'"),
        ("it's", "it's"),
        ("'q'", "'''q'''"),
        ("\"q\"", "'\"q\"'"),
        (" lead", "' lead'"),
        ("tab\there", "\"tab\\there\""),
        ("é", "é"),
        ("\u{1}", "\"\\x01\""),
    ] {
        assert_eq!(print(&json!(text)), format!("{want}\n"), "{text:?}");
    }
}

#[test]
fn writes_blocks_as_kubectl_does() {
    let value = json!({
        "b": {"list": [{"x": 1, "a": [1, [2, 3]]}, "s"], "empty": {}, "none": []},
        "a10": null, "a9": true, "text": "one\ntwo\n", "kept": "x\n\n", "cut": "x\ny", "lead": "  x\ny\n", "Z": 1.5,
    });
    let want = "Z: 1.5\na9: true\na10: null\nb:\n  empty: {}\n  list:\n  - a:\n    - 1\n    - - 2\n      - 3\n    x: 1\n  - s\n  none: []\ncut: |-\n  x\n  y\nkept: |+\n  x\n\nlead: |2\n    x\n  y\ntext: |\n  one\n  two\n";
    assert_eq!(print(&value), want);
}

#[test]
fn folds_long_lines_with_spaces() {
    let text = "word ".repeat(30).trim_end().to_owned();
    let printed = print(&json!({"message": text}));
    assert!(printed.lines().count() > 1, "{printed}");
    assert_eq!(crate::yaml_input::parse(&printed).unwrap(), json!({"message": text}));
}

#[test]
fn what_is_written_reads_back() {
    let strings: Vec<String> = [
        "a",
        "0",
        "-1",
        "+1",
        ".5",
        "1.",
        "1e5",
        "0o7",
        "08",
        "~",
        "=",
        "<<",
        "on",
        "!x",
        "%y",
        "@z",
        "`w",
        "?",
        "? x",
        ":",
        ": x",
        "-",
        "--- a",
        "...",
        "a\n",
        "\n",
        "\na",
        "a\n\nb",
        " a\nb",
        "a \nb",
        "x: |",
        "a\tb",
        "\\",
        "\"",
        "'",
        "a'b: c",
        "€\u{1f600}",
        "\u{85}",
        "{{ x }}",
        "[a",
        "a]",
        "k: v # c",
        "1:2",
        "12:30:45",
        "2026-01-01 00:00:00",
    ]
    .iter()
    .map(|text| (*text).to_owned())
    .chain([format!("{}: {}", "long ".repeat(40), "tail"), "\"q\" ".repeat(50)])
    .collect();
    for text in strings {
        let value = json!({"k": text, "l": [text], "n": {"m": [{"o": text}]}});
        let printed = print(&value);
        let read: Value =
            crate::yaml_input::parse(&printed).unwrap_or_else(|error| panic!("{text:?}: {error}\n{printed}"));
        assert_eq!(read, value, "{printed}");
    }
}
