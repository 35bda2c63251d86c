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
        .arg(cli::flag("enable-helm", "Enable use of the Helm chart inflator generator."))
        .arg(cli::flag("enable-alpha-plugins", "enable kustomize plugins"))
        .args(WITH_HELM.map(|(name, help)| cli::text(name, help)))
        .arg(cli::texts("helm-api-versions", "Kubernetes api versions used by Helm for Capabilities.APIVersions"))
        .arg(cli::flag("helm-debug", "Enable debug output from the Helm chart inflator generator."))
        .arg(cli::flag("as-current-user", "use the uid and gid of the command executor to run the function in the container"))
        .arg(cli::texts("env", "a list of environment variables to be used by functions").short('e'))
        .arg(cli::texts("mount", "a list of storage options read from the filesystem"))
        .arg(cli::flag("network", "enable network access for functions that declare it"))
        .arg(cli::text("network-name", "the docker network to run the container in").default_value("bridge"))
}

/// What Helm would be told.
const WITH_HELM: [(&str, &str); 2] = [
    ("helm-command", "helm command (path to executable)"),
    ("helm-kube-version", "Kubernetes version used by Helm for Capabilities.KubeVersion"),
];

/// Refuses other programs. Flags that only say how those run say nothing without them, as in kubectl.
fn without_programs(matches: &ArgMatches) -> Result<(), Error> {
    for (flag, what) in [("enable-helm", "Helm charts"), ("enable-alpha-plugins", "plugins")] {
        if matches.get_flag(flag) {
            return Err(message(format!(
                "--{flag}: {what} are not supported: kctl runs no other programs here"
            )));
        }
    }
    Ok(())
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    without_programs(matches)?;
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
