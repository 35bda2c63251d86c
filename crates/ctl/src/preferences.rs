//! kuberc: the user's own defaults of flags, aliases of commands, and say about credential plugins.
//!
//! **Contract.** `--kuberc`, else `KUBERC`, else `~/.kube/kuberc`; `KUBERC=off` and `KUBECTL_KUBERC=false` are for none. A
//! command line is rewritten before it is parsed: an alias becomes its command, a default becomes a flag unless the line has
//! it. Where there is no file nothing else is done.
//! **Not here.** Showing and changing the file: `commands::kuberc`.
//! **Upstream.** `kubectl/pkg/kuberc`, `kubectl/pkg/config` (behaviour and words).

pub(crate) mod apply;
pub(crate) mod plugins;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client_config::os_text;
use crate::terminal::Terminal;
use crate::yaml_input;

use self::apply::Commands;
use self::plugins::Policy;

/// The group of the file's format.
const GROUP: &str = "kubectl.config.k8s.io";

/// What the file says, in the order of kubectl's own types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// The `apiVersion` of the file.
    pub(crate) api_version: String,
    /// Flags of commands.
    pub(crate) defaults: Vec<Defaults>,
    /// Words for commands.
    pub(crate) aliases: Vec<Alias>,
    /// Which credential plugins may run.
    pub(crate) policy: Option<String>,
    /// Those of the policy `Allowlist`.
    pub(crate) allowlist: Option<Vec<String>>,
}

/// Flags of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// The command's words.
    pub(crate) command: String,
    /// Flags and their values.
    pub(crate) options: Vec<(String, String)>,
}

/// A word for a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Alias {
    /// The word.
    pub(crate) name: String,
    /// The command with the flags that it has then.
    pub(crate) of: Defaults,
    /// What follows the command.
    pub(crate) prepended: Vec<String>,
    /// What follows everything else.
    pub(crate) appended: Vec<String>,
}

/// A file of preferences, and whether it was asked for by name; `None` where there is to be none.
pub(crate) fn place(explicit: &str, terminal: &Terminal) -> Result<Option<(PathBuf, bool)>, String> {
    let variable = terminal.variable("KUBERC").unwrap_or("");
    if variable == "off" {
        return match explicit {
            "" => Ok(None),
            _ => {
                Err("disabling kuberc via KUBERC=off and passing kuberc flag are mutually exclusive"
                    .to_owned())
            }
        };
    }
    let named = if explicit.is_empty() { variable } else { explicit };
    if !named.is_empty() {
        return Ok(Some((PathBuf::from(named), true)));
    }
    Ok(terminal.home().map(|home| (home.join(".kube").join("kuberc"), false)))
}

/// Whether the feature is switched off as a whole.
pub(crate) fn disabled(terminal: &Terminal) -> bool {
    terminal.variable("KUBECTL_KUBERC").is_some_and(|text| text.eq_ignore_ascii_case("false"))
}

/// A command line as the preferences have it, and what they say about plugins.
pub(crate) fn applied(
    arguments: Vec<OsString>,
    commands: Commands<'_>,
    terminal: &Terminal,
) -> Result<(Vec<OsString>, Policy), String> {
    if arguments.len() < 2 || disabled(terminal) {
        return Ok((arguments, Policy::default()));
    }
    let explicit = explicit(&arguments)?;
    let Some(preferences) = load(&explicit, terminal).map_err(|why| format!("kuberc error {why}"))? else {
        return Ok((arguments, Policy::default()));
    };
    preferences.check()?;
    let policy = Policy::of(&preferences)?;
    let mut warn = |text: String| terminal.err(&format!("Warning: {text}\n"));
    Ok((apply::apply(&preferences, arguments, commands, &mut warn)?, policy))
}

