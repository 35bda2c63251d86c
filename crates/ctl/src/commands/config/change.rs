//! `config set*`, `unset`, `delete-*`, `rename-context`: changes of kubeconfig files.
//!
//! **Contract.** A cluster, user or context is changed in the file that has it; a new one goes to the file that is changed by
//! default.
//! **Upstream.** `kubectl/pkg/cmd/config` (behaviour and words).

use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, Value, json};

use super::{base64, file_to_change, write};
use crate::cli::{self, value, values};
use crate::client_config::{empty_config, os_text, read_file};
use crate::commands::Context;
use crate::report::{Error, message};

/// The subcommands.
pub(super) fn subcommands(command: clap::Command) -> clap::Command {
    let sub = |name: &'static str, about: &'static str, arguments: &'static str| {
        clap::Command::new(name).about(about).args_override_self(true).arg(cli::arguments(arguments))
    };
    let embed = || cli::flag("embed-certs", "embed-certs for the entry in kubeconfig");
    command
        .subcommand(
            sub("set", "Set an individual value in a kubeconfig file", "PROPERTY_NAME PROPERTY_VALUE")
                .arg(cli::flag("set-raw-bytes", "When writing a []byte PROPERTY_VALUE, write the given string directly without base64 decoding.")),
        )
        .subcommand(sub("unset", "Unset an individual value in a kubeconfig file", "PROPERTY_NAME"))
        .subcommand(
            sub("set-cluster", "Set a cluster entry in kubeconfig", "NAME")
                .arg(embed())
                .arg(cli::text("proxy-url", "proxy-url for the cluster entry in kubeconfig")),
        )
        .subcommand(
            sub("set-context", "Set a context entry in kubeconfig", "[NAME | --current]")
                .arg(cli::flag("current", "Modify the current context")),
        )
        .subcommand(
            sub("set-credentials", "Set a user entry in kubeconfig", "NAME")
                .arg(embed())
                .arg(cli::text("username", "username for the user entry in kubeconfig"))
                .arg(cli::text("password", "password for the user entry in kubeconfig"))
                .arg(cli::text("auth-provider", "Auth provider for the user entry in kubeconfig"))
                .arg(cli::texts("auth-provider-arg", "'key=value' arguments for the auth provider"))
                .arg(cli::text("exec-command", "Command for the exec credential plugin for the user entry in kubeconfig"))
                .arg(cli::text("exec-api-version", "API version of the exec credential plugin for the user entry in kubeconfig"))
                .arg(cli::texts("exec-arg", "New arguments for the exec credential plugin command for the user entry in kubeconfig"))
                .arg(cli::texts("exec-env", "'key=value' environment values for the exec credential plugin"))
                .arg(cli::text("exec-interactive-mode", "InteractiveMode of the exec credentials plugin for the user entry in kubeconfig"))
                .arg(cli::flag("exec-provide-cluster-info", "ProvideClusterInfo of the exec credentials plugin for the user entry in kubeconfig")),
        )
        .subcommand(sub("delete-cluster", "Delete the specified cluster from the kubeconfig", "NAME"))
        .subcommand(sub("delete-context", "Delete the specified context from the kubeconfig", "NAME"))
        .subcommand(sub("delete-user", "Delete the specified user from the kubeconfig", "NAME"))
        .subcommand(sub("rename-context", "Rename a context from the kubeconfig file", "CONTEXT_NAME NEW_NAME"))
}

/// Runs one of them.
pub(super) fn run(context: &Context, word: &str, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let one = || match arguments.as_slice() {
        [name] => Ok(name.as_str()),
        _ => Err(message(format!(
            "Unexpected args: [{}]\nSee 'kctl config {word} -h' for help and examples",
            arguments.join(" ")
        ))),
    };
    let two = || match arguments.as_slice() {
        [first, second] => Ok((first.as_str(), second.as_str())),
        _ => Err(message(format!(
            "Unexpected args: [{}]\nSee 'kctl config {word} -h' for help and examples",
            arguments.join(" ")
        ))),
    };
    match word {
        "set" => {
            let (property, text) = two()?;
            property_set(context, property, Some((text, matches.get_flag("set-raw-bytes"))))
        }
        "unset" => property_set(context, one()?, None),
        "set-cluster" => set_cluster(context, matches, one()?),
        "set-context" => set_context(context, matches, &arguments),
        "set-credentials" => set_credentials(context, matches, one()?),
        "delete-cluster" => delete(context, "clusters", "cluster", one()?),
        "delete-context" => delete(context, "contexts", "context", one()?),
        "delete-user" => delete(context, "users", "user", one()?),
        _ => {
            let (old, new) = two()?;
            rename(context, old, new)
        }
    }
}

