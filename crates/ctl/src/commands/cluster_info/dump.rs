//! `cluster-info dump`: objects and logs, for somebody who is to find out what is wrong.
//!
//! **Upstream.** `kubectl/pkg/cmd/clusterinfo/clusterinfo_dump.go` (what, in which order, under which names).

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::Value;

use crate::cli::{self, value, values};
use crate::commands::{Context, print_object};
use crate::connection::{JSON, encode};
use crate::output::{self, Format};
use crate::report::{Error, message};
use crate::selection;

/// What is dumped of each namespace: the path of the collection and the name of its file.
const COLLECTIONS: [(&str, &str); 7] = [
    ("api/v1/namespaces/{}/events", "events"),
    ("api/v1/namespaces/{}/replicationcontrollers", "replication-controllers"),
    ("api/v1/namespaces/{}/services", "services"),
    ("apis/apps/v1/namespaces/{}/daemonsets", "daemonsets"),
    ("apis/apps/v1/namespaces/{}/deployments", "deployments"),
    ("apis/apps/v1/namespaces/{}/replicasets", "replicasets"),
    ("api/v1/namespaces/{}/pods", "pods"),
];

const TIMEOUT: &str = "pod-running-timeout";

/// The subcommand.
pub(super) fn command() -> clap::Command {
    clap::Command::new("dump")
        .about("Dump relevant information for debugging and diagnosis")
        .args_override_self(true)
        .args(cli::without(selection::print_flags(), &["output"]))
        .arg(cli::output().default_value("json"))
        .arg(cli::duration(TIMEOUT, "The length of time (like 5s, 2m, or 3h, higher than zero) to wait until at least one pod is running").default_value("20s"))
        .arg(cli::text("output-directory", "Where to output the files.  If empty or '-' uses stdout, otherwise creates a directory hierarchy in that directory"))
        .arg(cli::texts("namespaces", "A comma separated list of namespaces to dump."))
        .arg(cli::all_namespaces())
}

/// Where everything goes.
struct Sink<'a> {
    context: &'a Context,
    folder: Option<PathBuf>,
    format: Format,
    managed_fields: bool,
}

impl Sink<'_> {
    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let Some(folder) = &self.folder else { return self.context.terminal.out(text) };
        let path = folder.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, text)?)
    }

    fn object(&self, name: &str, object: &Value) -> Result<(), Error> {
        let end = match self.format {
            Format::Json => ".json",
            Format::Yaml => ".yaml",
            Format::Kyaml => ".kyaml",
            _ => ".txt",
        };
        let text = print_object(&self.format, &mut object.clone(), self.managed_fields)?;
        self.write(&format!("{name}{end}"), &text)
    }
}

/// Runs it.
pub(super) async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    // A log is there as soon as its container runs; nothing else is waited for.
    if cli::time(matches, TIMEOUT).is_none_or(|limit| limit.is_zero()) {
        return Err(message(format!("--{TIMEOUT} must be higher than zero")));
    }
    let format = output::from_matches(matches)?;
    if matches!(format, Format::Human { .. } | Format::CustomColumns(_)) {
        return Err(output::unknown_format(value(matches, "output"), output::TYPED_FORMATS));
    }
    if matches!(format, Format::Name) {
        return Err(message("list types are not supported by name printing: *v1.NodeList"));
    }
    let folder = match value(matches, "output-directory") {
        "" | "-" => None,
        folder => Some(Path::new(folder).to_owned()),
    };
    let sink = Sink { context, folder, format, managed_fields: matches.get_flag("show-managed-fields") };
    let connection = context.connection().await?;
    let nodes = connection.get("/api/v1/nodes", JSON).await?;
    sink.object("nodes", &nodes)?;
    let mut namespaces = values(matches, "namespaces");
    if matches.get_flag("all-namespaces") {
        let all = connection.get("/api/v1/namespaces", JSON).await?;
        let names =
            all["items"].as_array().into_iter().flatten().filter_map(|one| one["metadata"]["name"].as_str());
        namespaces = names.map(str::to_owned).collect();
    } else if namespaces.is_empty() {
        namespaces = vec!["kube-system".to_owned(), context.namespace().to_owned()];
    }
    for namespace in &namespaces {
        let mut pods = Value::Null;
        for (path, name) in COLLECTIONS {
            let path = format!("/{}", path.replace("{}", &encode(namespace)));
            let list = connection.get(&path, JSON).await?;
            sink.object(&format!("{namespace}/{name}"), &list)?;
            pods = list;
        }
        for pod in pods["items"].as_array().into_iter().flatten() {
            logs(&sink, namespace, pod).await?;
        }
    }
    match &sink.folder {
        Some(folder) => context.terminal.out(&format!("Cluster info dumped to {}\n", folder.display())),
        None => Ok(()),
    }
}

async fn logs(sink: &Sink<'_>, namespace: &str, pod: &Value) -> Result<(), Error> {
    let name = pod["metadata"]["name"].as_str().unwrap_or("");
    let mut text = String::new();
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let container = container["name"].as_str().unwrap_or("");
            let path = format!(
                "/api/v1/namespaces/{}/pods/{}/log?container={}",
                encode(namespace),
                encode(name),
                encode(container)
            );
            let said = match sink.context.connection().await?.get_bytes(&path).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => format!("Create log error: {error}\n"),
            };
            text += &format!(
                "==== START logs for container {container} of pod {namespace}/{name} ====\n{said}==== END logs for container {container} of pod {namespace}/{name} ====\n"
            );
        }
    }
    sink.write(&format!("{namespace}/{name}/logs.txt"), &text)
}
