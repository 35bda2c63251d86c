//! What two runs say, without what differs from run to run: names of programs and namespaces, ages, times, random letters,
//! addresses, versions.

use tests::profile::Said;

/// Output, errors and exit code as one text.
pub(crate) fn said(said: Said, side: &str) -> String {
    format!("exit {}\nstdout:\n{}stderr:\n{}", said.code, text(&said.stdout, side), text(&said.stderr, side))
}

fn text(text: &str, side: &str) -> String {
    let text = text.replace("kubectl ", "kctl ").replace("'kubectl'", "'kctl'").replace(side, "SIDE");
    let lines: Vec<String> = text.lines().map(line).collect();
    let mut out = lines.join("\n");
    if text.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Keys whose values are new each time.
const KEYS: [&str; 14] = [
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "time",
    "clusterIP",
    "lastTransitionTime",
    "lastUpdateTime",
    "nodePort",
    "kubectl.kubernetes.io/restartedAt",
    "UID",
    "Creation Timestamp",
    "CreationTimestamp",
    "Created on",
    "Resource Version",
];

fn line(line: &str) -> String {
    let key = line.trim_start().trim_start_matches("- ");
    for known in KEYS {
        for quoted in [format!("{known}:"), format!("\"{known}\":"), format!("{known}=")] {
            if key.starts_with(&quoted) {
                return format!("{quoted} VALUE");
            }
        }
    }
    // Columns are as wide as the widest age; what they hold is compared.
    let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
    let mut words: Vec<String> = Vec::new();
    for one in line.split_whitespace() {
        let one = word(one);
        // `(5m ago)` is there or not, as time goes by.
        words.push(one);
    }
    indent + &words.join(" ")
}

fn word(word: &str) -> String {
    let core = word.trim_matches(|letter| matches!(letter, '"' | '\'' | ',' | '(' | ')'));
    let plain = if is_age(core) {
        "AGE".to_owned()
    } else if core.starts_with("10.96.") || core.starts_with("10.244.") {
        "ADDRESS".to_owned()
    } else if is_time(core) {
        "TIME".to_owned()
    } else if core.starts_with('/') && core.contains("-edit-") {
        "EDITED".to_owned()
    } else if let Some(start) = random_suffix(core) {
        format!("{}-RANDOM", &core[..start])
    } else {
        core.to_owned()
    };
    word.replacen(core, &plain, 1)
}

/// `5s`, `3m12s`, `<unknown>` is none.
fn is_age(word: &str) -> bool {
    let mut digits = false;
    let mut units = 0;
    for letter in word.chars() {
        match letter {
            '0'..='9' => digits = true,
            's' | 'm' | 'h' | 'd' if digits => (digits, units) = (false, units + 1),
            _ => return false,
        }
    }
    units > 0 && !digits
}

fn is_time(word: &str) -> bool {
    word.len() >= 20
        && word.starts_with("20")
        && word.ends_with('Z')
        && word.as_bytes().get(10) == Some(&b'T')
}

/// Where the letters begin that a controller has made up: `web-5d8f7c6b9-x2k4q`, `web-5d8f7c6b9`, `nginx-x-abcde`.
fn random_suffix(word: &str) -> Option<usize> {
    let name = word.rsplit('/').next().unwrap_or(word);
    let offset = word.len() - name.len();
    let parts: Vec<&str> = name.split('-').collect();
    let random = |part: &str| {
        part.len() >= 5
            && part.chars().all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter))
            && part.chars().any(|letter| letter.is_ascii_digit())
    };
    let keep = parts.iter().position(|part| random(part)).filter(|at| *at > 0)?;
    Some(offset + parts[..keep].iter().map(|part| part.len() + 1).sum::<usize>() - 1)
}

#[test]
fn what_changes_is_left_out() {
    for (given, wanted) in [
        ("web   1/1   5m3s", "web 1/1 AGE"),
        ("pod/web-5d8f7c6b9-x2k4q created", "pod/web-RANDOM created"),
        ("  uid: abc", "uid: VALUE"),
        ("Error: \"theirs\" is kubectl get", "Error: \"SIDE\" is kctl get"),
        ("my-web", "my-web"),
        ("stored to \"/tmp/kubectl-edit-123.yaml\"", "stored to \"EDITED\""),
    ] {
        assert_eq!(text(given, "theirs"), wanted);
    }
}
