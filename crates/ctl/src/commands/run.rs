//! `run`: one pod from an image, and what is to be seen of it.
//!
//! **Upstream.** `kubectl/pkg/cmd/run` (behaviour).

use clap::ArgMatches;
use http::Method;
use serde_json::{Map, Value, json};

use super::attach::{self, Session};
use super::delete::{self, Removal};
use super::{Command, Context, apply, create as create_command};
use crate::cli::{self, DryRun, value, values};
use crate::connection::{JSON, encode};
use crate::manifests::Sources;
use crate::overrides;
use crate::report::{Error, message};
use crate::resolve::{self, Target};
use crate::selection::{self, Change};
use crate::streams::pods;

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
        .arg(cli::flag("stdin", "Keep stdin open on the container in the pod, even if nothing is attached.").short('i'))
        .arg(cli::flag("tty", "Allocate a TTY for the container in the pod.").short('t'))
        .arg(cli::flag("attach", "If true, wait for the Pod to start running, and then attach to the Pod as if 'kctl attach ...' were called.  Default false, unless '-i/--stdin' is set, in which case the default is true. With '--restart=Never' the exit code of the container process is returned."))
        .arg(cli::flag("rm", "If true, delete the pod after it exits.  Only valid when attaching to the container, e.g. with '--attach' or with '-i/--stdin'."))
        .arg(cli::flag("leave-stdin-open", "If the pod is started in interactive mode or with stdin, leave stdin open after the first attach completes. By default, stdin will be closed after the first attach completes."))
        .arg(cli::flag("expose", "If true, create a ClusterIP service associated with the pod.  Requires `--port`."))
        .args(delete::flags())
        .args(cli::files())
        .arg(create_command::save_config_flag())
        .args(overrides::flags())
        .arg(attach::detach_flag())
        .arg(pods::timeout_flag())
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
    if Sources::given(matches) || matches.get_flag("recursive") {
        return Err(message("-f, -k and -R mean nothing to run: a pod is made from --image"));
    }
    let removal = Removal::from_matches(matches)?;
    let interactive = matches.get_flag("stdin");
    let attaches = match matches.value_source("attach") {
        Some(clap::parser::ValueSource::CommandLine) => matches.get_flag("attach"),
        _ => interactive,
    };
    if matches.get_flag("tty") && !interactive {
        return Err(message(
            "-i/--stdin is required for containers with -t/--tty=true\nSee 'kctl run -h' for help and examples",
        ));
    }
    if matches.get_flag("rm") && !attaches {
        return Err(message(
            "--rm should only be used for attached containers\nSee 'kctl run -h' for help and examples",
        ));
    }
    if attaches && change.dry_run != DryRun::None {
        return Err(message(
            "--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)\nSee 'kctl run -h' for help and examples",
        ));
    }
    if matches.get_flag("expose") && value(matches, "port").is_empty() {
        return Err(message(
            "--port must be set when exposing a service\nSee 'kctl run -h' for help and examples",
        ));
    }
    let pod = overrides::apply(matches, pod(&name, image, arguments, matches)?)?;
    let mut service = matches.get_flag("expose").then(|| service(&pod));
    let mut pod = pod;
    if matches.get_flag("save-config") {
        apply::remember(&mut pod);
        service.iter_mut().for_each(apply::remember);
    }
    let mut created = create(context, &change, "pods", pod).await?;
    if let Some(service) = service {
        let mut service = create(context, &change, "services", service).await?;
        change.print(context, &mut service, "created")?;
        change.print_separator(context)?;
    }
    if !attaches {
        return change.print(context, &mut created, "created");
    }
    let attached = attached(context, matches, &created).await;
    if matches.get_flag("rm") {
        remove(context, &created, &removal).await?;
    }
    attached
}

/// Makes an object, unless it is a client's dry run.
async fn create(context: &Context, change: &Change, plural: &str, object: Value) -> Result<Value, Error> {
    if change.dry_run == DryRun::Client {
        return Ok(object);
    }
    let path = change.query(&format!("/api/v1/namespaces/{}/{plural}", context.namespace()));
    context.connection().await?.request(Method::POST, &path, JSON, Some(&object)).await
}

