//! Which server, as whom, in which namespace: kubeconfig files merged as kubectl merges them, plus the command line.
//!
//! **Contract.** `--kubeconfig` alone, else the files of `KUBECONFIG` (the first to name a thing wins), else
//! `~/.kube/config`, else the service account of a pod, else `localhost:8080`. Relative paths in a file are relative to it. A
//! context without a namespace means, in a pod, the pod's own.
//! **Not here.** Printing and changing kubeconfig files: `commands::config`.
//! **Upstream.** `client-go/tools/clientcmd` (behaviour).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use kube::client::AuthError;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::cli;
use crate::connection::Connection;
use crate::duration;
use crate::in_cluster::Account;
use crate::preferences::plugins::Policy;
use crate::report::{Error, message};
use crate::terminal::Terminal;
use crate::yaml_input;

/// The server that kubectl assumes where nothing names one.
const DEFAULT_SERVER: &str = "http://localhost:8080";

/// The global flags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Globals {
    /// `--kubeconfig`
    pub(crate) kubeconfig: Option<PathBuf>,
    /// `--context`
    pub(crate) context: Option<String>,
    /// `--cluster`
    pub(crate) cluster: Option<String>,
    /// `--user`
    pub(crate) user: Option<String>,
    /// `-n`
    pub(crate) namespace: Option<String>,
    /// `-s`
    pub(crate) server: Option<String>,
    /// `--token`
    pub(crate) token: Option<String>,
    /// `--certificate-authority`
    pub(crate) certificate_authority: Option<String>,
    /// `--client-certificate`
    pub(crate) client_certificate: Option<String>,
    /// `--client-key`
    pub(crate) client_key: Option<String>,
    /// `--tls-server-name`
    pub(crate) tls_server_name: Option<String>,
    /// `--insecure-skip-tls-verify`
    pub(crate) insecure: bool,
    /// `--as`
    pub(crate) impersonate: Option<String>,
    /// `--as-group`
    pub(crate) impersonate_groups: Vec<String>,
    /// `--as-uid`
    pub(crate) impersonate_uid: Option<String>,
    /// `--as-user-extra`: keys with their values.
    pub(crate) impersonate_extra: BTreeMap<String, Vec<String>>,
    /// `--username`
    pub(crate) username: Option<String>,
    /// `--password`
    pub(crate) password: Option<String>,
    /// `--disable-compression`
    pub(crate) disable_compression: bool,
    /// `--match-server-version`
    pub(crate) match_server_version: bool,
    /// `--request-timeout`
    pub(crate) request_timeout: Option<Duration>,
    /// `-v`, or what `--vmodule` says of requests if that is more.
    pub(crate) verbosity: u8,
    /// `--warnings-as-errors`
    pub(crate) warnings_as_errors: bool,
    /// Which programs may be run for credentials.
    pub(crate) plugin_policy: Policy,
    /// `--cache-dir`
    pub(crate) cache_dir: Option<PathBuf>,
    /// Requests go to the server's root, whatever path its URL has.
    pub(crate) drops_server_path: bool,
}

