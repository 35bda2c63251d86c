//! The command line's grammar: flags as Go's pflag reads them, on top of clap.
//!
//! **Contract.** Flags may stand anywhere, repeat (the last counts), join their value (`-oyaml`, `-o=yaml`), and a boolean
//! takes `=false`.
//! **Not here.** What a command's own flags mean: its file under `commands`.

use clap::builder::{PossibleValuesParser, StyledStr};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::report::Error;

/// A boolean flag.
pub(crate) fn flag(name: &'static str, help: impl Into<StyledStr>) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help.into())
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_parser(parse_bool)
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Go's `strconv.ParseInt`.
fn parse_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
}

/// A boolean flag that is on unless switched off.
pub(crate) fn flag_on(name: &'static str, help: &'static str) -> Arg {
    flag(name, help).default_value("true")
}

/// A flag with one text.
pub(crate) fn text(name: &'static str, help: impl Into<StyledStr>) -> Arg {
    Arg::new(name).long(name).help(help.into()).action(ArgAction::Set).num_args(1).allow_hyphen_values(true)
}

/// A flag with a length of time, as Go writes it.
pub(crate) fn duration(name: &'static str, help: &'static str) -> Arg {
    text(name, help).value_parser(parse_duration)
}

/// Go's `time.ParseDuration`, which may be negative; the text stays as it is.
fn parse_duration(text: &str) -> Result<String, String> {
    match crate::duration::parse(text.strip_prefix('-').unwrap_or(text)) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("time: invalid duration {text:?}")),
    }
}

/// `--log-flush-frequency`, whose own type tells less of what is wrong.
fn parse_flush_frequency(text: &str) -> Result<String, String> {
    parse_duration(text).map_err(|_| "parse error".to_owned())
}

/// klog's `--vmodule`: `pattern=N,…`
fn parse_vmodule(text: &str) -> Result<String, String> {
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let level = pair.split_once('=').filter(|(pattern, level)| !pattern.is_empty() && !level.is_empty());
        match level.and_then(|(_, level)| level.parse::<i32>().ok()) {
            None => return Err("syntax error: expect comma-separated list of filename=N".to_owned()),
            Some(..0) => return Err("negative value for vmodule level".to_owned()),
            Some(_) => {}
        }
    }
    Ok(text.to_owned())
}

/// The flags without those of these names.
pub(crate) fn without(flags: impl IntoIterator<Item = Arg>, names: &[&str]) -> Vec<Arg> {
    flags.into_iter().filter(|flag| !names.contains(&flag.get_id().as_str())).collect()
}

/// Whether a name fits a pattern in which `*` stands for anything.
pub(crate) fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut rest = rest;
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    match last {
        None => rest.is_empty(),
        Some(last) => last.is_empty() || name.ends_with(last),
    }
}

/// A flag with one whole number.
pub(crate) fn number(name: &'static str, help: &'static str) -> Arg {
    text(name, help).value_parser(parse_number).allow_negative_numbers(true)
}

/// A flag that repeats and splits its value at commas.
pub(crate) fn texts(name: &'static str, help: &'static str) -> Arg {
    text(name, help).action(ArgAction::Append).value_delimiter(',')
}

/// The positional arguments.
pub(crate) fn arguments(what: &'static str) -> Arg {
    Arg::new("arguments").value_name(what).num_args(0..).action(ArgAction::Append)
}

/// Refuses positional arguments where there are none, in the words of a command that says `lead`.
pub(crate) fn no_arguments(matches: &ArgMatches, lead: &str, command: &str) -> Result<(), Error> {
    match values(matches, "arguments").as_slice() {
        [] => Ok(()),
        given => {
            let given = given.join(" ");
            Err(Error::Message(format!("{lead}: [{given}]\nSee 'kctl {command} -h' for help and examples")))
        }
    }
}

/// `-f`, `-k` and `-R`.
pub(crate) fn files() -> [Arg; 3] {
    [
        texts("filename", "Filename, directory, or URL to files").short('f'),
        text(
            "kustomize",
            "Process the kustomization directory. This flag can't be used together with -f or -R.",
        )
        .short('k'),
        flag("recursive", "Process the directory used in -f, --filename recursively").short('R'),
    ]
}

/// `-l`
pub(crate) fn selector() -> Arg {
    text("selector", "Selector (label query) to filter on")
        .short('l')
        .default_value("")
        .hide_default_value(true)
}

/// `-l` and `--field-selector`.
pub(crate) fn selectors() -> [Arg; 2] {
    [
        selector(),
        text("field-selector", "Selector (field query) to filter on")
            .default_value("")
            .hide_default_value(true),
    ]
}

