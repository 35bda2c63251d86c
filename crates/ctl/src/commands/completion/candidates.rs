//! What may stand where the cursor is: commands and flags by the grammar, types and names by the server.
//!
//! **Contract.** Nothing is ever said on standard error, and what cannot be asked offers nothing: a completion may not disturb.
//! **Upstream.** `kubectl/pkg/util/completion` (which names where).

use clap::{Arg, ArgAction};

use crate::commands::Context;
use crate::connection::{JSON, with_query};
use crate::output::name;
use crate::resolve;

/// What is to be offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// These, whatever the server has.
    Words(Vec<String>),
    /// Files: the shell knows them.
    Files,
    /// Types, or `type/name` where a slash is there.
    Types,
    /// Names of this type.
    Names(String),
    /// Names of pods, or `type/name`.
    Pods,
    /// Containers of this pod.
    Containers(String),
    /// `contexts`, `clusters` or `users` of the kubeconfig.
    Configured(&'static str),
}

/// Types that have a rollout.
const ROLLOUTS: [&str; 3] = ["deployment", "daemonset", "statefulset"];

/// What is wanted behind these words, of which the last is not finished.
pub(super) fn wanted(root: &clap::Command, words: &[String]) -> Wanted {
    let (current, before) = words.split_last().map_or(("", &[][..]), |(last, rest)| (last.as_str(), rest));
    let (mut command, mut path, mut arguments) = (root, Vec::new(), Vec::new());
    let mut pending: Option<&Arg> = None;
    for word in before {
        if pending.take().is_some() {
            continue;
        }
        if word == "--" {
            return Wanted::Files;
        }
        if let Some(flag) = word.strip_prefix('-') {
            pending = if flag.contains('=') {
                None
            } else {
                find(root, command, word).filter(|arg| takes_value(arg))
            };
            continue;
        }
        match command.find_subcommand(word).filter(|_| arguments.is_empty()) {
            Some(sub) => {
                command = sub;
                path.push(sub.get_name());
            }
            None => arguments.push(word.as_str()),
        }
    }
    if let Some(arg) = pending {
        return of_flag(arg, &arguments);
    }
    if let Some((flag, _)) = current.split_once('=').filter(|_| current.starts_with('-')) {
        return match find(root, command, flag) {
            Some(arg) => match of_flag(arg, &arguments) {
                Wanted::Words(words) => {
                    Wanted::Words(words.into_iter().map(|word| format!("{flag}={word}")).collect())
                }
                other => other,
            },
            None => Wanted::Words(Vec::new()),
        };
    }
    if current.starts_with('-') {
        return Wanted::Words(flags(root, command));
    }
    let subcommands: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_name().to_owned())
        .collect();
    if arguments.is_empty() && command.is_subcommand_required_set() {
        return Wanted::Words(subcommands);
    }
    match positional(&path, &arguments) {
        Wanted::Words(words) if words.is_empty() && arguments.is_empty() => Wanted::Words(subcommands),
        other => other,
    }
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !arg.is_require_equals_set()
}

fn find<'a>(root: &'a clap::Command, command: &'a clap::Command, word: &str) -> Option<&'a Arg> {
    let all = || command.get_arguments().chain(root.get_arguments());
    match word.strip_prefix("--") {
        Some(long) => all().find(|arg| arg.get_long() == Some(long)),
        None => {
            let letter = word.trim_start_matches('-').chars().last()?;
            all().find(|arg| arg.get_short() == Some(letter))
        }
    }
}