impl Globals {
    /// Reads the global flags from a parsed command line.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let text = |id: &str| matches.get_one::<String>(id).filter(|value| !value.is_empty()).cloned();
        let request_timeout = match text("request-timeout") {
            None => None,
            Some(value) => Some(duration::parse_timeout(&value).ok_or_else(|| {
                message("Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)")
            })?)
            .filter(|value| !value.is_zero()),
        };
        without_profile(text("profile").as_deref().unwrap_or("none"))?;
        let mut impersonate_extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in matches.get_many::<String>("as-user-extra").into_iter().flatten() {
            if let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) {
                impersonate_extra.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
        let verbosity = matches.get_one::<i64>("v").copied().unwrap_or(0);
        let verbosity = verbosity.max(requests_verbosity(text("vmodule").as_deref().unwrap_or("")));
        Ok(Self {
            kubeconfig: text("kubeconfig").map(PathBuf::from),
            context: text("context"),
            cluster: text("cluster"),
            user: text("user"),
            namespace: text("namespace"),
            server: text("server"),
            token: text("token"),
            certificate_authority: text("certificate-authority"),
            client_certificate: text("client-certificate"),
            client_key: text("client-key"),
            tls_server_name: text("tls-server-name"),
            insecure: matches.get_flag("insecure-skip-tls-verify"),
            impersonate: text("as"),
            impersonate_groups: matches
                .get_many::<String>("as-group")
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            impersonate_uid: text("as-uid"),
            impersonate_extra,
            username: text("username"),
            password: text("password"),
            disable_compression: matches.get_flag("disable-compression"),
            match_server_version: matches.get_flag("match-server-version"),
            request_timeout,
            verbosity: verbosity.clamp(0, 10) as u8,
            warnings_as_errors: matches.get_flag("warnings-as-errors"),
            plugin_policy: Policy::default(),
            cache_dir: text("cache-dir").map(PathBuf::from),
            drops_server_path: false,
        })
    }

