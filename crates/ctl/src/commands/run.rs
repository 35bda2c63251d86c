//! `run`: one pod from an image.
//!
//! **Not here.** Attaching to it (`-i`, `-t`, `--rm`).
//! **Upstream.** `kubectl/pkg/cmd/run` (behaviour).

use clap::ArgMatches;
use http::Method;
use serde_json::{Map, Value, json};

use super::{Command, Context};
use crate::cli::{self, DryRun, value, values};
use crate::connection::JSON;
use crate::report::{Error, message};
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "run", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Run a particular image on the cluster")
        .arg(cli::arguments("NAME [COMMAND] [args...]"))
        .args(selection::change_flags("kubectl-run"))
        .arg(cli::text("image", "The image for the container to run"))
        .arg(cli::text("image-pull-policy", "The image pull policy for the container"))
        .arg(cli::text("port", "The port that this container exposes"))
        .arg(cli::text("restart", "The restart policy for this Pod. Legal values [Always, OnFailure, Never]").default_value("Always"))
        .arg(cli::texts("labels", "Comma separated labels to apply to the pod").short('l'))
        .arg(cli::text("env", "Environment variables to set in the container").action(clap::ArgAction::Append))
        .arg(cli::text("annotations", "Annotations to apply to the pod").action(clap::ArgAction::Append))
        .arg(cli::flag("command", "If true and extra arguments are present, use them as the 'command' field in the container, rather than the 'args' field which is the default"))
        .arg(cli::flag("privileged", "If true, run the container in privileged mode"))
        .arg(cli::flag("quiet", "If true, suppress prompt messages").short('q'))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let image = value(matches, "image");
    if matches.value_source("image").is_none() {
        return Err(message("required flag(s) \"image\" not set"));
    }
    let mut arguments = values(matches, "arguments");
    if arguments.is_empty() {
        return Err(message("NAME is required for run\nSee 'kctl run -h' for help and examples"));
    }
    let name = arguments.remove(0);
    if image.is_empty() || image.contains(char::is_whitespace) || image.contains("//") {
        return Err(message(format!("Invalid image name {image:?}: invalid reference format")));
    }
    let change = Change::from_matches(matches)?;
    let pod = pod(&name, image, arguments, matches)?;
    let mut created = if change.dry_run == DryRun::Client {
        pod
    } else {
        let path = change.query(&format!("/api/v1/namespaces/{}/pods", context.namespace()));
        context.connection().await?.request(Method::POST, &path, JSON, Some(&pod)).await?
    };
    change.print(context, &mut created, "created")
}

/// `a=b` pairs as a map.
fn map(pairs: &[String], what: &str) -> Result<Map<String, Value>, Error> {
    let mut map = Map::new();
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| message(format!("unexpected {what} spec: {pair}")))?;
        map.insert(key.to_owned(), value.into());
    }
    Ok(map)
}

fn pod(name: &str, image: &str, arguments: Vec<String>, matches: &ArgMatches) -> Result<Value, Error> {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !arguments.is_empty() {
        let field = if matches.get_flag("command") { "command" } else { "args" };
        container[field] = json!(arguments);
    }
    let mut env = Vec::new();
    for pair in values(matches, "env") {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| message(format!("invalid env: {pair}")))?;
        env.push(if value.is_empty() { json!({"name": key}) } else { json!({"name": key, "value": value}) });
    }
    if !env.is_empty() {
        container["env"] = env.into();
    }
    let policy = value(matches, "image-pull-policy");
    if !policy.is_empty() {
        if !matches!(policy, "Always" | "IfNotPresent" | "Never") {
            return Err(message(format!("invalid image pull policy: {policy}")));
        }
        container["imagePullPolicy"] = policy.into();
    }
    let port = value(matches, "port");
    if !port.is_empty() {
        let number: u16 =
            port.parse().map_err(|_| message(format!("strconv.Atoi: parsing {port:?}: invalid syntax")))?;
        container["ports"] = json!([{"containerPort": number}]);
    }
    if matches.get_flag("privileged") {
        container["securityContext"] = json!({"privileged": true});
    }
    let restart = value(matches, "restart");
    if !matches!(restart, "Always" | "OnFailure" | "Never") {
        return Err(message(format!(
            "invalid restart policy: {restart}\nSee 'kctl run -h' for help and examples"
        )));
    }
    let labels = values(matches, "labels");
    let labels = if labels.is_empty() { vec![format!("run={name}")] } else { labels };
    let mut metadata = json!({"name": name, "labels": map(&labels, "label")?});
    let annotations = values(matches, "annotations");
    if !annotations.is_empty() {
        metadata["annotations"] = map(&annotations, "annotation")?.into();
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": restart},
        "status": {},
    }))
}