/// The file that has an entry, else the one that is changed by default.
fn file_of(context: &Context, list: &str, name: &str) -> Result<PathBuf, Error> {
    for path in context.globals.files(&context.terminal) {
        if let Some(document) = read_file(&path)?
            && position(&document, list, name).is_some()
        {
            return Ok(path);
        }
    }
    file_to_change(context)
}

fn position(document: &Value, list: &str, name: &str) -> Option<usize> {
    document[list].as_array()?.iter().position(|one| one["name"] == name)
}

/// Changes an entry in its file, or makes it; `true` where it was there.
fn upsert(
    context: &Context,
    list: &str,
    inner: &str,
    name: &str,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let path = file_of(context, list, name)?;
    let mut document = read_file(&path)?.unwrap_or_else(empty_config);
    let place = position(&document, list, name);
    let mut fields = place.and_then(|at| document[list][at][inner].as_object().cloned()).unwrap_or_default();
    change(&mut fields)?;
    let entry = json!({"name": name, inner: fields});
    match place {
        Some(at) => document[list][at] = entry,
        None => match document[list].as_array_mut() {
            Some(all) => all.push(entry),
            None => document[list] = json!([entry]),
        },
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    write(&path, &document)?;
    Ok(place.is_some())
}

/// The text of a global flag, where the command line has it.
fn given<'a>(matches: &'a ArgMatches, flag: &str) -> Option<&'a str> {
    (matches.value_source(flag) == Some(ValueSource::CommandLine)).then(|| value(matches, flag))
}

fn put(fields: &mut Map<String, Value>, key: &str, text: Option<&str>) {
    match text {
        Some("") => {
            fields.shift_remove(key);
        }
        Some(text) => {
            fields.insert(key.to_owned(), text.into());
        }
        None => {}
    }
}

/// A file's path, or with `--embed-certs` its content.
fn put_file(
    fields: &mut Map<String, Value>,
    key: &str,
    path: Option<&str>,
    embed: bool,
) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    fields.shift_remove(&format!("{key}-data"));
    if !embed || path.is_empty() {
        let absolute = std::path::absolute(path).ok().filter(|_| !path.is_empty());
        put(fields, key, Some(&absolute.map_or_else(String::new, |path| path.display().to_string())));
        return Ok(());
    }
    let bytes = std::fs::read(path).map_err(|error| {
        message(format!("could not read {key} data from {path}: open {path}: {}", os_text(&error)))
    })?;
    fields.shift_remove(key);
    fields.insert(format!("{key}-data"), base64(&bytes).into());
    Ok(())
}

fn set_cluster(context: &Context, matches: &ArgMatches, name: &str) -> Result<(), Error> {
    let insecure = matches.value_source("insecure-skip-tls-verify") == Some(ValueSource::CommandLine);
    if insecure
        && matches.get_flag("insecure-skip-tls-verify")
        && given(matches, "certificate-authority").is_some()
    {
        return Err(message("you cannot specify a certificate authority and insecure mode at the same time"));
    }
    upsert(context, "clusters", "cluster", name, |fields| {
        put(fields, "server", given(matches, "server"));
        put(fields, "tls-server-name", given(matches, "tls-server-name"));
        if given(matches, "tls-server-name").is_some() {
            // Who names the server means to have it verified.
            fields.shift_remove("insecure-skip-tls-verify");
        }
        put(fields, "proxy-url", given(matches, "proxy-url"));
        if insecure {
            match matches.get_flag("insecure-skip-tls-verify") {
                true => {
                    fields.insert("insecure-skip-tls-verify".to_owned(), true.into());
                    fields.shift_remove("certificate-authority");
                    fields.shift_remove("certificate-authority-data");
                }
                false => {
                    fields.shift_remove("insecure-skip-tls-verify");
                }
            }
        }
        put_file(
            fields,
            "certificate-authority",
            given(matches, "certificate-authority"),
            matches.get_flag("embed-certs"),
        )
    })?;
    context.terminal.out(&format!("Cluster {name:?} set.\n"))
}