/// The value of `--kuberc`, which is needed before the line can be parsed.
fn explicit(arguments: &[OsString]) -> Result<String, String> {
    let mut words = arguments.iter().map(|word| word.to_str().unwrap_or("")).take_while(|word| *word != "--");
    let none = || "kuberc file is not found".to_owned();
    while let Some(word) = words.next() {
        if word == "--kuberc" {
            return words.next().map(str::to_owned).ok_or_else(none);
        }
        if let Some(path) = word.strip_prefix("--kuberc=") {
            return Some(path.to_owned()).filter(|path| !path.is_empty()).ok_or_else(none);
        }
    }
    Ok(String::new())
}

/// The preferences of the file that counts; what is odd about them is told.
fn load(explicit: &str, terminal: &Terminal) -> Result<Option<Preferences>, String> {
    let Some((path, explicitly)) = place(explicit, terminal)? else { return Ok(None) };
    let shown = path.display();
    match read(&path) {
        Ok(None) => Ok(None),
        Ok(Some((preferences, unknown))) => {
            if !unknown.is_empty() {
                let fields: Vec<String> =
                    unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
                let fields = fields.join(", ");
                terminal.err(&format!(
                    "kuberc: ignoring strict decoding error in {shown}: strict decoding error: {fields}\n"
                ));
            }
            Ok(Some(preferences))
        }
        Err(Unreadable { missing: true, .. }) if !explicitly => Ok(None),
        Err(Unreadable { why, .. }) if explicitly => Err(format!("kuberc: {why}")),
        Err(Unreadable { why, .. }) => {
            terminal.err(&format!("kuberc: no preferences loaded from {shown}: {why}\n"));
            Ok(None)
        }
    }
}

/// Why a file gives no preferences.
pub(crate) struct Unreadable {
    /// In kubectl's words.
    pub(crate) why: String,
    /// Whether there is no such file.
    pub(crate) missing: bool,
}

/// The first preferences in a file, and fields of theirs that nobody knows; `None` where the file is empty.
pub(crate) fn read(path: &Path) -> Result<Option<(Preferences, Vec<String>)>, Unreadable> {
    let text = std::fs::read_to_string(path).map_err(|error| Unreadable {
        why: format!("open {}: {}", path.display(), os_text(&error)),
        missing: error.kind() == std::io::ErrorKind::NotFound,
    })?;
    let mut attempted = false;
    for document in yaml_input::documents(&text) {
        attempted |= !matches!(document, Ok(Value::Null));
        let Ok(document) = document else { continue };
        let version =
            document["apiVersion"].as_str().and_then(|text| text.strip_prefix(GROUP)?.strip_prefix('/'));
        if document["kind"] == "Preference"
            && let Some(names) = version.and_then(Names::of)
            && let Some(found) = Preferences::parse(&document, names)
        {
            return Ok(Some(found));
        }
    }
    if !attempted {
        return Ok(None);
    }
    let why = format!("no valid preferences found in {}, use --v=5 to see details", path.display());
    Err(Unreadable { why, missing: false })
}

/// How a version calls its fields.
#[derive(Clone, Copy)]
struct Names {
    defaults: &'static str,
    options: &'static str,
}

impl Names {
    fn of(version: &str) -> Option<Self> {
        match version {
            "v1beta1" => Some(Self { defaults: "defaults", options: "options" }),
            "v1alpha1" => Some(Self { defaults: "overrides", options: "flags" }),
            _ => None,
        }
    }
}

