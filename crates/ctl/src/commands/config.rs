//! `config`: what the kubeconfig files say, and which context is current.
//!
//! **Contract.** `view` hides secrets unless `--raw`. A change is written to the file that holds the setting, through a
//! new file beside it, with the old one's permissions.
//! **Not here.** How the files are found and merged: `client_config`.
//! **Upstream.** `kubectl/pkg/cmd/config` (behaviour).

mod change;

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::{Map, Value, json};

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::client_config::{entry, read_file};
use crate::output::tabwriter::TabWriter;
use crate::output::{self, Format, yaml};
use crate::report::{Error, message};
use crate::selection;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "config", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    let sub = |name: &'static str, about: &'static str| {
        clap::Command::new(name).about(about).args_override_self(true)
    };
    let command = command
        .about("Modify kubeconfig files")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(sub("current-context", "Display the current-context"))
        .subcommand(
            sub("get-contexts", "Describe one or many contexts")
                .arg(cli::arguments("NAME"))
                .arg(cli::output())
                .arg(cli::flag(
                    "no-headers",
                    "When using the default or custom-column output format, don't print headers",
                )),
        )
        .subcommand(sub("get-clusters", "Display clusters defined in the kubeconfig"))
        .subcommand(sub("get-users", "Display users defined in the kubeconfig"))
        .subcommand(
            sub("use-context", "Set the current-context in a kubeconfig file")
                .visible_alias("use")
                .arg(cli::arguments("CONTEXT_NAME")),
        )
        .subcommand(
            sub("view", "Display merged kubeconfig settings or a specified kubeconfig file")
                .arg(cli::flag(
                    "minify",
                    "Remove all information not used by current-context from the output",
                ))
                .arg(cli::flag("raw", "Display raw byte data and sensitive data"))
                .arg(cli::flag("flatten", "Flatten the resulting kubeconfig file into self-contained output"))
                .arg(cli::flag_on("merge", "Merge the full hierarchy of kubeconfig files"))
                .args(cli::without(selection::print_flags(), &["output"]))
                .arg(cli::output().default_value("yaml")),
        );
    change::subcommands(command)
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let (name, matches) = matches.subcommand().expect("the grammar requires a command");
    match name {
        "current-context" => current_context(context),
        "get-contexts" => get_contexts(context, matches),
        "get-clusters" => names(context, "clusters"),
        "get-users" => names(context, "users"),
        "use-context" => use_context(context, matches),
        "view" => view(context, matches),
        word => change::run(context, word, matches),
    }
}

fn current_context(context: &Context) -> Result<(), Error> {
    let name = context.config()["current-context"].as_str().unwrap_or("");
    if name.is_empty() {
        return Err(message("current-context is not set"));
    }
    context.terminal.out(&format!("{name}\n"))
}

fn sorted_names(config: &Value, list: &str) -> Vec<String> {
    let mut names: Vec<String> = config[list]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["name"].as_str())
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

fn names(context: &Context, list: &str) -> Result<(), Error> {
    let lines: String = sorted_names(context.config(), list).iter().map(|name| format!("{name}\n")).collect();
    context.terminal.out(&format!("NAME\n{lines}"))
}

fn get_contexts(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let config = context.config();
    let known = sorted_names(config, "contexts");
    let asked = values(matches, "arguments");
    let (mut shown, mut errors) = (Vec::new(), Vec::new());
    if asked.is_empty() {
        shown = known;
    } else {
        for name in asked {
            if known.contains(&name) {
                shown.push(name);
            } else {
                errors.push(message(format!("context {name} not found")));
            }
        }
    }
    let format = value(matches, "output");
    match format {
        "name" => {
            context.terminal.out(&shown.iter().map(|name| format!("{name}\n")).collect::<String>())?;
        }
        "" => {
            let current = config["current-context"].as_str().unwrap_or("");
            let mut text = String::new();
            if !matches.get_flag("no-headers") {
                text += "CURRENT\tNAME\tCLUSTER\tAUTHINFO\tNAMESPACE\n";
            }
            for name in &shown {
                let one = entry(config, "contexts", name, "context");
                let field = |key: &str| one[key].as_str().unwrap_or("").to_owned();
                let mark = if name == current { "*" } else { "" };
                text += &format!(
                    "{mark}\t{name}\t{}\t{}\t{}\n",
                    field("cluster"),
                    field("user"),
                    field("namespace")
                );
            }
            context.terminal.out(&TabWriter::table().align(&text))?;
        }
        other => return Err(message(format!("output must be one of '' or 'name': {other}"))),
    }
    Error::from_many(errors)
}