    /// The kubeconfig files in order of precedence, existing or not.
    pub(crate) fn files(&self, terminal: &Terminal) -> Vec<PathBuf> {
        if let Some(path) = &self.kubeconfig {
            return vec![path.clone()];
        }
        if let Some(list) = terminal.variable("KUBECONFIG") {
            let mut files: Vec<PathBuf> = Vec::new();
            for path in std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()) {
                if !files.contains(&path) {
                    files.push(path);
                }
            }
            return files;
        }
        terminal.home().map(|home| home.join(".kube").join("config")).into_iter().collect()
    }

    /// Whether `--kubeconfig` names a file that is not there yet.
    pub(crate) fn names_new_file(&self) -> bool {
        self.kubeconfig.as_ref().is_some_and(|path| !path.exists())
    }

    /// The merged kubeconfig, with absolute paths.
    pub(crate) fn load(&self, terminal: &Terminal) -> Result<Value, Error> {
        self.load_with(terminal, resolve_paths)
    }

    /// The merged kubeconfig with the paths as they are written in their files.
    pub(crate) fn load_as_written(&self, terminal: &Terminal) -> Result<Value, Error> {
        self.load_with(terminal, |_, _| {})
    }

    fn load_with(&self, terminal: &Terminal, paths: fn(&mut Value, &Path)) -> Result<Value, Error> {
        let mut merged = empty_config();
        for path in self.files(terminal) {
            match read_file(&path)? {
                Some(mut config) => {
                    paths(&mut config, path.parent().unwrap_or(Path::new(".")));
                    merge(&mut merged, config);
                }
                None if self.kubeconfig.is_some() => {
                    return Err(message(format!("stat {}: no such file or directory", path.display())));
                }
                None => {}
            }
        }
        Ok(merged)
    }

    /// The namespace of the command, which may run in a pod with this account.
    pub(crate) fn namespace(&self, config: &Value, account: Option<&Account>) -> String {
        let context = entry(config, "contexts", self.current_context(config), "context");
        let named = self.namespace.as_deref().or_else(|| context["namespace"].as_str());
        let named = named.filter(|name| !name.is_empty()).or(account.map(Account::namespace));
        named.unwrap_or("default").to_owned()
    }

    /// The context in force.
    pub(crate) fn current_context<'a>(&'a self, config: &'a Value) -> &'a str {
        self.context.as_deref().unwrap_or_else(|| config["current-context"].as_str().unwrap_or(""))
    }

    /// Connects to the server of the context in force.
    pub(crate) async fn connect(&self, config: &Value, terminal: &Terminal) -> Result<Connection, Error> {
        let account = Account::find(terminal);
        let (cluster, user) = self.effective(config, account.as_ref())?;
        let namespace = self.namespace(config, account.as_ref());
        if let Some(program) = user["exec"]["command"].as_str() {
            let may = self.plugin_policy.check(program, terminal);
            may.map_err(|why| Error::Unreachable(format!("getting credentials: {why}")))?;
        }
        let connection = self.open(from_parts(cluster, user, &namespace).await?, terminal)?;
        if self.match_server_version {
            crate::commands::require_same_version(&connection).await?;
        }
        Ok(connection)
    }

    fn open(&self, mut config: kube::Config, terminal: &Terminal) -> Result<Connection, Error> {
        config.read_timeout = None;
        config.default_retry = false;
        config.disable_compression |= self.disable_compression;
        if self.drops_server_path {
            let mut parts = std::mem::take(&mut config.cluster_url).into_parts();
            parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
            config.cluster_url = http::Uri::from_parts(parts).map_err(|error| message(error.to_string()))?;
        }
        let unverified = config.accept_invalid_certs || config.cluster_url.scheme_str() == Some("http");
        if unverified && config.root_cert.is_none() {
            // Nothing will be verified: spare the reading of the system's certificates.
            config.root_cert = Some(Vec::new());
        }
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone()).unwrap_or_default();
        let client = kube::Client::try_from(config).map_err(|error| no_client(&error, &plugin))?;
        Ok(Connection::new(client, server, self.request_timeout, self.verbosity, terminal.clone()))
    }

    /// Cluster and user after the command line's say; those of the account where nothing names a server.
    fn effective(&self, config: &Value, account: Option<&Account>) -> Result<(Value, Value), Error> {
        let name = self.current_context(config);
        let context = entry(config, "contexts", name, "context");
        if self.context.is_some() && context.is_null() {
            return Err(Error::Plain(
                format!("Error in configuration: context was not found for specified context: {name}\n"),
                1,
            ));
        }
        let cluster_name = self.cluster.as_deref().or(context["cluster"].as_str()).unwrap_or("");
        let user_name = self.user.as_deref().or(context["user"].as_str()).unwrap_or("");
        let mut cluster = entry(config, "clusters", cluster_name, "cluster").clone();
        let mut user = entry(config, "users", user_name, "user").clone();
        if self.cluster.is_some() && cluster.is_null() {
            return Err(message(format!("no server found for cluster {cluster_name:?}")));
        }
        if self.user.is_some() && user.is_null() {
            return Err(message(format!("auth info {user_name:?} does not exist")));
        }
        let named =
            self.server.is_some() || cluster["server"].as_str().is_some_and(|server| !server.is_empty());
        if let Some(account) = account.filter(|_| !named) {
            (cluster, user) = (account.cluster(), account.user());
        }
        self.override_cluster(&mut cluster);
        self.override_user(&mut user);
        if self.insecure && self.certificate_authority.is_some() {
            return Err(message("specifying a root certificates file with the insecure flag is not allowed"));
        }
        check_identity(&user, user_name)?;
        readable(&cluster, "certificate-authority", "certificate-authority", cluster_name)?;
        readable(&user, "client-certificate", "client-cert", user_name)?;
        readable(&user, "client-key", "client-key", user_name)?;
        if cluster.is_null() {
            return Ok((json!({"server": DEFAULT_SERVER}), json!({})));
        }
        if cluster["server"].as_str().is_none_or(str::is_empty) {
            cluster["server"] = json!(DEFAULT_SERVER);
        }
        if user.is_null() {
            user = json!({});
        }
        Ok((cluster, user))
    }

    fn override_cluster(&self, cluster: &mut Value) {
        if let Some(server) = &self.server {
            let server = if server.contains("://") { server.clone() } else { format!("http://{server}") };
            set(cluster, "server", server.into());
        }
        if let Some(path) = &self.certificate_authority {
            set(cluster, "certificate-authority", path.as_str().into());
            remove(cluster, "certificate-authority-data");
        }
        if let Some(name) = &self.tls_server_name {
            set(cluster, "tls-server-name", name.as_str().into());
        }
        if self.insecure {
            set(cluster, "insecure-skip-tls-verify", true.into());
            remove(cluster, "certificate-authority");
            remove(cluster, "certificate-authority-data");
        }
    }

    fn override_user(&self, user: &mut Value) {
        if let Some(token) = &self.token {
            set(user, "token", token.as_str().into());
            remove(user, "tokenFile");
        }
        if let Some(path) = &self.client_certificate {
            set(user, "client-certificate", path.as_str().into());
            remove(user, "client-certificate-data");
        }
        if let Some(path) = &self.client_key {
            set(user, "client-key", path.as_str().into());
            remove(user, "client-key-data");
        }
        for (key, text) in [("username", &self.username), ("password", &self.password)] {
            if let Some(text) = text {
                set(user, key, text.as_str().into());
            }
        }
        let says = |user: &Value, key: &str| user[key].as_str().is_some_and(|text| !text.is_empty());
        if says(user, "username") && !says(user, "password") {
            // Whoever has a name and no password still says the name.
            set(user, "password", "".into());
        }
        if let Some(name) = &self.impersonate {
            set(user, "as", name.as_str().into());
        }
        if let Some(uid) = &self.impersonate_uid {
            set(user, "as-uid", uid.as_str().into());
        }
        if !self.impersonate_groups.is_empty() {
            set(user, "as-groups", json!(self.impersonate_groups));
        }
        if !self.impersonate_extra.is_empty() {
            set(user, "as-user-extra", json!(self.impersonate_extra));
        }
    }
}

