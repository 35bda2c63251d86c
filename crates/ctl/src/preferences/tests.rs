//! What preferences make of command lines; the expected lines were compared with kubectl 1.36.

use jiff::Timestamp;

use super::*;

/// The commands of the tests.
fn commands(name: &str) -> Option<clap::Command> {
    let leaf = |name: &'static str| {
        clap::Command::new(name)
            .arg(crate::cli::output())
            .arg(crate::cli::dry_run())
            .arg(crate::cli::flag("watch", "").short('w'))
            .arg(crate::cli::text("image", ""))
    };
    match name {
        "get" => Some(leaf("get")),
        "run" => Some(leaf("run")),
        "set" => Some(clap::Command::new("set").subcommand(leaf("env")).subcommand(leaf("image"))),
        _ => None,
    }
}

const FILE: &str = "
apiVersion: kubectl.config.k8s.io/v1beta1
kind: Preference
defaults:
- {command: get, options: [{name: output, default: name}, {name: namespace, default: x}]}
- {command: set env, options: [{name: dry-run, default: client}]}
- {command: zap}
aliases:
- {name: getn, command: get, prependArgs: [nodes], options: [{name: output, default: wide}]}
- {name: runx, command: run, appendArgs: [\"--\", echo], options: [{name: image, default: i}]}
- {name: get, command: run}
- {name: bad, command: zap zup}
- {name: badf, command: get, options: [{name: nope, default: a}]}
";

fn preferences(text: &str) -> Preferences {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kuberc");
    std::fs::write(&path, text).expect("written");
    read(&path).ok().flatten().expect("preferences").0
}

fn line(of: &Preferences, line: &str) -> Result<String, String> {
    let words = std::iter::once("kctl").chain(line.split(' ')).map(OsString::from).collect();
    let line = apply::apply(of, words, &commands, &mut |_| {})?;
    Ok(line[1..].iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
}

#[test]
fn lines_get_defaults_and_aliases() {
    let all = preferences(FILE);
    for (given, wanted) in [
        ("get pods", Ok("get --output=name --namespace=x pods")),
        ("get pods -o yaml", Ok("get --namespace=x pods -o yaml")),
        ("get pods -oyaml -n x", Ok("get pods -oyaml -n x")),
        ("get pods --output=json -wn x", Ok("get pods --output=json -wn x")),
        ("--namespace x get pods", Ok("--namespace x get --output=name pods")),
        ("-v 6 get pods", Ok("-v 6 get --output=name --namespace=x pods")),
        ("set env deploy/web A=1", Ok("set env --dry-run=client deploy/web A=1")),
        ("set image deploy/web a=b", Ok("set image deploy/web a=b")),
        ("getn", Ok("get --output=wide nodes")),
        ("getn x -o name", Ok("get nodes x -o name")),
        ("runx x", Ok("run --image=i x -- echo")),
        ("other x", Ok("other x")),
        ("bad", Err("command \"zap zup\" not found to set alias \"bad\": [zap zup]")),
        ("badf", Err("invalid alias flag nope in alias kctl")),
    ] {
        assert_eq!(line(&all, given), wanted.map(str::to_owned).map_err(str::to_owned), "{given}");
    }
    let wrong = Defaults { command: "get".to_owned(), options: vec![("nope".to_owned(), String::new())] };
    let wrong = Preferences { defaults: vec![wrong], ..Preferences::default() };
    assert_eq!(line(&wrong, "get x"), Err("invalid flag nope for command get".to_owned()));
    let of_alias = Defaults { command: "getn".to_owned(), options: Vec::new() };
    let of_alias = Preferences { defaults: vec![of_alias], ..all };
    assert_eq!(line(&of_alias, "getn"), Err("alias getn can not be overridden".to_owned()));
}

#[test]
fn files_are_read_in_both_versions_and_checked() {
    let new = preferences(FILE);
    let old = "apiVersion: kubectl.config.k8s.io/v1alpha1\nkind: Preference\noverrides:\n- {command: get, flags: [{name: output, default: name}]}\n";
    assert_eq!(
        preferences(&format!("a: b\n---\n{old}")).defaults[0].options,
        [new.defaults[0].options[0].clone()]
    );
    assert_eq!(new.check(), Ok(()));
    for (name, wanted) in [
        ("a-b", "invalid alias name, can only include alphabetical characters"),
        ("getn", "duplicate alias name getn"),
    ] {
        let mut wrong = new.clone();
        wrong.aliases[1].name = name.to_owned();
        assert_eq!(wrong.check(), Err(wanted.to_owned()));
    }
    let mut wrong = new;
    wrong.defaults[0].options[0].0 = "-o".to_owned();
    assert_eq!(wrong.check(), Err("flag name -o should be in long form without dashes".to_owned()));
}

#[test]
fn policies_say_which_plugins_run() {
    let terminal =
        Terminal::new(std::io::empty(), std::io::sink(), std::io::sink(), || Timestamp::UNIX_EPOCH)
            .with_environment([("PATH".to_owned(), "/bin".to_owned())]);
    let of = |policy: Option<&str>, list: Option<&[&str]>| {
        let allowlist = list.map(|list| list.iter().map(|one| (*one).to_owned()).collect());
        Policy::of(&Preferences { policy: policy.map(str::to_owned), allowlist, ..Preferences::default() })
    };
    for (policy, list, program, wanted) in [
        (None, None, "/x", Ok(())),
        (Some("DenyAll"), None, "/x", Err("plugin \"/x\" not allowed: policy set to \"DenyAll\"")),
        (Some("Allowlist"), Some(&["/x"][..]), "/x", Ok(())),
        (Some("Allowlist"), Some(&["sh"][..]), "/bin/sh", Ok(())),
        (
            Some("Allowlist"),
            Some(&["/y"][..]),
            "sh",
            Err("plugin path \"/bin/sh\" is not permitted by the credential plugin allowlist"),
        ),
        (Some("X"), None, "", Err("unknown plugin policy: \"X\"")),
        (
            Some("Allowlist"),
            Some(&["a", ""][..]),
            "",
            Err("misconfigured credential plugin allowlist: empty allowlist entry #2"),
        ),
        (
            Some("AllowAll"),
            Some(&["a"][..]),
            "",
            Err(
                "misconfigured credential plugin allowlist: plugin policy is \"AllowAll\" but allowlist is non-nil",
            ),
        ),
    ] {
        let checked = of(policy, list).and_then(|policy| policy.check(program, &terminal));
        assert_eq!(checked, wanted.map_err(str::to_owned), "{policy:?} {list:?}");
    }
}

#[test]
fn the_place_is_told_by_flag_variable_or_home() {
    let with = |kuberc: &str| {
        Terminal::new(std::io::empty(), std::io::sink(), std::io::sink(), || Timestamp::UNIX_EPOCH)
            .with_environment([("HOME", "/h"), ("KUBERC", kuberc)].map(|(a, b)| (a.to_owned(), b.to_owned())))
    };
    let path = |explicit: &str, kuberc: &str| {
        place(explicit, &with(kuberc))
            .map(|found| found.map(|(path, named)| (path.display().to_string(), named)))
    };
    assert_eq!(path("", ""), Ok(Some(("/h/.kube/kuberc".to_owned(), false))));
    assert_eq!(path("", "/e"), Ok(Some(("/e".to_owned(), true))));
    assert_eq!(path("/f", "/e"), Ok(Some(("/f".to_owned(), true))));
    assert_eq!(path("", "off"), Ok(None));
    assert!(path("/f", "off").is_err());
}