/// The service in front of a pod, by its labels and its first port.
fn service(pod: &Value) -> Value {
    let port = pod["spec"]["containers"][0]["ports"][0]["containerPort"].clone();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": pod["metadata"]["name"]},
        "spec": {
            "ports": [{"port": port, "protocol": "TCP", "targetPort": port}],
            "selector": pod["metadata"]["labels"],
        },
        "status": {"loadBalancer": {}},
    })
}

fn place(pod: &Value) -> (&str, &str) {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("");
    (text("namespace"), text("name"))
}

/// Sits before the new pod until it ends, and ends as it does.
async fn attached(context: &Context, matches: &ArgMatches, pod: &Value) -> Result<(), Error> {
    let (namespace, name) = place(pod);
    let limit = pods::timeout(matches, "run")?;
    let timed_out = |_| message("timed out waiting for the condition");
    let started = pods::watch(context, namespace, name, |pod| {
        let conditions = pod["status"]["conditions"].as_array();
        let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
        match phase(pod) {
            "Succeeded" | "Failed" => Some((pod.clone(), true)),
            "Running" if ready => Some((pod.clone(), false)),
            _ => None,
        }
    });
    let (pod, ended) = tokio::time::timeout(limit, started).await.map_err(timed_out)??;
    if ended {
        pods::print_log(context, &pod, name).await?;
    } else {
        // What was written before anybody listened.
        if let Err(error) = pods::print_log(context, &pod, name).await {
            context.terminal.err(&format!("warning: couldn't fetch pre-attach logs: {error}\n"));
        }
        if let Err(error) = Session::from_matches(matches)?.run(context, &pod, name).await {
            context.terminal.err(&format!(
                "warning: couldn't attach to pod/{name}, falling back to streaming logs: {error}\n"
            ));
            pods::print_log(context, &pod, name).await?;
        }
    }
    let restart = value(matches, "restart");
    if matches.get_flag("leave-stdin-open") || restart == "Always" {
        return Ok(());
    }
    let finished = pods::watch(context, namespace, name, |pod| match phase(pod) {
        "Succeeded" => Some(pod.clone()),
        "Failed" if restart == "Never" => Some(pod.clone()),
        _ => None,
    });
    let pod = tokio::time::timeout(limit, finished).await.map_err(timed_out)??;
    if phase(&pod) == "Succeeded" {
        return Ok(());
    }
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    let text = |field: &str| ended[field].as_str().unwrap_or("");
    match ended["exitCode"].as_u64().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0) {
        Some(code) => {
            let (reason, said) = (text("reason"), text("message"));
            Err(Error::Plain(format!("pod {namespace}/{name} terminated ({reason})\n{said}\n"), code))
        }
        None => Err(message(format!("pod {namespace}/{name} failed with unknown exit code"))),
    }
}

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("")
}

async fn remove(context: &Context, pod: &Value, removal: &Removal) -> Result<(), Error> {
    let (namespace, name) = place(pod);
    let path = format!("/api/v1/namespaces/{}/pods/{}", encode(namespace), encode(name));
    let sent = context.connection().await?.request(Method::DELETE, &path, JSON, Some(&removal.options)).await;
    if let Err(error) = sent {
        return if error.is_not_found() { Ok(()) } else { Err(error) };
    }
    let done = if removal.force { "force deleted" } else { "deleted" };
    context.terminal.out(&format!("pod {name:?} {done} from {namespace} namespace\n"))?;
    if !removal.wait {
        return Ok(());
    }
    let discovery = context.discovery().await?;
    let resource = resolve::resource(discovery, "pods")?.clone();
    let target =
        Target { resource, namespace: Some(namespace.to_owned()), name: Some(name.to_owned()), source: None };
    let uid = pod["metadata"]["uid"].as_str().unwrap_or("");
    delete::wait(context, &target, uid, removal.limit).await
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
    if matches.get_flag("stdin") {
        container["stdin"] = true.into();
        if !matches.get_flag("leave-stdin-open") {
            container["stdinOnce"] = true.into();
        }
    }
    if matches.get_flag("tty") {
        container["tty"] = true.into();
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