/// Refuses two identities at once, and parts of one that is not named.
fn check_identity(user: &Value, name: &str) -> Result<(), Error> {
    let says = |key: &str| user[key].as_str().is_some_and(|text| !text.is_empty());
    let some = |key: &str| match &user[key] {
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        _ => false,
    };
    if says("token") && (says("username") || says("password")) {
        return Err(message(format!(
            "more than one authentication method found for {name}; found [token basicAuth], only one is allowed"
        )));
    }
    if !says("as") && (says("as-uid") || some("as-groups") || some("as-user-extra")) {
        return Err(message(format!(
            "requesting uid, groups or user-extra for {name} without impersonating a user"
        )));
    }
    Ok(())
}

/// Go's profiles, which a program without Go's runtime cannot take.
fn without_profile(name: &str) -> Result<(), Error> {
    match name {
        "none" => Ok(()),
        "cpu" | "heap" | "goroutine" | "threadcreate" | "block" | "mutex" | "trace" => Err(message(format!(
            "profile '{name}' is one of Go's runtime, which kctl does not have: use perf, or -v for requests"
        ))),
        other => Err(message(format!("unknown profile '{other}'"))),
    }
}

/// The level that `--vmodule` gives to the lines about requests: by our file's name, and by client-go's.
fn requests_verbosity(patterns: &str) -> i64 {
    let of = |pair: &str| {
        let (pattern, level) = pair.split_once('=')?;
        let fits = ["connection", "round_trippers"].iter().any(|file| cli::fits(file, pattern));
        level.parse().ok().filter(|_| fits)
    };
    patterns.split(',').filter_map(of).max().unwrap_or(0)
}

async fn from_parts(cluster: Value, user: Value, namespace: &str) -> Result<kube::Config, Error> {
    let document = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "c", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": namespace}}],
    });
    let kubeconfig: Kubeconfig = serde_json::from_value(document)
        .map_err(|error| message(format!("invalid configuration: {error}")))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| message(error_chain(&error)))
}

