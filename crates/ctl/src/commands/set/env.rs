//! `set env`: environment variables of pod templates, from the command line, standard input, config maps and secrets.

mod resolve;

use clap::{Arg, ArgAction};
use serde_json::{Value, json};

use super::Set;
use super::containers::{matching, pod_spec};
use crate::cli::{self, value, values};
use crate::output::json::sorted;
use crate::report::{Error, message};
use crate::selection;

pub(super) fn flags() -> Vec<Arg> {
    vec![
        cli::text(
            "containers",
            "The names of containers in the selected pod templates to change - may use wildcards",
        )
        .short('c')
        .default_value("*"),
        cli::text("from", "The name of a resource from which to inject environment variables"),
        cli::text("prefix", "Prefix to append to variable names"),
        cli::text("env", "Specify a key-value pair for an environment variable to set into each container.")
            .short('e')
            .action(ArgAction::Append),
        cli::texts("keys", "Comma-separated list of keys to import from specified resource"),
        cli::flag("resolve", "If true, show secret or configmap references when listing variables"),
        cli::flag("list", "If true, display the environment and any changes in the standard format."),
        cli::flag_on(
            "overwrite",
            "If true, allow environment to be overwritten, otherwise reject updates that overwrite existing environment.",
        ),
    ]
}

/// Variables to set, and names to take away.
struct Wanted {
    set: Vec<Value>,
    remove: Vec<String>,
}

/// The variables of a container, to be shown.
struct Listed {
    head: String,
    /// The object, as far as its fields can be referred to.
    object: Value,
    container: Value,
    variables: Vec<Value>,
}

