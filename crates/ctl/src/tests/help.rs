//! What `help` says.

use super::run_with;

/// Commands, with all that their flags say.
const COMMANDS: [&str; 10] =
    ["", "apply", "create", "create deployment", "delete", "describe", "exec", "get", "logs", "rollout undo"];

#[test]
fn help_tells_of_every_flag() {
    let mut all = String::new();
    for line in COMMANDS {
        let words = ["kctl"].into_iter().chain(line.split_whitespace()).chain(["--help"]);
        let help = crate::commands::grammar().term_width(100).try_get_matches_from(words);
        all += &format!("$ kctl {line} --help\n{}\n", help.expect_err("help"));
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn help_and_the_flag_say_the_same() {
    let of = async |line: &str| run_with(&[], "", &line.split(' ').collect::<Vec<_>>()).await;
    for (word, flag) in [
        ("help", "--help"),
        ("help get", "get --help"),
        ("help rollout undo", "rollout undo --help"),
        ("help get x", "get --help"),
    ] {
        let (word, flag) = (of(word).await, of(flag).await);
        assert_eq!((word.code, flag.code), (0, 0));
        assert_eq!(word.out, flag.out);
    }
    let ran = of("help nothing").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, "Unknown help topic [`nothing`]\n"));
    assert_eq!(ran.out, of("--help").await.out);
}