/// Why there is no client; of a plugin that is to give credentials, in client-go's words.
fn no_client(error: &kube::Error, plugin: &str) -> Error {
    let kube::Error::Auth(error) = error else { return message(error_chain(error)) };
    let why = match error {
        AuthError::AuthExecStart(error)
            if error.kind() == std::io::ErrorKind::NotFound && !plugin.contains('/') =>
        {
            format!(
                "exec: executable {plugin} not found\n\nIt looks like you are trying to use a client-go credential plugin that is not installed.\n\nTo learn more about this feature, consult the documentation available at:\n      https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins"
            )
        }
        AuthError::AuthExecStart(error) => format!("exec: fork/exec {plugin}: {}", os_text(error)),
        AuthError::AuthExecRun { out, .. } => {
            let code = out.status.code().unwrap_or(-1);
            format!("exec: executable {plugin} failed with exit code {code}")
        }
        AuthError::AuthExecParse(error) => format!("decoding stdout: {error}"),
        AuthError::ExecPluginFailed => "exec plugin didn't return a status field".to_owned(),
        other => return message(error_chain(other)),
    };
    Error::Unreachable(format!("getting credentials: {why}"))
}

/// An error with its causes, each once.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let more = current.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = current.source();
    }
    text
}

/// Refuses a file that is named but cannot be read, unless its content stands beside it.
fn readable(part: &Value, key: &str, shown: &str, owner: &str) -> Result<(), Error> {
    let inline = part[format!("{key}-data")].as_str().is_some_and(|data| !data.is_empty());
    let Some(path) = part[key].as_str().filter(|path| !path.is_empty() && !inline) else { return Ok(()) };
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(message(format!(
            "unable to read {shown} {path} for {owner} due to open {path}: {}",
            os_text(&error)
        ))),
    }
}

fn set(target: &mut Value, key: &str, value: Value) {
    if target.is_null() {
        *target = json!({});
    }
    target[key] = value;
}

fn remove(target: &mut Value, key: &str) {
    if let Some(map) = target.as_object_mut() {
        map.shift_remove(key);
    }
}

/// A kubeconfig that names nothing.
pub(crate) fn empty_config() -> Value {
    json!({"apiVersion": "v1", "clusters": [], "contexts": [], "current-context": "", "kind": "Config", "users": []})
}

/// One kubeconfig file; `None` where it does not exist.
pub(crate) fn read_file(path: &Path) -> Result<Option<Value>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(message(format!(
                "error loading config file {:?}: open {}: {}",
                path.display().to_string(),
                path.display(),
                os_text(&error)
            )));
        }
    };
    if text.trim().is_empty() {
        return Ok(Some(empty_config()));
    }
    let value = yaml_input::parse(&text).map_err(|error| {
        message(format!("error loading config file {:?}: {error}", path.display().to_string()))
    })?;
    if !value.is_object() {
        return Err(message(format!(
            "error loading config file {:?}: it holds no map",
            path.display().to_string()
        )));
    }
    Ok(Some(value))
}

/// An operating system's error in Go's words.
pub(crate) fn os_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn merge(into: &mut Value, from: Value) {
    for list in ["clusters", "contexts", "users"] {
        for item in from[list].as_array().into_iter().flatten() {
            let known =
                into[list].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == item["name"]));
            if let (false, Some(all)) = (known, into[list].as_array_mut()) {
                all.push(item.clone());
            }
        }
    }
    if into["current-context"].as_str().is_none_or(str::is_empty)
        && let Some(name) = from["current-context"].as_str()
    {
        into["current-context"] = name.into();
    }
    if into.get("preferences").is_none()
        && let Some(found) =
            from.get("preferences").filter(|found| found.as_object().is_some_and(|map| !map.is_empty()))
    {
        into["preferences"] = found.clone();
    }
}

