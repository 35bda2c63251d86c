//! Examples of commands, which their help ends with; those that need more words have them beside their arguments.

use clap::Command;

/// By command: what one may type.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("", &["minik start", "minik status", "kctl get pods -A", "minik delete"]),
    ("kubectl", &["minik kubectl -- get pods -A"]),
    ("docker-env", &["eval $(minik docker-env)"]),
    ("completion", &["source <(minik completion bash)"]),
    ("man", &["minik man /usr/local/share/man/man1"]),
    (
        "stop",
        &["minik stop", "minik stop --all", "minik stop --schedule 30m", "minik stop --cancel-scheduled"],
    ),
    ("delete", &["minik delete", "minik delete -p staging", "minik delete --all --purge"]),
    ("status", &["minik status", "minik status -o json", "minik status --format '{{.Host}}'"]),
    ("logs", &["minik logs -f", "minik logs --problems", "minik logs -n 100 --file minik.log"]),
    ("pause", &["minik pause", "minik pause -p staging"]),
    ("unpause", &["minik unpause", "minik unpause -p staging"]),
    ("profile", &["minik profile list", "minik profile staging"]),
    ("profile list", &["minik profile list", "minik profile list -o json"]),
    ("node", &["minik node list", "minik node add", "minik node stop m02", "minik node delete minik-m02"]),
    ("node list", &["minik node list", "minik node list -o json"]),
    ("node add", &["minik node add"]),
    ("node delete", &["minik node delete m02"]),
    ("node start", &["minik node start m02"]),
    ("node stop", &["minik node stop m02"]),
    ("service", &["minik service web --url", "minik service list"]),
    ("service list", &["minik service list", "minik service list -n default -o json"]),
    ("tunnel", &["minik tunnel", "minik tunnel -o json"]),
    ("ip", &["minik ip", "curl http://$(minik ip):30080", "minik ip -n m02"]),
    ("image", &["minik image build -t app:1 .", "minik image ls", "minik image load app.tar"]),
    (
        "image build",
        &["minik image build -t app:1 .", "minik image build -t app:1 --build-arg V=2 --target run ."],
    ),
    ("image load", &["minik image load app.tar", "docker save app:1 | minik image load -"]),
    ("image ls", &["minik image ls", "minik image ls --format table"]),
    ("image pull", &["minik image pull nginx:1.27"]),
    ("image push", &["minik image push localhost:5000/app:1"]),
    ("image rm", &["minik image rm app:1"]),
    ("image save", &["minik image save app:1 app.tar", "minik image save app:1 - | gzip > app.tar.gz"]),
    ("image tag", &["minik image tag app:1 registry.example/app:1"]),
    (
        "cache",
        &[
            "minik cache add nginx:1.27",
            "minik cache list -o json",
            "minik cache reload",
            "minik cache delete nginx:1.27",
        ],
    ),
    ("cache add", &["minik cache add nginx:1.27 redis:7"]),
    ("cache delete", &["minik cache delete nginx:1.27"]),
    ("cache list", &["minik cache list", "minik cache list --format '{{.CacheImage}}'"]),
    ("cache reload", &["minik cache reload"]),
    ("cache sync", &["minik cache sync"]),
    ("addons", &["minik addons list", "minik addons disable ingress"]),
    ("addons list", &["minik addons list", "minik addons list -o json"]),
    ("addons enable", &["minik addons enable registry"]),
    ("addons disable", &["minik addons disable ingress"]),
    ("addons configure", &["minik addons configure registry --port 5001"]),
    ("dashboard", &["kctl get all -A", "kctl top pods -A"]),
    ("config", &["minik config set simulated-nodes 3", "minik config view"]),
    ("config set", &["minik config set nodes 2", "minik config set profile staging"]),
    ("config get", &["minik config get nodes"]),
    ("config unset", &["minik config unset nodes"]),
    ("config view", &["minik config view", "minik config view -o json"]),
    ("update-context", &["minik update-context", "minik update-context -p staging"]),
    ("update-check", &["minik update-check", "minik update-check -o json"]),
    ("version", &["minik version", "minik version -o json", "minik version --short"]),
];

/// The commands with their examples.
pub(super) fn shown(command: Command) -> Command {
    shown_below("", command)
}

fn shown_below(path: &str, command: Command) -> Command {
    let command = match EXAMPLES.iter().find(|(known, _)| *known == path) {
        Some((_, lines)) => {
            let lines: Vec<String> = lines.iter().map(|line| format!("  {line}")).collect();
            command.after_help(format!("Examples:\n{}", lines.join("\n")))
        }
        None => command,
    };
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let below = format!("{path} {name}");
        command.mut_subcommand(&name, |command| shown_below(below.trim(), command))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, command: &Command, known: &mut Vec<String>) {
        let help = command.get_after_help().or(command.get_after_long_help()).map(ToString::to_string);
        assert!(help.is_some_and(|help| help.contains("Examples:\n")), "{path:?} has no examples");
        known.push(path.to_owned());
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            check(format!("{path} {}", below.get_name()).trim(), below, known);
        }
    }

    #[test]
    fn every_command_has_examples_and_every_example_a_command() {
        let mut known = Vec::new();
        check("", &super::super::grammar(), &mut known);
        for (path, _) in EXAMPLES {
            assert!(known.iter().any(|name| name == path), "there is no command {path:?}");
        }
    }

    #[test]
    fn examples_of_minik_can_be_typed() {
        for line in EXAMPLES.iter().flat_map(|(_, lines)| *lines) {
            let words = line.replace('\'', "");
            let Some(words) = words.strip_prefix("minik ") else { continue };
            let words = words.split(" | ").next().unwrap_or_default().split_whitespace();
            let parsed = super::super::grammar().try_get_matches_from(std::iter::once("minik").chain(words));
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err().map(|error| error.to_string()));
        }
    }
}