/// A list, or none where something else stands in its place; what is missing is an empty one.
fn list<T>(value: &Value, of: impl FnMut(&Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(all) => all.iter().map(of).collect(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

impl Preferences {
    /// Reads a document; `None` where its fields are of other types.
    fn parse(document: &Value, names: Names) -> Option<(Self, Vec<String>)> {
        let mut unknown = Vec::new();
        note_unknown(
            document,
            &[
                "apiVersion",
                "kind",
                names.defaults,
                "aliases",
                "credentialPluginPolicy",
                "credentialPluginAllowlist",
            ],
            "",
            &mut unknown,
        );
        let mut command = |one: &Value, place: &str, known: &[&str]| {
            note_unknown(one, &[known, &["command", names.options]].concat(), place, &mut unknown);
            let options =
                list(&one[names.options], |option| Some((text(&option["name"])?, text(&option["default"])?)));
            Some(Defaults { command: text(&one["command"])?, options: options? })
        };
        let mut at = 0..;
        let mut place = move |what: &str| format!("{what}[{}].", at.next().unwrap_or(0));
        let defaults = list(&document[names.defaults], |one| command(one, &place(names.defaults), &[]))?;
        let mut at = 0..;
        let mut place = move |what: &str| format!("{what}[{}].", at.next().unwrap_or(0));
        let aliases = list(&document["aliases"], |one| {
            Some(Alias {
                of: command(one, &place("aliases"), &["name", "prependArgs", "appendArgs"])?,
                name: text(&one["name"])?,
                prepended: list(&one["prependArgs"], text)?,
                appended: list(&one["appendArgs"], text)?,
            })
        })?;
        // An entry was called by its name before it was called by its command.
        let entry = |one: &Value| text(if one["command"].is_null() { &one["name"] } else { &one["command"] });
        let allowlist = match &document["credentialPluginAllowlist"] {
            Value::Null => None,
            given => Some(list(given, entry)?),
        };
        let policy = Some(text(&document["credentialPluginPolicy"])?).filter(|text| !text.is_empty());
        let api_version = text(&document["apiVersion"])?;
        Some((Self { api_version, defaults, aliases, policy, allowlist }, unknown))
    }

    /// The document, its fields in the order of kubectl's types; empty lists are null.
    pub(crate) fn document(&self) -> Value {
        let mut document = json!({
            "kind": "Preference",
            "apiVersion": self.api_version,
            "defaults": self.defaults.iter().map(Defaults::document).collect::<Vec<_>>(),
            "aliases": self.aliases.iter().map(Alias::document).collect::<Vec<_>>(),
        });
        for field in ["defaults", "aliases"] {
            if document[field] == json!([]) {
                document[field] = Value::Null;
            }
        }
        if let Some(policy) = &self.policy {
            document["credentialPluginPolicy"] = policy.as_str().into();
        }
        if let Some(allowlist) = &self.allowlist {
            document["credentialPluginAllowlist"] =
                allowlist.iter().map(|command| json!({"command": command})).collect();
        }
        document
    }

    /// Refuses names that cannot be meant.
    fn check(&self) -> Result<(), String> {
        let long = |of: &Defaults| match of.options.iter().find(|(name, _)| name.starts_with('-')) {
            Some((name, _)) => Err(format!("flag name {name} should be in long form without dashes")),
            None => Ok(()),
        };
        for (at, alias) in self.aliases.iter().enumerate() {
            if alias.name.is_empty() || !alias.name.chars().all(|letter| letter.is_ascii_alphabetic()) {
                return Err("invalid alias name, can only include alphabetical characters".to_owned());
            }
            long(&alias.of)?;
            if self.aliases[..at].iter().any(|other| other.name == alias.name) {
                return Err(format!("duplicate alias name {}", alias.name));
            }
        }
        self.defaults.iter().try_for_each(long)
    }
}

impl Defaults {
    fn options(&self) -> Value {
        if self.options.is_empty() {
            return Value::Null;
        }
        self.options.iter().map(|(name, value)| json!({"name": name, "default": value})).collect()
    }

    fn document(&self) -> Value {
        json!({"command": self.command, "options": self.options()})
    }
}

impl Alias {
    fn document(&self) -> Value {
        let mut document = json!({"name": self.name, "command": self.of.command});
        for (field, words) in [("prependArgs", &self.prepended), ("appendArgs", &self.appended)] {
            if !words.is_empty() {
                document[field] = words.clone().into();
            }
        }
        if !self.of.options.is_empty() {
            document["options"] = self.of.options();
        }
        document
    }
}

fn note_unknown(object: &Value, known: &[&str], place: &str, unknown: &mut Vec<String>) {
    let fields = object.as_object().into_iter().flatten().map(|(field, _)| field);
    unknown.extend(
        fields.filter(|field| !known.contains(&field.as_str())).map(|field| format!("{place}{field}")),
    );
}

#[cfg(test)]
mod tests;
