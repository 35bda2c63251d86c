//! `taint`: puts taints on nodes and takes them away.
//!
//! **Upstream.** `kubectl/pkg/cmd/taint` (behaviour).

use clap::ArgMatches;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::MERGE_PATCH;
use crate::report::{Error, message};
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "taint", build, run: |context, matches| Box::pin(run(context, matches)) };

const SEE_HELP: &str = "\nSee 'kctl taint -h' for help and examples";
const NAME_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Update the taints on one or more nodes")
        .arg(cli::arguments("NODE NAME KEY_1=VAL_1:TAINT_EFFECT_1 ... KEY_N=VAL_N:TAINT_EFFECT_N"))
        .args(cli::without(
            selection::flags(),
            &["filename", "kustomize", "recursive", "field-selector", "all-namespaces"],
        ))
        .args(selection::change_flags("kubectl-taint"))
        .arg(super::create::validate_flag())
        .arg(cli::flag("overwrite", "If true, allow taints to be overwritten"))
}

/// A taint as given; without an effect only where it is to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

impl Taint {
    fn fits(&self, taint: &Value) -> bool {
        taint["key"] == self.key.as_str()
            && (self.effect.is_empty() || taint["effect"] == self.effect.as_str())
    }
}

/// What to add and what to take away.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    add: Vec<Taint>,
    remove: Vec<Taint>,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let mut resources = values(matches, "arguments");
    let is_taint = |text: &String| text.contains(['=', ':']) || text.ends_with('-');
    let given = match resources.iter().skip(1).position(is_taint) {
        Some(start) => resources.split_off(start + 1),
        None => match matches.get_flag("all") && resources.len() > 1 {
            true => resources.split_off(1),
            false => Vec::new(),
        },
    };
    if given.is_empty() {
        return Err(message("at least one taint update is required"));
    }
    let changes = parse(&given)?;
    let change = Change::from_matches(matches)?
        .with_validation(super::create::validation(value(matches, "validate"))?);
    let (found, mut errors) = selection::select(context, matches, resources).await?;
    for selected in &found {
        if selected.target.resource.kind != "Node" {
            let kind = selected.target.resource.kind.to_lowercase();
            return Err(message(format!("invalid resource type {kind}, only node types are supported")));
        }
        let name = selected.target.name.as_deref().unwrap_or("");
        let old = selected.object["spec"]["taints"].as_array().cloned().unwrap_or_default();
        match changed(name, old, &changes, matches.get_flag("overwrite")) {
            Ok((taints, done)) => {
                let patch = json!({"spec": {"taints": taints}});
                match change.patch(context, selected, MERGE_PATCH, &patch).await {
                    Ok(mut object) => change.print_bare(context, &mut object, done)?,
                    Err(error) => errors.push(error),
                }
            }
            Err(text) => errors.push(message(text)),
        }
    }
    Error::from_many(errors)
}

fn parse(given: &[String]) -> Result<Changes, Error> {
    let mut changes = Changes::default();
    for one in given {
        let (text, removing) = one.strip_suffix('-').map_or((one.as_str(), false), |text| (text, true));
        let (pair, effect) = text.split_once(':').unwrap_or((text, ""));
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !effect.is_empty() && !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            return Err(message(format!(
                "invalid taint effect: {effect}, unsupported taint effect{SEE_HELP}"
            )));
        }
        let named = key.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !named || !removing && effect.is_empty() {
            return Err(message(format!("invalid taint spec: {one}, {NAME_RULE}{SEE_HELP}")));
        }
        let taint = Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() };
        if removing { changes.remove.push(taint) } else { changes.add.push(taint) }
    }
    Ok(changes)
}

/// A node's new taints, and the word for what happened.
fn changed(
    node: &str,
    old: Vec<Value>,
    changes: &Changes,
    overwrite: bool,
) -> Result<(Vec<Value>, &'static str), String> {
    let there: Vec<&str> = changes
        .add
        .iter()
        .filter(|one| old.iter().any(|taint| one.fits(taint)))
        .map(|one| one.key.as_str())
        .collect();
    if !overwrite && !there.is_empty() {
        let there = there.join(",");
        return Err(format!(
            "node {node} already has {there} taint(s) with same effect(s) and --overwrite is false"
        ));
    }
    for gone in &changes.remove {
        if !old.iter().any(|taint| gone.fits(taint)) {
            let effect = if gone.effect.is_empty() { String::new() } else { format!(":{}", gone.effect) };
            return Err(format!("taint \"{}{effect}\" not found", gone.key));
        }
    }
    let mut taints: Vec<Value> = changes
        .add
        .iter()
        .map(|one| {
            let mut taint = json!({"effect": one.effect, "key": one.key});
            if !one.value.is_empty() {
                taint["value"] = one.value.as_str().into();
            }
            taint
        })
        .collect();
    let replaced = |taint: &Value| changes.add.iter().chain(&changes.remove).any(|one| one.fits(taint));
    taints.extend(old.into_iter().filter(|taint| !replaced(taint)));
    let done = match (changes.add.is_empty(), changes.remove.is_empty()) {
        (false, false) => "modified",
        (false, true) if overwrite => "modified",
        (false, true) => "tainted",
        (true, _) => "untainted",
    };
    Ok((taints, done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(given: &[&str]) -> Changes {
        parse(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn adds_replaces_and_removes() {
        let old = vec![json!({"key": "a", "value": "b", "effect": "NoSchedule"})];
        let (taints, done) = changed("n", old.clone(), &changes(&["x:NoExecute"]), false).unwrap();
        assert_eq!((taints.len(), done), (2, "tainted"));
        let (taints, done) = changed("n", old.clone(), &changes(&["a=c:NoSchedule"]), true).unwrap();
        assert_eq!(
            (taints, done),
            (vec![json!({"key": "a", "value": "c", "effect": "NoSchedule"})], "modified")
        );
        let (taints, done) = changed("n", old.clone(), &changes(&["a:NoSchedule-"]), false).unwrap();
        assert_eq!((taints, done), (vec![], "untainted"));
        assert!(changed("n", old.clone(), &changes(&["a=c:NoSchedule"]), false).is_err());
        assert_eq!(changed("n", old, &changes(&["q-"]), false), Err("taint \"q\" not found".to_owned()));
    }
}