fn resolve_paths(config: &mut Value, folder: &Path) {
    let mut fix = |list: &str, inner: &str, keys: &[&str]| {
        for item in config[list].as_array_mut().into_iter().flatten() {
            for key in keys {
                let Some(path) = item[inner].get(*key).and_then(Value::as_str) else { continue };
                if !path.is_empty() && Path::new(path).is_relative() {
                    let joined = folder.join(path);
                    let absolute = std::path::absolute(&joined).unwrap_or(joined);
                    item[inner][*key] = absolute.display().to_string().into();
                }
            }
        }
    };
    fix("clusters", "cluster", &["certificate-authority"]);
    fix("users", "user", &["client-certificate", "client-key", "tokenFile"]);
}

/// The named entry of a kubeconfig list; null where there is none.
pub(crate) fn entry<'a>(config: &'a Value, list: &str, name: &str, inner: &str) -> &'a Value {
    config[list]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["name"] == name))
        .map_or(&Value::Null, |one| one.get(inner).unwrap_or(&Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_pods_account_counts_where_nothing_names_a_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("token", "t"), ("namespace", "inner"), ("ca.crt", "c"), ("other.crt", "o")] {
            std::fs::write(at(name), text).expect("written");
        }
        let variables = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
        let terminal =
            Terminal::new(std::io::empty(), std::io::sink(), std::io::sink(), || Timestamp::UNIX_EPOCH)
                .with_environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let account = Account::within(&terminal, folder.path());
        assert!(account.is_some());
        let file = json!({
            "current-context": "plain",
            "clusters": [{"name": "c", "cluster": {"server": "https://c"}}],
            "users": [{"name": "u", "user": {"token": "u"}}],
            "contexts": [
                {"name": "plain", "context": {"cluster": "c", "user": "u"}},
                {"name": "other", "context": {"cluster": "c", "user": "u", "namespace": "other"}},
                {"name": "user", "context": {"user": "u"}},
            ],
        });
        let none = Globals::default();
        let with = |change: fn(&mut Globals)| {
            let mut globals = Globals::default();
            change(&mut globals);
            globals
        };
        let (inside, token) = ("https://10.0.0.1:443", json!({"tokenFile": at("token")}));
        let mut authority = none.clone();
        authority.certificate_authority = Some(at("other.crt").display().to_string());
        for (config, globals, server, user, namespace) in [
            (empty_config(), &none, inside, token.clone(), "inner"),
            (empty_config(), &with(|all| all.namespace = Some("n".to_owned())), inside, token.clone(), "n"),
            (
                empty_config(),
                &with(|all| all.token = Some("mine".to_owned())),
                inside,
                json!({"token": "mine"}),
                "inner",
            ),
            (empty_config(), &authority, inside, token.clone(), "inner"),
            (empty_config(), &with(|all| all.server = Some("h".to_owned())), "http://h", json!({}), "inner"),
            (
                empty_config(),
                &with(|all| all.impersonate = Some("jane".to_owned())),
                inside,
                json!({"tokenFile": at("token"), "as": "jane"}),
                "inner",
            ),
            (file.clone(), &none, "https://c", json!({"token": "u"}), "inner"),
            (
                file.clone(),
                &with(|all| all.context = Some("other".to_owned())),
                "https://c",
                json!({"token": "u"}),
                "other",
            ),
            (file, &with(|all| all.context = Some("user".to_owned())), inside, token, "inner"),
        ] {
            let (cluster, found) = globals.effective(&config, account.as_ref()).expect("it is valid");
            assert_eq!((cluster["server"].as_str(), &found), (Some(server), &user), "{globals:?}");
            assert_eq!(globals.namespace(&config, account.as_ref()), namespace, "{globals:?}");
        }
        let (cluster, _) = authority.effective(&empty_config(), account.as_ref()).expect("it is valid");
        assert_eq!(cluster["certificate-authority"], at("other.crt").display().to_string());
        let (cluster, user) = none.effective(&empty_config(), None).expect("it is valid");
        assert_eq!((cluster, user), (json!({"server": DEFAULT_SERVER}), json!({})));
        assert_eq!(none.namespace(&empty_config(), None), "default");
    }
}