/// `--chunk-size`
pub(crate) fn chunk_size() -> Arg {
    number(
        "chunk-size",
        "Return large lists in chunks rather than all at once. Pass 0 to disable. This flag is beta and may change in the future.",
    )
    .default_value("500")
}

/// The `limit` that `--chunk-size` asks for; empty for none.
pub(crate) fn limit(matches: &ArgMatches) -> String {
    let size = matches.get_one::<i64>("chunk-size").filter(|size| **size > 0);
    size.map(ToString::to_string).unwrap_or_default()
}

/// What a bare `--dry-run` counts as.
pub(crate) const DRY_RUN_WITHOUT_VALUE: &str = "unchanged";

/// `--dry-run`
pub(crate) fn dry_run() -> Arg {
    text("dry-run", "Must be \"none\", \"server\", or \"client\"")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value(DRY_RUN_WITHOUT_VALUE)
        .default_value("none")
        .hide_default_value(true)
}

/// `-A`
pub(crate) fn all_namespaces() -> Arg {
    flag("all-namespaces", "If present, list the requested object(s) across all namespaces").short('A')
}

/// `-o`
pub(crate) fn output() -> Arg {
    text("output", "Output format").short('o').default_value("").hide_default_value(true)
}

/// `--template` and `--allow-missing-template-keys`
pub(crate) fn templates() -> [Arg; 2] {
    [
        text(
            "template",
            "Template string or path to template file to use when -o=jsonpath, -o=jsonpath-file",
        ),
        flag_on(
            "allow-missing-template-keys",
            "If true, ignore any errors in templates when a field or map key is missing in the template",
        ),
    ]
}

/// A shell for `completion`.
pub(crate) fn shell() -> Arg {
    Arg::new("shell").required(true).value_parser(PossibleValuesParser::new([
        "bash",
        "zsh",
        "fish",
        "powershell",
    ]))
}

/// The text of a flag, empty where it was not given.
pub(crate) fn value<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// The text of a flag that not every command has, empty where it was not given.
pub(crate) fn value_if_any<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.try_get_one::<String>(name).ok().flatten().map_or("", String::as_str)
}

/// Whether a flag is on that not every command has.
pub(crate) fn is_on(matches: &ArgMatches, name: &str) -> bool {
    matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false)
}

/// The length of time of a flag that `duration` made; `None` where it is negative.
pub(crate) fn time(matches: &ArgMatches, name: &str) -> Option<std::time::Duration> {
    crate::duration::parse(value(matches, name))
}

/// The texts of a flag or of the positional arguments.
pub(crate) fn values(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().filter(|text| !text.is_empty()).cloned().collect()
}

/// How a write is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DryRun {
    /// For good.
    None,
    /// Not sent at all.
    Client,
    /// Sent with `dryRun=All`.
    Server,
}