pub(super) async fn run(set: &Set<'_>) -> Result<(), Error> {
    let (matches, arguments) = (set.matches, values(set.matches, "arguments"));
    let is_variable = |text: &str| {
        text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && !name.contains('/'))
            || text.ends_with('-')
    };
    let start = arguments.iter().position(|text| is_variable(text)).unwrap_or(arguments.len());
    let (resources, variables) = arguments.split_at(start);
    if let Some(odd) = variables.iter().find(|text| !is_variable(text)) {
        return Err(message(format!("all resources must be specified before environment changes: {odd}")));
    }
    let list = matches.get_flag("list");
    set.check()?;
    if resources.is_empty() && !set.has_files() {
        return Err(message(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    if list && !value(matches, "output").is_empty() {
        return Err(message("--list and --output may not be specified together"));
    }
    let from = value(matches, "from");
    if !values(matches, "keys").is_empty() && from.is_empty() {
        return Err(message("when specifying --keys, a configmap or secret must be provided with --from"));
    }
    let given: Vec<String> = values(matches, "env").into_iter().chain(variables.iter().cloned()).collect();
    let mut wanted = parse(set, &given)?;
    if !from.is_empty() {
        wanted.set.extend(injected(set, from).await?);
    }
    let prefix = value(matches, "prefix");
    for variable in wanted.set.iter_mut().filter(|_| !prefix.is_empty()) {
        variable["name"] = format!("{prefix}{}", variable["name"].as_str().unwrap_or("")).into();
    }
    let (pattern, overwrite) = (value(matches, "containers"), matches.get_flag("overwrite"));
    let (found, errors) = set.objects(resources.to_vec()).await?;
    let mut listed: Vec<Listed> = Vec::new();
    let update = |object: &mut Value, _: &mut Vec<Error>| {
        let label = format!(
            "{} {}",
            object["kind"].as_str().unwrap_or(""),
            object["metadata"]["name"].as_str().unwrap_or("")
        );
        let metadata = object["metadata"].clone();
        let mut containers = matching(pod_spec(object)?, pattern);
        if containers.is_empty() {
            let text = format!(
                "Warning: {} does not have any containers matching {pattern:?}\n",
                label.replace(' ', "/")
            );
            set.context.terminal.err(&text);
        }
        for container in &mut containers {
            let now = container["env"].as_array().cloned().unwrap_or_default();
            if !overwrite && let Some(name) = conflict(&now, &wanted.set) {
                return Err(format!(
                    "'{name}' already has a value ({}), and --overwrite is false",
                    present(&now, name)
                ));
            }
            let next = updated(&now, &wanted);
            if list {
                let head = format!("# {label}, container {}\n", container["name"].as_str().unwrap_or(""));
                listed.push(Listed {
                    head,
                    object: json!({"metadata": metadata}),
                    container: (*container).clone(),
                    variables: next.clone(),
                });
            }
            if next != now {
                container["env"] = next.into();
            }
        }
        Ok(())
    };
    if list {
        let (mut update, mut errors) = (update, errors);
        for selected in &found {
            if let Err(why) = update(&mut selected.object.clone(), &mut errors) {
                errors.push(message(why));
            }
        }
        for Listed { head, object, container, variables } in listed {
            let mut shown = head;
            let resolved = match matches.get_flag("resolve") {
                true => resolve::lines(set.context, &object, &container, &variables, &mut shown).await,
                false => {
                    variables.iter().for_each(|variable| shown += &line(variable));
                    Ok(())
                }
            };
            set.context.terminal.out(&shown)?;
            errors.extend(resolved.err());
        }
        return Error::from_many(errors);
    }
    set.apply(found, errors, "env updated", "failed to patch env update to pod template: ", update).await
}

fn parse(set: &Set<'_>, given: &[String]) -> Result<Wanted, Error> {
    let mut wanted = Wanted { set: Vec::new(), remove: Vec::new() };
    for text in given {
        if text == "-" {
            let bytes = set.context.terminal.read_stdin()?;
            let input = String::from_utf8_lossy(&bytes).into_owned();
            let lines = input.lines().map(|line| line.split('#').next().unwrap_or(""));
            let pairs = lines.filter_map(|line| line.split_once('='));
            wanted.set.extend(pairs.map(|(name, value)| json!({"name": name, "value": value})));
        } else if let Some((name, value)) = text.split_once('=') {
            if !is_strict_name(name) {
                return Err(message(format!("{name:?} is not a valid key name: {STRICT_NAME}")));
            }
            wanted.set.push(variable(name, value));
        } else if let Some(name) = text.strip_suffix('-') {
            wanted.remove.push(name.to_owned());
        } else {
            return Err(message(format!("unknown environment variable: {text}")));
        }
    }
    if wanted.remove.iter().any(|name| wanted.set.iter().any(|one| one["name"] == name.as_str())) {
        return Err(message(
            "can not both modify and remove the same environment variable in the same command",
        ));
    }
    Ok(wanted)
}

/// What kubectl says of a name that is none; servers take more.
const STRICT_NAME: &str = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit (e.g. 'my.env-name', or 'MY_ENV.NAME', or 'MyEnvName1', regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')";

fn is_strict_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(letter) && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn variable(name: &str, value: &str) -> Value {
    if value.is_empty() { json!({"name": name}) } else { json!({"name": name, "value": value}) }
}

/// References to the keys of a config map or a secret.
async fn injected(set: &Set<'_>, from: &str) -> Result<Vec<Value>, Error> {
    let keys = values(set.matches, "keys");
    let (found, errors) = selection::select_all(set.context, set.matches, vec![from.to_owned()]).await?;
    Error::from_many(errors)?;
    let mut variables = Vec::new();
    for selected in &found {
        let object = &selected.object;
        let field = match object["kind"].as_str() {
            Some("Secret") => "secretKeyRef",
            Some("ConfigMap") => "configMapKeyRef",
            _ => return Err(message("unsupported resource specified in --from")),
        };
        for (key, _) in object["data"].as_object().map(sorted).unwrap_or_default() {
            if keys.is_empty() || keys.contains(key) {
                let name: String = key
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
                    .collect();
                let name = name.to_uppercase();
                if name != *key {
                    set.context.terminal.err(&format!("Warning: key {key} transferred to {name}\n"));
                }
                let reference = json!({"key": key, "name": object["metadata"]["name"]});
                variables.push(json!({"name": name, "valueFrom": {field: reference}}));
            }
        }
    }
    Ok(variables)
}

/// Variables that take the place of others of their name, then those that are new.
fn updated(now: &[Value], wanted: &Wanted) -> Vec<Value> {
    let mut covered: Vec<&Value> = Vec::new();
    let mut out = Vec::new();
    let removed = |variable: &Value| wanted.remove.iter().any(|name| variable["name"] == name.as_str());
    for old in now.iter().filter(|old| !removed(old)) {
        if covered.contains(&&old["name"]) {
            continue;
        }
        match wanted.set.iter().find(|new| new["name"] == old["name"]) {
            Some(new) => {
                covered.push(&old["name"]);
                out.push(new.clone());
            }
            None => out.push(old.clone()),
        }
    }
    for new in wanted.set.iter().filter(|new| !removed(new)) {
        if !covered.contains(&&new["name"]) {
            covered.push(&new["name"]);
            out.push(new.clone());
        }
    }
    out
}

fn conflict<'a>(now: &[Value], wanted: &'a [Value]) -> Option<&'a str> {
    wanted
        .iter()
        .find(|new| now.iter().any(|old| old["name"] == new["name"]))
        .and_then(|new| new["name"].as_str())
}

fn present(now: &[Value], name: &str) -> String {
    let found = now.iter().find(|one| one["name"] == name);
    found.and_then(|one| one["value"].as_str()).unwrap_or("").to_owned()
}

/// A variable as `--list` shows it.
fn line(variable: &Value) -> String {
    let name = variable["name"].as_str().unwrap_or("");
    let from = &variable["valueFrom"];
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let reference = |kind: &str, reference: &Value| {
        format!("# {name} from {kind} {}, key {}\n", text(&reference["name"]), text(&reference["key"]))
    };
    if from["configMapKeyRef"].is_object() {
        return reference("configmap", &from["configMapKeyRef"]);
    }
    if from["secretKeyRef"].is_object() {
        return reference("secret", &from["secretKeyRef"]);
    }
    if from["fieldRef"].is_object() {
        return format!("# {name} from field path {}\n", text(&from["fieldRef"]["fieldPath"]));
    }
    if from["resourceFieldRef"].is_object() {
        let container = text(&from["resourceFieldRef"]["containerName"]);
        let lead = if container.is_empty() { String::new() } else { format!("{container}/") };
        return format!(
            "# {name} from resource field {lead}{}\n",
            text(&from["resourceFieldRef"]["resource"])
        );
    }
    format!("{name}={}\n", text(&variable["value"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_added_and_removed() {
        let now = [json!({"name": "A", "value": "1"}), json!({"name": "B", "value": "2"})];
        let wanted = Wanted {
            set: vec![json!({"name": "B", "value": "3"}), json!({"name": "C"})],
            remove: vec!["A".to_owned()],
        };
        assert_eq!(updated(&now, &wanted), [json!({"name": "B", "value": "3"}), json!({"name": "C"})]);
        assert_eq!(conflict(&now, &wanted.set), Some("B"));
    }

    #[test]
    fn references_are_shown_as_comments() {
        let from = json!({"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        assert_eq!(line(&from), "# K from secret s, key k\n");
        assert_eq!(line(&json!({"name": "A", "value": "1"})), "A=1\n");
    }
}