fn set_context(context: &Context, matches: &ArgMatches, arguments: &[String]) -> Result<(), Error> {
    let current = context.config()["current-context"].as_str().unwrap_or("");
    let name = match (arguments, matches.get_flag("current")) {
        ([], true) if current.is_empty() => return Err(message("no current context is set")),
        ([], true) => current,
        ([name], false) => name.as_str(),
        ([], false) => {
            return Err(message("you must specify a non-empty context name or --current"));
        }
        _ => {
            return Err(message(format!(
                "Unexpected args: [{}]\nSee 'kctl config set-context -h' for help and examples",
                arguments.join(" ")
            )));
        }
    };
    let there = upsert(context, "contexts", "context", name, |fields| {
        put(fields, "cluster", given(matches, "cluster"));
        put(fields, "user", given(matches, "user"));
        put(fields, "namespace", given(matches, "namespace"));
        Ok(())
    })?;
    let done = if there { "modified" } else { "created" };
    context.terminal.out(&format!("Context {name:?} {done}.\n"))
}

fn set_credentials(context: &Context, matches: &ArgMatches, name: &str) -> Result<(), Error> {
    if given(matches, "token").is_some() && given(matches, "username").is_some() {
        return Err(message(
            "you cannot specify more than one authentication method at the same time: --token, --username/--password",
        ));
    }
    upsert(context, "users", "user", name, |fields| {
        let embed = matches.get_flag("embed-certs");
        put_file(fields, "client-certificate", given(matches, "client-certificate"), embed)?;
        put_file(fields, "client-key", given(matches, "client-key"), embed)?;
        put(fields, "token", given(matches, "token"));
        put(fields, "username", given(matches, "username"));
        put(fields, "password", given(matches, "password"));
        // One way to say who one is takes the place of another.
        if given(matches, "token").is_some() {
            fields.shift_remove("username");
            fields.shift_remove("password");
        } else if given(matches, "username").is_some() {
            fields.shift_remove("token");
        }
        auth_provider(fields, matches)?;
        exec(fields, matches)
    })?;
    context.terminal.out(&format!("User {name:?} set.\n"))
}

/// `auth-provider`: its name, and `key=value` for what it is told, or `key-` for what it is told no more.
fn auth_provider(fields: &mut Map<String, Value>, matches: &ArgMatches) -> Result<(), Error> {
    let mut pairs = Vec::new();
    for text in values(matches, "auth-provider-arg") {
        match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) => pairs.push((key.to_owned(), Some(value.to_owned()))),
            (None, Some(key)) => pairs.push((key.to_owned(), None)),
            (None, None) => return Err(message(format!("invalid auth-provider-arg format: {text}"))),
        }
    }
    if let Some(name) = given(matches, "auth-provider") {
        let same = fields.get("auth-provider").is_some_and(|old| old["name"] == name);
        match name {
            "" => drop(fields.shift_remove("auth-provider")),
            // Another provider is told nothing of what the old one was.
            _ if !same => {
                drop(fields.insert("auth-provider".to_owned(), json!({"config": {}, "name": name})))
            }
            _ => {}
        }
    }
    let Some(provider) = fields.get_mut("auth-provider") else { return Ok(()) };
    if !provider["config"].is_object() {
        provider["config"] = json!({});
    }
    for (key, value) in pairs {
        match (value, provider["config"].as_object_mut()) {
            (Some(value), _) => provider["config"][key] = value.into(),
            (None, Some(config)) => drop(config.shift_remove(&key)),
            (None, None) => {}
        }
    }
    Ok(())
}

/// A credential plugin.
fn exec(fields: &mut Map<String, Value>, matches: &ArgMatches) -> Result<(), Error> {
    const FLAGS: [&str; 6] = [
        "exec-command",
        "exec-api-version",
        "exec-arg",
        "exec-env",
        "exec-interactive-mode",
        "exec-provide-cluster-info",
    ];
    if FLAGS.iter().all(|flag| matches.value_source(flag) != Some(ValueSource::CommandLine)) {
        return Ok(());
    }
    let mut plugin = fields.get("exec").and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, flag) in [
        ("command", "exec-command"),
        ("apiVersion", "exec-api-version"),
        ("interactiveMode", "exec-interactive-mode"),
    ] {
        put(&mut plugin, key, given(matches, flag));
    }
    let words = values(matches, "exec-arg");
    if !words.is_empty() {
        plugin.insert("args".to_owned(), json!(words));
    }
    let mut variables: Vec<Value> = plugin.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    for pair in values(matches, "exec-env") {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(message(format!("invalid exec-env: {pair:?} is not key=value")));
        };
        variables.retain(|one| one["name"] != key);
        variables.push(json!({"name": key, "value": text}));
    }
    plugin.insert("env".to_owned(), if variables.is_empty() { Value::Null } else { variables.into() });
    plugin.insert("provideClusterInfo".to_owned(), matches.get_flag("exec-provide-cluster-info").into());
    fields.insert("exec".to_owned(), Value::Object(plugin));
    Ok(())
}

