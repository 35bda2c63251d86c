//! kctl and stock kubectl 1.36, command by command, on one cluster: the same output, the same errors, the same exit code.
//!
//! Each works in a namespace of its own, prepared alike, so that a command that changes something finds what its
//! twin finds. Needs kctl (`cargo build -p ctl`) and a kubectl 1.36 (`tests/kubectl/fetch`).

mod normal;
mod rare;
mod table;

use std::path::{Path, PathBuf};

use tests::kubectl;
use tests::profile::Said;
use tests::served::Served;

/// The two.
const SIDES: [&str; 2] = ["ours", "theirs"];

/// One side: its program and its kubeconfig.
struct Side {
    name: &'static str,
    program: PathBuf,
    config: String,
}

impl Side {
    /// Runs the program, or with `stock` kubectl whoever's side it is.
    async fn run(&self, served: &Served, words: &[String], stock: Option<&PathBuf>) -> Said {
        let words: Vec<String> = words.iter().map(|word| word.replace("{side}", self.name)).collect();
        let mut command = served.command(stock.unwrap_or(&self.program));
        // What kubectl has only where it is asked for, and an editor that changes a value.
        command.env("KUBECTL_APPLYSET", "true").env("KUBE_EDITOR", "sed -i /a:/y/1/7/");
        command.env("KUBECONFIG", &self.config).args(&words);
        let ran = tokio::time::timeout(tests::DEADLINE, command.output()).await;
        let output = ran.unwrap_or_else(|_| panic!("{}: {words:?} does not end", self.name));
        Said::of(output.expect("it runs"))
    }
}

/// Splits a line into words; quotes hold together what has spaces.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (None, '\'' | '"') => (quote, open) = (Some(letter), true),
            (None, ' ') => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, letter) => word.push(letter),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kctl_says_what_kubectl_says() {
    let stock = kubectl::all().into_iter().find(|one| one.minor == 36);
    let stock = stock.expect("a kubectl 1.36: tests/kubectl/fetch and MINIK_KUBECTLS").path;
    let served = Served::start(1).await;
    served.cluster.nodes_ready(1, tests::DEADLINE).await.expect("its node is Ready");
    for (name, content) in table::FILES.iter().chain(rare::FILES) {
        served.file(name, content);
    }
    // Kustomizations: those of the crate's own tests.
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/kustomize/testdata"));
    copy(data, &served.home().join("k"));
    let admin = std::fs::read_to_string(served.kubeconfig()).expect("a kubeconfig");
    let sides = SIDES.map(|name| {
        let mut config: serde_json::Value = serde_json::from_str(&admin).expect("JSON");
        config["contexts"][0]["context"]["namespace"] = name.into();
        let config = served.file(&format!("config-{name}"), &config.to_string());
        let program = if name == "ours" { tests::binary("kctl") } else { stock.clone() };
        Side { name, program, config }
    });
    let (mut different, mut count) = (Vec::new(), 0);
    let lines = table::COMMANDS.lines().chain(rare::COMMANDS.lines()).map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(line) = line.strip_prefix("! ") {
            for side in &sides {
                let said = side.run(&served, &words(line), Some(&stock)).await;
                assert_eq!(said.code, 0, "{} {line}: {said:?}", side.name);
            }
            continue;
        }
        count += 1;
        let words = words(line);
        let (ours, theirs) =
            tokio::join!(sides[0].run(&served, &words, None), sides[1].run(&served, &words, None));
        let [ours, theirs] = [normal::said(ours, SIDES[0]), normal::said(theirs, SIDES[1])];
        let known = table::DIFFERENT.iter().find(|(command, _)| *command == line);
        match (ours == theirs, known) {
            (true, Some((_, reason))) => {
                different.push(format!("$ {line}\nis the same, but listed: {reason}"))
            }
            (false, None) => different.push(format!("$ {line}\n--- kctl\n{ours}\n--- kubectl\n{theirs}")),
            _ => {}
        }
    }
    assert!(count >= 150, "{count} commands");
    assert!(different.is_empty(), "{} of {count} differ:\n\n{}", different.len(), different.join("\n\n"));
}

#[test]
fn lines_are_split_as_a_shell_does() {
    assert_eq!(words("a 'b c' -p='{\"x\": 1}' ''"), ["a", "b c", "-p={\"x\": 1}", ""]);
}