fn use_context(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let [name] = arguments.as_slice() else {
        return Err(message("Unexpected args: ".to_owned() + &format!("{arguments:?}")));
    };
    if !sorted_names(context.config(), "contexts").contains(name) {
        return Err(message(format!("no context exists with the name: {name:?}")));
    }
    let path = file_to_change(context)?;
    let mut document = read_file(&path)?.unwrap_or_else(crate::client_config::empty_config);
    document["current-context"] = name.as_str().into();
    write(&path, &document)?;
    context.terminal.out(&format!("Switched to context {name:?}.\n"))
}

/// The first file that sets a current context, else the first that exists, else the first.
fn file_to_change(context: &Context) -> Result<PathBuf, Error> {
    let files = context.globals.files(&context.terminal);
    for path in &files {
        if let Some(document) = read_file(path)?
            && document["current-context"].as_str().is_some_and(|name| !name.is_empty())
        {
            return Ok(path.clone());
        }
    }
    files
        .iter()
        .find(|path| path.exists())
        .or(files.first())
        .cloned()
        .ok_or_else(|| message("no kubeconfig file is known: set KUBECONFIG or HOME"))
}

/// Replaces the file whole: a reader sees the old or the new one.
pub(super) fn write(path: &Path, document: &Value) -> Result<(), Error> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    // A link stays a link: what it points to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = std::fs::metadata(&target).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
    let name =
        target.file_name().map_or_else(|| "config".to_owned(), |name| name.to_string_lossy().into_owned());
    let beside = target.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = (|| {
        let mut file =
            std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&beside)?;
        std::io::Write::write_all(&mut file, yaml::print(document).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &target)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(|error| {
        message(format!("open {}: {}", path.display(), crate::client_config::os_text(&error)))
    })
}

fn view(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let flat = matches.get_flag("flatten");
    if !matches.get_flag("merge") && context.globals.kubeconfig.is_none() {
        return Err(message("if merge==false a precise file must be specified"));
    }
    let mut config =
        if flat { context.config().clone() } else { context.globals.load_as_written(&context.terminal)? };
    let minify = matches.get_flag("minify");
    if let Some(name) = &context.globals.context {
        config["current-context"] = name.as_str().into();
    }
    if minify {
        config = minified(&config)?;
    }
    if flat {
        flatten(&mut config)?;
    }
    if !matches.get_flag("raw") && !flat {
        redact(&mut config);
    }
    let mut config = arranged(&config);
    let text = match output::from_matches(matches)? {
        // Its keys have an order that the printers for objects do not know.
        Format::Human { wide: false } => yaml::print(&config),
        Format::Human { wide: true } | Format::CustomColumns(_) => {
            return Err(output::unknown_format(value(matches, "output"), output::TYPED_FORMATS));
        }
        format => match output::print_typed(&format, &config) {
            Some(text) => text,
            None => super::print_object(&format, &mut config, matches.get_flag("show-managed-fields"))?,
        },
    };
    context.terminal.out(&text)
}

/// What the current context uses.
fn minified(config: &Value) -> Result<Value, Error> {
    let name = config["current-context"].as_str().unwrap_or("");
    if name.is_empty() {
        return Err(message("current-context must exist in order to minify"));
    }
    let chosen = entry(config, "contexts", name, "context");
    if chosen.is_null() {
        return Err(message(format!("cannot locate context {name}")));
    }
    let keep = |list: &str, name: &str| -> Vec<Value> {
        config[list].as_array().into_iter().flatten().filter(|one| one["name"] == name).cloned().collect()
    };
    let mut small = config.clone();
    small["contexts"] = keep("contexts", name).into();
    small["clusters"] = keep("clusters", chosen["cluster"].as_str().unwrap_or("")).into();
    small["users"] = keep("users", chosen["user"].as_str().unwrap_or("")).into();
    Ok(small)
}

