//! `debug`: a container that joins a pod, a copy of a pod, or a pod on a node, to look around in.
//!
//! **Upstream.** `kubectl/pkg/cmd/debug` (behaviour).

mod custom;
mod profiles;

use clap::ArgMatches;
use http::Method;
use profiles::{Keep, Profile, Style};
use serde_json::{Value, json};

use super::attach::Session;
use super::exec::{after_dashes, command_line};
use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, STRATEGIC_PATCH, encode};
use crate::manifests::{self, Sources};
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::streams::{self, pods};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "debug", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Create debugging sessions for troubleshooting workloads and nodes")
        .arg(cli::arguments("(POD | TYPE[[.VERSION].GROUP]/NAME)"))
        .arg(after_dashes("COMMAND"))
        .arg(cli::texts("filename", "identifying the resource to debug").short('f'))
        .arg(cli::flag("arguments-only", "If specified, everything after -- will be passed to the new container as Args instead of Command."))
        .arg(cli::flag("attach", "If true, wait for the container to start running, and then attach as if 'kctl attach ...' were called.  Default false, unless '-i/--stdin' is set, in which case the default is true."))
        .arg(cli::text("container", "Container name to use for debug container.").short('c').default_value("").hide_default_value(true))
        .arg(cli::text("copy-to", "Create a copy of the target Pod with this name."))
        .arg(cli::text("custom", "Path to a JSON or YAML file containing a partial container spec to customize built-in debug profiles."))
        .arg(cli::texts("env", "Environment variables to set in the container."))
        .arg(cli::text("image", "Container image to use for debug container."))
        .arg(cli::text("image-pull-policy", "The image pull policy for the container. If left empty, this value will not be specified by the client and defaulted by the server."))
        .arg(cli::flag("keep-annotations", "If true, keep the original pod annotations.(This flag only works when used with '--copy-to')"))
        .arg(cli::flag_on("keep-init-containers", "Run the init containers for the pod. Defaults to true.(This flag only works when used with '--copy-to')"))
        .arg(cli::flag("keep-labels", "If true, keep the original pod labels.(This flag only works when used with '--copy-to')"))
        .arg(cli::flag("keep-liveness", "If true, keep the original pod liveness probes.(This flag only works when used with '--copy-to')"))
        .arg(cli::flag("keep-readiness", "If true, keep the original pod readiness probes.(This flag only works when used with '--copy-to')"))
        .arg(cli::flag("keep-startup", "If true, keep the original startup probes.(This flag only works when used with '--copy-to')"))
        .arg(cli::text("profile", "Options are \"general\", \"baseline\", \"restricted\", \"netadmin\" or \"sysadmin\". Defaults to \"general\"").default_value("general"))
        .arg(cli::flag("quiet", "If true, suppress informational messages.").short('q'))
        .arg(cli::flag("replace", "When used with '--copy-to', delete the original Pod."))
        .arg(cli::flag("same-node", "When used with '--copy-to', schedule the copy of target Pod on the same node."))
        .arg(cli::texts("set-image", "When used with '--copy-to', a list of name=image pairs for changing container images, similar to how 'kctl set image' works."))
        .arg(cli::flag_on("share-processes", "When used with '--copy-to', enable process namespace sharing in the copy."))
        .arg(cli::flag("stdin", "Keep stdin open on the container(s) in the pod, even if nothing is attached.").short('i'))
        .arg(cli::text("target", "When using an ephemeral container, target processes in this container name."))
        .arg(cli::flag("tty", "Allocate a TTY for the debugging container.").short('t'))
}

/// What the flags say.
struct Debug<'a> {
    context: &'a Context,
    matches: &'a ArgMatches,
    command: Vec<String>,
    env: Vec<Value>,
    images: Vec<(String, String)>,
    profile: Profile,
    custom: Option<Value>,
    quiet: bool,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let pair = |text: String, flag: &str| match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(message(format!(
            "invalid argument {text:?} for \"--{flag}\" flag: {text} must be formatted as key=value"
        ))),
    };
    let pairs = |flag: &str| -> Result<Vec<(String, String)>, Error> {
        values(matches, flag).into_iter().map(|text| pair(text, flag)).collect()
    };
    let env = pairs("env")?.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    let debug = Debug {
        context,
        matches,
        command: command_line(matches),
        env: env.collect(),
        images: pairs("set-image")?,
        profile: Profile::parse(value(matches, "profile")).map_err(message)?,
        custom: custom::read(value(matches, "custom")).map_err(message)?,
        quiet: matches.get_flag("quiet"),
    };
    debug.check()?;
    let attach = match matches.value_source("attach") {
        Some(clap::parser::ValueSource::CommandLine) => matches.get_flag("attach"),
        _ => matches.get_flag("stdin"),
    };
    for target in debug.targets().await? {
        let object = context.connection().await?.get(&target.path(), JSON).await?;
        let (pod, container) = match object["kind"].as_str() {
            Some("Node") => debug.node(&object).await?,
            Some("Pod") if debug.text("copy-to").is_empty() => debug.join(&object).await?,
            Some("Pod") => debug.copy(&object).await?,
            kind => {
                return Err(message(format!(
                    "\"{}, Kind={}\" not supported by debug",
                    target.resource.group_slash_version(),
                    kind.unwrap_or("")
                )));
            }
        };
        if attach && !container.is_empty() {
            debug.attach(&pod, &container).await?;
        }
    }
    Ok(())
}