impl DryRun {
    /// Reads `--dry-run`.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Result<Self, Error> {
        match value_if_any(matches, "dry-run") {
            "none" | "false" | "" => Ok(Self::None),
            "client" | DRY_RUN_WITHOUT_VALUE => Ok(Self::Client),
            "server" => Ok(Self::Server),
            other => Err(Error::Message(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// Its part of a request's query.
    pub(crate) fn query(self) -> (&'static str, String) {
        ("dryRun", if self == Self::Server { "All" } else { "" }.to_owned())
    }

    /// What follows a one-line output.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// The flags that every command takes.
pub(crate) fn global_flags() -> Vec<Arg> {
    let mut flags = vec![
        text("kubeconfig", "Path to the kubeconfig file to use for CLI requests."),
        text("context", "The name of the kubeconfig context to use"),
        text("cluster", "The name of the kubeconfig cluster to use"),
        text("user", "The name of the kubeconfig user to use"),
        text("namespace", "If present, the namespace scope for this CLI request").short('n'),
        text("server", "The address and port of the Kubernetes API server").short('s'),
        text("token", "Bearer token for authentication to the API server"),
        text("certificate-authority", "Path to a cert file for the certificate authority"),
        text("client-certificate", "Path to a client certificate file for TLS"),
        text("client-key", "Path to a client key file for TLS"),
        text(
            "tls-server-name",
            "Server name to use for server certificate validation. If it is not provided, the hostname used to contact the server is used",
        ),
        flag(
            "insecure-skip-tls-verify",
            "If true, the server's certificate will not be checked for validity. This will make your HTTPS connections insecure",
        ),
        text(
            "as",
            "Username to impersonate for the operation. User could be a regular user or a service account in a namespace.",
        ),
        text(
            "as-group",
            "Group to impersonate for the operation, this flag can be repeated to specify multiple groups.",
        )
        .action(ArgAction::Append),
        text("as-uid", "UID to impersonate for the operation."),
        text(
            "as-user-extra",
            "User extras to impersonate for the operation, this flag can be repeated to specify multiple values for the same key.",
        )
        .action(ArgAction::Append),
        text("username", "Username for basic authentication to the API server"),
        text("password", "Password for basic authentication to the API server"),
        flag(
            "disable-compression",
            "If true, opt-out of response compression for all requests to the server",
        ),
        flag("match-server-version", "Require server version to match client version"),
        text(
            "kuberc",
            "Path to the kuberc file to use for preferences. This can be disabled by exporting KUBECTL_KUBERC=false feature gate or turning off the feature KUBERC=off.",
        ),
        text(
            "profile",
            "Name of profile to capture. One of (none|cpu|heap|goroutine|threadcreate|block|mutex|trace)",
        )
        .default_value("none"),
        text("profile-output", "Name of the file to write the profile to").default_value("profile.pprof"),
        text("log-flush-frequency", "Maximum number of seconds between log flushes")
            .value_parser(parse_flush_frequency)
            .default_value("5s"),
        text(
            "vmodule",
            "comma-separated list of pattern=N settings for file-filtered logging (only works for the default text log format)",
        )
        .value_parser(parse_vmodule),
        text(
            "request-timeout",
            "The length of time to wait before giving up on a single server request. Non-zero values should contain a corresponding time unit (e.g. 1s, 2m, 3h). A value of zero means don't timeout requests.",
        ),
        text("cache-dir", "Default cache directory"),
        number("v", "number for the log level verbosity").short('v'),
        flag(
            "warnings-as-errors",
            "Treat warnings received from the server as errors and exit with a non-zero exit code",
        ),
    ];
    flags = flags.into_iter().map(|flag| flag.global(true).hide(true)).collect();
    flags
}

/// The one-letter form of a command's flag.
fn short_of(root: &Command, command: &Command, flag: &str) -> Option<char> {
    let name = flag.trim_start_matches('-');
    command.get_arguments().chain(root.get_arguments()).find(|arg| arg.get_long() == Some(name))?.get_short()
}

/// A clap error in kubectl's words; help and version are no errors.
pub(crate) fn report(
    error: clap::Error,
    root: &Command,
    command: &Command,
    words: &str,
    last: &str,
) -> Error {
    let long_given = last.starts_with("--");
    let path =
        if words.is_empty() { root.get_name().to_owned() } else { format!("{} {words}", root.get_name()) };
    let context = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let invalid = context(ContextKind::InvalidArg).unwrap_or_default();
    let flag = invalid.split([' ', '=']).next().unwrap_or("").trim_end_matches(['<', '[']).to_owned();
    let usage = |text: String| Error::Usage(format!("{text}\nSee '{path} --help' for usage."));
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !words.is_empty() => {
            Error::Plain(error.render().to_string(), 1)
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Error::Plain(error.render().to_string(), 0)
        }
        ErrorKind::UnknownArgument if invalid.starts_with("--") => usage(format!("unknown flag: {flag}")),
        ErrorKind::UnknownArgument if invalid.starts_with('-') => {
            usage(format!("unknown shorthand flag: '{}' in {invalid}", invalid.chars().nth(1).unwrap_or('-')))
        }
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            let name = if invalid.is_empty() {
                context(ContextKind::InvalidSubcommand).unwrap_or_default()
            } else {
                invalid
            };
            if !words.is_empty() {
                let text = format!("unknown command {name:?}\nSee '{path} -h' for help and examples");
                return Error::Usage(text);
            }
            let mut text = format!("unknown command {name:?} for {path:?}");
            if let Some(near) = context(ContextKind::SuggestedSubcommand) {
                text += &format!("\n\nDid you mean this?\n\t{near}\n");
            }
            Error::Usage(text)
        }
        ErrorKind::InvalidValue
            if context(ContextKind::InvalidValue).is_none_or(|value| value.is_empty()) =>
        {
            usage(match (long_given, short_of(root, command, &flag)) {
                (false, Some(short)) => format!("flag needs an argument: '{short}' in -{short}"),
                _ => format!("flag needs an argument: {flag}"),
            })
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let short = short_of(root, command, &flag).map_or(String::new(), |short| format!("-{short}, "));
            usage(format!("invalid argument {value:?} for \"{short}{flag}\" flag{cause}"))
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            usage(text.lines().next().unwrap_or("").to_owned())
        }
    }
}
