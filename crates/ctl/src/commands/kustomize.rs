//! `kustomize`: the objects of a kustomization as YAML.
//!
//! **Not here.** How they are made: the crate `kustomize`; `-k` of other commands: `manifests`.
//! **Upstream.** `kustomize/v5/commands/build` (behaviour).

use std::collections::BTreeSet;
use std::path::Path;

use clap::ArgMatches;
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::client_config::os_text;
use crate::manifests;
use crate::output::yaml;
use crate::report::{Error, message};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "kustomize", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Build a kustomization target from a directory")
        .after_help(
            "Examples:\n  # Build the current working directory\n  kctl kustomize\n\n  # Build some shared configuration directory\n  kctl kustomize /home/config/production",
        )
        .arg(cli::arguments("DIR"))
        .arg(cli::text("output", "If specified, write output to this path.").short('o'))
        .arg(
            cli::text("load-restrictor", "if set to 'LoadRestrictionsNone', local kustomizations may load files from outside their root. This does, however, break the relocatability of the kustomization.")
                .default_value("LoadRestrictionsRootOnly"),
        )
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let folder = match values(matches, "arguments").as_slice() {
        [] => ".".to_owned(),
        [folder] => folder.clone(),
        _ => return Err(message("specify one path to kustomization.yaml")),
    };
    let restrictor = match value(matches, "load-restrictor") {
        "LoadRestrictionsRootOnly" | "" => kustomize::LoadRestrictor::RootOnly,
        "LoadRestrictionsNone" => kustomize::LoadRestrictor::None,
        other => {
            return Err(message(format!(
                "illegal flag value --load-restrictor {other}; legal values: [LoadRestrictionsRootOnly LoadRestrictionsNone]"
            )));
        }
    };
    let objects = manifests::kustomization(context, &folder, restrictor)?;
    let output = value(matches, "output");
    if output.is_empty() {
        return context.terminal.out(&documents(&objects));
    }
    let path = Path::new(output);
    if !path.is_dir() {
        return write(path, &documents(&objects));
    }
    let namespaces: BTreeSet<&str> =
        objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
    for object in &objects {
        write(&path.join(file_name(object, namespaces.len() > 1)), &yaml::print(object))?;
    }
    Ok(())
}

fn documents(objects: &[Value]) -> String {
    objects.iter().map(yaml::print).collect::<Vec<_>>().join("---\n")
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text)
        .map_err(|error| message(format!("open {}: {}", path.display(), os_text(&error))))
}

/// `apps_v1_deployment_web.yaml`, with the namespace in front where there are several.
fn file_name(object: &Value, with_namespace: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_lowercase().replace('/', "_");
    let parts = [
        if with_namespace { text(&object["metadata"]["namespace"]) } else { String::new() },
        text(&object["apiVersion"]),
        text(&object["kind"]),
        text(&object["metadata"]["name"]),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("_") + ".yaml"
}