impl Debug<'_> {
    fn text(&self, flag: &str) -> &str {
        value(self.matches, flag)
    }

    fn flag(&self, flag: &str) -> bool {
        self.matches.get_flag(flag)
    }

    fn given(&self, flag: &str) -> bool {
        self.matches.value_source(flag) == Some(clap::parser::ValueSource::CommandLine)
    }

    fn tell(&self, line: &str) -> Result<(), Error> {
        if self.quiet { Ok(()) } else { self.context.terminal.out(&format!("{line}\n")) }
    }

    fn check(&self) -> Result<(), Error> {
        let (image, copy_to, container) = (self.text("image"), self.text("copy-to"), self.text("container"));
        let valid = |image: &str| !image.contains(char::is_whitespace) && !image.contains("//");
        let refuse = |text: &str| Err(message(text));
        if self.given("attach") && self.flag("attach") && image.is_empty() && container.is_empty() {
            return refuse(
                "you must specify --container or create a new container using --image in order to attach.",
            );
        }
        if !copy_to.is_empty() {
            if image.is_empty() && self.images.is_empty() && self.command.is_empty() {
                return refuse("you must specify --image, --set-image or command arguments.");
            }
            if !self.command.is_empty() && container.is_empty() && image.is_empty() {
                return refuse("you must specify an existing container or a new image when specifying args.");
            }
        } else if self.flag("replace") {
            return refuse("--replace may only be used with --copy-to.");
        } else if self.flag("same-node") {
            return refuse("--same-node may only be used with --copy-to.");
        } else if !self.images.is_empty() {
            return refuse("--set-image may only be used with --copy-to.");
        } else if image.is_empty() {
            return refuse("you must specify --image when not using --copy-to.");
        }
        if !valid(image) {
            return Err(message(format!("invalid image name {image:?}: invalid reference format")));
        }
        if values(self.matches, "arguments").is_empty() && !Sources::given(self.matches) {
            return refuse("NAME or filename is required for debug");
        }
        let policy = self.text("image-pull-policy");
        if !matches!(policy, "" | "Always" | "IfNotPresent" | "Never") {
            return Err(message(format!("invalid image pull policy: {policy}")));
        }
        for (name, image) in &self.images {
            if !valid(image) || image.is_empty() {
                return Err(message(format!(
                    "invalid image name {image:?} for container {name:?}: invalid reference format"
                )));
            }
        }
        let target = self.text("target");
        if !target.is_empty() {
            if !copy_to.is_empty() {
                return refuse("--target is incompatible with --copy-to. Use --share-processes instead.");
            }
            self.tell(&format!("Targeting container {target:?}. If you don't see processes from this container it may be because the container runtime doesn't support this feature."))?;
        }
        if self.flag("tty") && !self.flag("stdin") {
            return refuse("-i/--stdin is required for containers with -t/--tty=true");
        }
        if self.profile == Profile::Legacy {
            self.context.terminal.err("--profile=legacy is deprecated and planned to be removed in v1.39. It is recommended to specify other profile, for example \"--profile=general\".\n");
        }
        Ok(())
    }

    async fn targets(&self) -> Result<Vec<Target>, Error> {
        let files = Sources::from_matches(self.matches)?;
        if !files.is_empty() {
            let (found, errors) = manifests::read(self.context, &files).await?;
            Error::from_many(errors)?;
            return Ok(found.into_iter().map(Target::from).collect());
        }
        let mut targets = Vec::new();
        for argument in values(self.matches, "arguments") {
            targets.push(pods::target(self.context, &argument).await?);
        }
        Ok(targets)
    }

    fn keep(&self) -> Keep {
        Keep {
            labels: self.flag("keep-labels"),
            annotations: self.flag("keep-annotations"),
            liveness: self.flag("keep-liveness"),
            readiness: self.flag("keep-readiness"),
            startup: self.flag("keep-startup"),
            init_containers: self.flag("keep-init-containers"),
        }
    }

    /// Sets what the flags say of a container.
    fn fill(&self, container: &mut Value) {
        if !self.command.is_empty() {
            let field = if self.flag("arguments-only") { "args" } else { "command" };
            container[field] = json!(self.command);
        }
        if !self.env.is_empty() {
            container["env"] = json!(self.env);
        }
        for (flag, field) in [("image", "image"), ("image-pull-policy", "imagePullPolicy")] {
            if !self.text(flag).is_empty() {
                container[field] = self.text(flag).into();
            }
        }
        container["stdin"] = self.flag("stdin").into();
        container["tty"] = self.flag("tty").into();
    }

    fn finish(&self, pod: &mut Value, container: &str, style: Style) -> Result<(), Error> {
        self.profile.apply(pod, container, style, self.keep());
        if let (Some(custom), Some(container)) = (&self.custom, profiles::find(pod, container)) {
            custom::merge(container, custom);
        }
        self.warn(pod, container, style);
        Ok(())
    }

    /// Rights that a user other than root cannot use.
    fn warn(&self, pod: &mut Value, container: &str, style: Style) {
        let user = pod["spec"]["securityContext"]["runAsUser"].as_i64().unwrap_or(0);
        let Some(container) = profiles::find(pod, container).filter(|_| user != 0 && style != Style::Node)
        else {
            return;
        };
        let security = &container["securityContext"];
        let added = security["capabilities"]["add"].as_array().is_some_and(|list| !list.is_empty());
        if security["runAsUser"] != 0 && (security["privileged"] == true || added) {
            self.context.terminal.err("Warning: Non-root user is configured for the entire target Pod, and some capabilities granted by debug profile may not work. Please consider using \"--custom\" with a custom profile that specifies \"securityContext.runAsUser: 0\".\n");
        }
    }

    /// The name of the debugging container.
    fn container_name(&self, pod: &mut Value) -> Result<String, Error> {
        let asked = self.text("container");
        if !asked.is_empty() {
            return Ok(asked.to_owned());
        }
        let name = loop {
            let name = format!("debugger-{}", streams::suffix(5));
            if profiles::find(pod, &name).is_none() {
                break name;
            }
        };
        self.tell(&format!("Defaulting debug container name to {name}."))?;
        Ok(name)
    }

    /// Lets a container join a pod.
    async fn join(&self, pod: &Value) -> Result<(Value, String), Error> {
        let mut changed = pod.clone();
        let name = self.container_name(&mut changed)?;
        let mut container = json!({"name": name, "terminationMessagePolicy": "File"});
        self.fill(&mut container);
        if !self.text("target").is_empty() {
            container["targetContainerName"] = self.text("target").into();
        }
        if !changed["spec"]["ephemeralContainers"].is_array() {
            changed["spec"]["ephemeralContainers"] = json!([]);
        }
        if let Some(list) = changed["spec"]["ephemeralContainers"].as_array_mut() {
            list.push(container);
        }
        self.finish(&mut changed, &name, Style::Ephemeral)?;
        let container = profiles::find(&mut changed, &name).cloned().unwrap_or_default();
        let patch = json!({"spec": {"ephemeralContainers": [container]}});
        let path = format!("{}/ephemeralcontainers", path(pod));
        let patched = self.context.connection().await?.patch(&path, STRATEGIC_PATCH, &patch).await;
        let pod = patched.map_err(|error| match &error {
            Error::Status { status, .. }
                if error.is_not_found() && status["details"]["name"].as_str().unwrap_or("").is_empty() =>
            {
                let text = error.to_string();
                message(format!(
                    "ephemeral containers are disabled for this cluster (error from server: {text:?})"
                ))
            }
            _ => error,
        })?;
        Ok((pod, name))
    }

    /// Makes a copy of a pod.
    async fn copy(&self, pod: &Value) -> Result<(Value, String), Error> {
        let mut copy = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.text("copy-to"), "namespace": pod["metadata"]["namespace"]},
            "spec": pod["spec"]});
        for field in ["annotations", "labels"] {
            if pod["metadata"][field].is_object() {
                copy["metadata"][field] = pod["metadata"][field].clone();
            }
        }
        if let Some(spec) = copy["spec"].as_object_mut() {
            spec.shift_remove("ephemeralContainers");
            if !self.flag("same-node") {
                spec.shift_remove("nodeName");
            }
            if self.given("share-processes") {
                spec.insert("shareProcessNamespace".to_owned(), self.flag("share-processes").into());
            }
        }
        for container in copy["spec"]["containers"].as_array_mut().into_iter().flatten() {
            let of = |wanted: &str| self.images.iter().rev().find(|(name, _)| name == wanted);
            let own = container["name"].as_str().and_then(of);
            if let Some((_, image)) = own.or_else(|| of("*")) {
                container["image"] = image.as_str().into();
            }
        }
        let Some(name) = self.container_of_copy(&mut copy)? else {
            return Ok((self.create(&copy, Some(pod)).await?, String::new()));
        };
        self.finish(&mut copy, &name, Style::Copy)?;
        Ok((self.create(&copy, Some(pod)).await?, name))
    }

    /// The container that debugs in a copy, changed or added; `None`: only images change.
    fn container_of_copy(&self, copy: &mut Value) -> Result<Option<String>, Error> {
        let asked = self.text("container");
        if asked.is_empty() || profiles::find(copy, asked).is_none() {
            if self.text("image").is_empty() {
                return match self.images.is_empty() {
                    false => Ok(None),
                    true => Err(message("you must specify image when creating new container")),
                };
            }
            let name = self.container_name(copy)?;
            if let Some(list) = copy["spec"]["containers"].as_array_mut() {
                list.push(json!({"name": name, "terminationMessagePolicy": "File"}));
            }
            if let Some(container) = profiles::find(copy, &name) {
                self.fill(container);
            }
            return Ok(Some(name));
        }
        if let Some(container) = profiles::find(copy, asked) {
            if !self.command.is_empty() && !self.flag("arguments-only") {
                container.as_object_mut().map(|fields| fields.shift_remove("args"));
            }
            self.fill(container);
        }
        Ok(Some(asked.to_owned()))
    }

    /// Makes a pod on a node.
    async fn node(&self, node: &Value) -> Result<(Value, String), Error> {
        let node = node["metadata"]["name"].as_str().unwrap_or("");
        let container = match self.text("container") {
            "" => "debugger",
            name => name,
        };
        let name = format!("node-debugger-{node}-{}", streams::suffix(5));
        self.tell(&format!("Creating debugging pod {name} with container {container} on node {node}."))?;
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.context.namespace(),
                "labels": {"app.kubernetes.io/managed-by": "kubectl-debug"}},
            "spec": {"containers": [{"name": container, "terminationMessagePolicy": "File"}], "nodeName": node,
                "restartPolicy": "Never", "tolerations": [{"operator": "Exists"}]}});
        self.fill(&mut pod["spec"]["containers"][0]);
        self.finish(&mut pod, container, Style::Node)?;
        Ok((self.create(&pod, None).await?, container.to_owned()))
    }

    async fn create(&self, pod: &Value, original: Option<&Value>) -> Result<Value, Error> {
        let connection = self.context.connection().await?;
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("");
        let collection = format!("/api/v1/namespaces/{}/pods", encode(namespace));
        let created = connection.request(Method::POST, &collection, JSON, Some(pod)).await?;
        if let Some(original) = original.filter(|_| self.flag("replace")) {
            let options = json!({"gracePeriodSeconds": 0});
            connection.request(Method::DELETE, &path(original), JSON, Some(&options)).await?;
        }
        Ok(created)
    }

    /// Waits for the container, and sits down before it.
    async fn attach(&self, pod: &Value, container: &str) -> Result<(), Error> {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("");
        let mut told = String::new();
        let (pod, ended) = pods::watch(self.context, text("namespace"), text("name"), |pod| {
            let state = state(pod, container)?;
            if !state["running"].is_null() || !state["terminated"].is_null() {
                return Some((pod.clone(), !state["terminated"].is_null()));
            }
            let why = state["waiting"]["message"].as_str().unwrap_or("");
            if !self.quiet && !why.is_empty() && why != told {
                self.context.terminal.err(&format!("Warning: container {container}: {why}\n"));
                why.clone_into(&mut told);
            }
            None
        })
        .await?;
        if ended {
            return pods::print_log(self.context, &pod, container).await;
        }
        let session = Session::from_matches(self.matches)?;
        if let Err(error) = session.run(self.context, &pod, container).await {
            let name = pod["metadata"]["name"].as_str().unwrap_or("");
            self.context.terminal.err(&format!(
                "warning: couldn't attach to pod/{name}, falling back to streaming logs: {error}\n"
            ));
            return pods::print_log(self.context, &pod, container).await;
        }
        Ok(())
    }
}

fn path(pod: &Value) -> String {
    let text = |field: &str| encode(pod["metadata"][field].as_str().unwrap_or(""));
    format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"))
}

/// What a container of a pod is doing.
fn state<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let statuses = lists.into_iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    statuses.filter(|status| status["name"] == container).map(|status| &status["state"]).next()
}
