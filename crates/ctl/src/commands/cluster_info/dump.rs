//! `cluster-info dump`: objects and logs, for somebody who is to find out what is wrong.
//!
//! **Upstream.** `kubectl/pkg/cmd/clusterinfo/clusterinfo_dump.go` (what, in which order, under which names).

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::Value;

use crate::cli::{self, value, values};
use crate::commands::Context;
use crate::connection::{JSON, encode};
use crate::output::{self, Format, json, yaml};
use crate::report::{Error, message};

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

/// The subcommand.
pub(super) fn command() -> clap::Command {
    clap::Command::new("dump")
        .about("Dump relevant information for debugging and diagnosis")
        .args_override_self(true)
        .arg(cli::output().default_value("json"))
        .arg(cli::text("output-directory", "Where to output the files.  If empty or '-' uses stdout, otherwise creates a directory hierarchy in that directory"))
        .arg(cli::texts("namespaces", "A comma separated list of namespaces to dump."))
        .arg(cli::all_namespaces())
}

/// Where everything goes.
struct Sink<'a> {
    context: &'a Context,
    folder: Option<PathBuf>,
    format: Format,
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
        match self.format {
            Format::Yaml => self.write(&format!("{name}.yaml"), &yaml::print(object)),
            _ => self.write(&format!("{name}.json"), &json::print(object)),
        }
    }
}

/// Runs it.
pub(super) async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let format = output::parse(value(matches, "output"), None)?;
    if !matches!(format, Format::Json | Format::Yaml) {
        return Err(message(format!(
            "unable to match a printer suitable for the output format {:?}",
            value(matches, "output")
        )));
    }
    let folder = match value(matches, "output-directory") {
        "" | "-" => None,
        folder => Some(Path::new(folder).to_owned()),
    };
    let sink = Sink { context, folder, format };
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