fn flags(root: &clap::Command, command: &clap::Command) -> Vec<String> {
    let mut found: Vec<String> = command
        .get_arguments()
        .chain(root.get_arguments())
        .filter_map(|arg| Some((arg.get_long()?, takes_value(arg))))
        .map(|(long, takes)| if takes { format!("--{long}=") } else { format!("--{long}") })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn words(list: &[&str]) -> Wanted {
    Wanted::Words(list.iter().map(|word| (*word).to_owned()).collect())
}

fn of_flag(arg: &Arg, arguments: &[&str]) -> Wanted {
    match arg.get_long().unwrap_or("") {
        "namespace" => Wanted::Names("namespaces".to_owned()),
        "context" => Wanted::Configured("contexts"),
        "cluster" => Wanted::Configured("clusters"),
        "user" => Wanted::Configured("users"),
        "container" => {
            arguments.first().map_or_else(|| words(&[]), |pod| Wanted::Containers((*pod).to_owned()))
        }
        "output" => {
            words(&["json", "yaml", "kyaml", "name", "wide", "jsonpath", "go-template", "custom-columns"])
        }
        "dry-run" => words(&["none", "client", "server"]),
        "cascade" => words(&["background", "foreground", "orphan"]),
        "filename"
        | "kustomize"
        | "kubeconfig"
        | "from-file"
        | "from-env-file"
        | "certificate-authority"
        | "client-certificate"
        | "client-key"
        | "output-directory"
        | "patch-file" => Wanted::Files,
        _ => words(&[]),
    }
}

fn positional(path: &[&str], arguments: &[&str]) -> Wanted {
    let names = |kind: &str| Wanted::Names(kind.to_owned());
    match (path, arguments) {
        (
            [
                "get" | "describe" | "delete" | "edit" | "label" | "annotate" | "patch" | "expose" | "scale"
                | "autoscale" | "wait",
            ],
            [],
        )
        | (["explain"], [])
        | (["apply", "view-last-applied" | "edit-last-applied"], [])
        | (["set", _], []) => Wanted::Types,
        (["explain"], _) => words(&[]),
        (
            [
                "get" | "describe" | "delete" | "edit" | "label" | "annotate" | "patch" | "expose" | "scale"
                | "autoscale",
            ],
            [kind, ..],
        )
        | (["apply", "view-last-applied" | "edit-last-applied"], [kind, ..])
            if !kind.contains('/') =>
        {
            names(kind)
        }
        (["get" | "describe" | "delete" | "edit"], _) => Wanted::Types,
        (["logs" | "exec" | "attach" | "port-forward" | "debug"], []) => Wanted::Pods,
        (["drain" | "cordon" | "uncordon"], _) | (["top", "node"], []) => names("nodes"),
        (["top", "pod"], []) => names("pods"),
        (["taint"], []) => words(&["node"]),
        (["taint"], [_]) => names("nodes"),
        (["rollout", _], []) => words(&ROLLOUTS),
        (["rollout", _], [kind]) => names(kind),
        (["certificate", _], _) => names("certificatesigningrequests"),
        (
            ["config", "use-context" | "delete-context" | "rename-context" | "get-contexts" | "set-context"],
            [],
        ) => Wanted::Configured("contexts"),
        (["config", "delete-cluster" | "set-cluster"], []) => Wanted::Configured("clusters"),
        (["config", "delete-user" | "set-credentials"], []) => Wanted::Configured("users"),
        (["completion"], []) => words(&["bash", "zsh", "fish", "powershell"]),
        (["kustomize"], []) | (["cp"], _) => Wanted::Files,
        _ => words(&[]),
    }
}

/// The words to offer that begin as `current` does; `None` where the shell is to offer files.
pub(super) async fn offer(context: &Context, wanted: Wanted, current: &str) -> Option<Vec<String>> {
    let found = match wanted {
        Wanted::Files => return None,
        Wanted::Words(words) => words,
        Wanted::Configured(list) => context.config()[list]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some(one["name"].as_str()?.to_owned()))
            .collect(),
        Wanted::Names(kind) => names(context, &kind).await,
        Wanted::Types => types(context, current).await,
        Wanted::Pods if current.contains('/') => types(context, current).await,
        Wanted::Pods => names(context, "pods").await,
        Wanted::Containers(pod) => containers(context, &pod).await,
    };
    Some(found.into_iter().filter(|word| word.starts_with(current)).collect())
}

async fn types(context: &Context, current: &str) -> Vec<String> {
    if let Some((kind, _)) = current.split_once('/') {
        return names(context, kind).await.into_iter().map(|name| format!("{kind}/{name}")).collect();
    }
    // Several types may be joined by commas.
    let lead = current.rfind(',').map_or("", |at| &current[..=at]);
    let Ok(discovery) = context.discovery().await else { return Vec::new() };
    let mut found: Vec<String> = discovery
        .preferred()
        .into_iter()
        .filter(|one| one.verbs.iter().any(|verb| verb == "get"))
        .map(|one| format!("{lead}{}", name::with_group(&one.name, &one.group)))
        .collect();
    found.sort();
    found
}

async fn names(context: &Context, kind: &str) -> Vec<String> {
    let Ok(discovery) = context.discovery().await else { return Vec::new() };
    let Ok(resource) = resolve::resource(discovery, kind) else { return Vec::new() };
    let path = with_query(&resource.collection(Some(context.namespace())), &[("limit", "500".to_owned())]);
    let Ok(connection) = context.connection().await else { return Vec::new() };
    let Ok(list) = connection.get(&path, JSON).await else { return Vec::new() };
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|one| Some(one["metadata"]["name"].as_str()?.to_owned())).collect()
}

async fn containers(context: &Context, pod: &str) -> Vec<String> {
    let pod = pod.rsplit('/').next().unwrap_or(pod);
    let path = format!("/api/v1/namespaces/{}/pods/{}", context.namespace(), crate::connection::encode(pod));
    let Ok(connection) = context.connection().await else { return Vec::new() };
    let Ok(pod) = connection.get(&path, JSON).await else { return Vec::new() };
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let all = lists.iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
    all.filter_map(|one| Some(one["name"].as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_before_the_cursor_decide() {
        let root = crate::commands::grammar();
        let at = |line: &str| wanted(&root, &line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(at("get "), Wanted::Types);
        assert_eq!(at("get pods "), Wanted::Names("pods".to_owned()));
        assert_eq!(at("get -n x pods we"), Wanted::Names("pods".to_owned()));
        assert_eq!(at("get -n "), Wanted::Names("namespaces".to_owned()));
        assert_eq!(
            at("get pods -o ya"),
            words(&["json", "yaml", "kyaml", "name", "wide", "jsonpath", "go-template", "custom-columns"])
        );
        assert_eq!(at("--context "), Wanted::Configured("contexts"));
        assert_eq!(at("logs "), Wanted::Pods);
        assert_eq!(at("logs web -c "), Wanted::Containers("web".to_owned()));
        assert_eq!(at("apply -f "), Wanted::Files);
        assert_eq!(at("rollout status deployment "), Wanted::Names("deployment".to_owned()));
        assert_eq!(at("config use-context "), Wanted::Configured("contexts"));
        assert_eq!(at("exec web -- "), Wanted::Files);
        let Wanted::Words(commands) = at("") else { panic!("commands") };
        assert!(commands.iter().any(|word| word == "get") && commands.iter().any(|word| word == "rollout"));
        let Wanted::Words(flags) = at("get --name") else { panic!("flags") };
        assert!(flags.iter().any(|word| word == "--namespace="), "{flags:?}");
        assert!(
            matches!(at("create "), Wanted::Words(words) if words.iter().any(|word| word == "deployment"))
        );
    }
}