fn delete(context: &Context, list: &str, what: &str, name: &str) -> Result<(), Error> {
    let path = file_of(context, list, name)?;
    let mut document = read_file(&path)?.unwrap_or_else(empty_config);
    let shown = path.display();
    let Some(place) = position(&document, list, name) else {
        return Err(message(format!("cannot delete {what} {name}, not in {shown}")));
    };
    if list == "contexts" && context.config()["current-context"] == name {
        context.terminal.err(
            "warning: this removed your active context, use \"kctl config use-context\" to select a different one\n",
        );
    }
    if let Some(all) = document[list].as_array_mut() {
        all.remove(place);
    }
    write(&path, &document)?;
    context.terminal.out(&format!("deleted {what} {name} from {shown}\n"))
}

fn rename(context: &Context, old: &str, new: &str) -> Result<(), Error> {
    let path = file_of(context, "contexts", old)?;
    let shown = path.display();
    let mut document = read_file(&path)?.unwrap_or_else(empty_config);
    let Some(place) = position(&document, "contexts", old) else {
        return Err(message(format!("cannot rename the context {old:?}, it's not in {shown}")));
    };
    if position(context.config(), "contexts", new).is_some() {
        return Err(message(format!(
            "cannot rename the context {old:?}, the context {new:?} already exists in {shown}"
        )));
    }
    document["contexts"][place]["name"] = new.into();
    if document["current-context"] == old {
        document["current-context"] = new.into();
    }
    write(&path, &document)?;
    // The current context may stand in another file.
    let current = file_to_change(context)?;
    if current != path
        && let Some(mut other) = read_file(&current)?
        && other["current-context"] == old
    {
        other["current-context"] = new.into();
        write(&current, &other)?;
    }
    context.terminal.out(&format!("Context {old:?} renamed to {new:?}.\n"))
}

/// `current-context`, or `clusters.NAME.FIELD`: sets a field, or takes it away.
fn property_set(context: &Context, property: &str, new: Option<(&str, bool)>) -> Result<(), Error> {
    let done = |word: &str| context.terminal.out(&format!("Property {property:?} {word}.\n"));
    let word = if new.is_some() { "set" } else { "unset" };
    if property == "current-context" {
        let path = file_to_change(context)?;
        let mut document = read_file(&path)?.unwrap_or_else(empty_config);
        document["current-context"] = new.map_or("", |(text, _)| text).into();
        write(&path, &document)?;
        return done(word);
    }
    let unknown = || {
        message(format!(
            "unable to parse {property:?}: it must be current-context, or begin with clusters, contexts or users"
        ))
    };
    let (list, rest) = property.split_once('.').ok_or_else(unknown)?;
    let inner = match list {
        "clusters" => "cluster",
        "contexts" => "context",
        "users" => "user",
        _ => return Err(unknown()),
    };
    // A name may have dots: the longest one that is there counts.
    let known = super::sorted_names(context.config(), list);
    let name = known
        .iter()
        .filter(|name| rest == *name || rest.starts_with(&format!("{name}.")))
        .max_by_key(|name| name.len());
    let (name, field) = match name {
        Some(name) => (name.clone(), rest[name.len()..].trim_start_matches('.').to_owned()),
        None => match rest.split_once('.') {
            Some((name, field)) => (name.to_owned(), field.to_owned()),
            None => (rest.to_owned(), String::new()),
        },
    };
    if field.is_empty() {
        if new.is_some() {
            return Err(unknown());
        }
        let path = file_of(context, list, &name)?;
        let mut document = read_file(&path)?.unwrap_or_else(empty_config);
        if let Some(place) = position(&document, list, &name)
            && let Some(all) = document[list].as_array_mut()
        {
            all.remove(place);
        } else {
            return Err(message(format!("current map key `{name}` is invalid")));
        }
        write(&path, &document)?;
        return done(word);
    }
    upsert(context, list, inner, &name, |fields| {
        let Some((text, raw)) = new else {
            fields.shift_remove(&field);
            return Ok(());
        };
        let value: Value = match field.as_str() {
            "insecure-skip-tls-verify" | "disable-compression" => text
                .parse::<bool>()
                .map_err(|_| message(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")))?
                .into(),
            name if name.ends_with("-data") && raw => base64(text.as_bytes()).into(),
            _ => text.into(),
        };
        fields.insert(field.clone(), value);
        Ok(())
    })?;
    done(word)
}