/// Certificates and keys from their files into the document.
fn flatten(config: &mut Value) -> Result<(), Error> {
    for (list, inner, keys) in [
        ("clusters", "cluster", &["certificate-authority"] as &[&str]),
        ("users", "user", &["client-certificate", "client-key"]),
    ] {
        for item in config[list].as_array_mut().into_iter().flatten() {
            for key in keys {
                let Some(path) = item[inner].get(*key).and_then(Value::as_str).map(str::to_owned) else {
                    continue;
                };
                let bytes = std::fs::read(&path).map_err(|error| {
                    message(format!("open {path}: {}", crate::client_config::os_text(&error)))
                })?;
                if let Some(map) = item[inner].as_object_mut() {
                    map.shift_remove(*key);
                    map.insert(format!("{key}-data"), base64(&bytes).into());
                }
            }
        }
    }
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * place) & 63) as usize] as char;
            out.push(if place <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

fn redact(config: &mut Value) {
    for user in config["users"].as_array_mut().into_iter().flatten() {
        for (key, shown) in [
            ("token", "REDACTED"),
            ("password", "REDACTED"),
            ("client-key-data", "DATA+OMITTED"),
            ("client-certificate-data", "DATA+OMITTED"),
        ] {
            if user["user"].get(key).is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()))
            {
                user["user"][key] = shown.into();
            }
        }
    }
    for cluster in config["clusters"].as_array_mut().into_iter().flatten() {
        if cluster["cluster"].get("certificate-authority-data").is_some() {
            cluster["cluster"]["certificate-authority-data"] = "DATA+OMITTED".into();
        }
    }
}

/// kubectl's order of keys, entries sorted by name, empty lists as null.
fn arranged(config: &Value) -> Value {
    let list = |key: &str, inner: &str, order: &[&str]| {
        let mut items: Vec<Value> = config[key]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| json!({"name": one["name"], inner: ordered(&one[inner], order)}))
            .collect();
        items.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        if items.is_empty() { Value::Null } else { items.into() }
    };
    let mut out = Map::new();
    out.insert("kind".to_owned(), "Config".into());
    out.insert("apiVersion".to_owned(), "v1".into());
    if let Some(preferences) =
        config.get("preferences").filter(|found| found.as_object().is_some_and(|map| !map.is_empty()))
    {
        out.insert("preferences".to_owned(), preferences.clone());
    }
    let cluster = [
        "server",
        "tls-server-name",
        "insecure-skip-tls-verify",
        "certificate-authority",
        "certificate-authority-data",
        "proxy-url",
    ];
    out.insert("clusters".to_owned(), list("clusters", "cluster", &cluster));
    let user = [
        "client-certificate",
        "client-certificate-data",
        "client-key",
        "client-key-data",
        "token",
        "tokenFile",
        "as",
        "as-uid",
        "as-groups",
        "username",
        "password",
        "auth-provider",
        "exec",
    ];
    out.insert("users".to_owned(), list("users", "user", &user));
    out.insert("contexts".to_owned(), list("contexts", "context", &["cluster", "user", "namespace"]));
    out.insert("current-context".to_owned(), config["current-context"].clone());
    Value::Object(out)
}

/// kubectl's order of the keys of a credential plugin.
const EXEC_ORDER: &[&str] =
    &["command", "args", "env", "apiVersion", "installHint", "provideClusterInfo", "interactiveMode"];

fn ordered(value: &Value, order: &[&str]) -> Value {
    let Some(map) = value.as_object() else { return json!({}) };
    let mut out = Map::new();
    for key in order {
        if let Some(found) = map.get(*key).filter(|found| **found != "") {
            let found = match *key {
                "exec" => ordered(found, EXEC_ORDER),
                "auth-provider" => ordered(found, &["name", "config"]),
                _ => found.clone(),
            };
            out.insert((*key).to_owned(), found);
        }
    }
    for (key, found) in map {
        if !order.contains(&key.as_str()) {
            out.insert(key.clone(), found.clone());
        }
    }
    Value::Object(out)
}
