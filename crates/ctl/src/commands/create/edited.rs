//! `create --edit`: each object passes through the editor before it is made.
//!
//! **Upstream.** `kubectl/pkg/cmd/create` (`RunEditOnCreate`; kubectl makes the object even in a dry run, which is refused here).

use clap::ArgMatches;
use futures::future::BoxFuture;
use http::Method;
use serde_json::Value;

use crate::cli::DryRun;
use crate::commands::edit::same_namespace;
use crate::commands::edit::sitting::{OBJECT_HEAD, Outcome, Save, Sitting};
use crate::commands::{Context, apply};
use crate::connection::JSON;
use crate::discovery::Resource;
use crate::manifests::{self, Sources, Validation};
use crate::report::{Error, message};
use crate::selection::Change;

/// Runs it.
pub(super) async fn run(
    context: &Context,
    matches: &ArgMatches,
    files: &Sources,
    validation: &'static str,
) -> Result<(), Error> {
    let change = Change::from_matches(matches)?.with_validation(validation);
    if change.dry_run != DryRun::None {
        return Err(message("--edit and --dry-run are mutually exclusive"));
    }
    let sitting = Sitting::from_matches(matches, OBJECT_HEAD)?;
    let keeps_config = matches.get_flag("save-config");
    let mut errors = Vec::new();
    for manifest in manifests::read_validated(context, files, Validation::Off).await? {
        let mut manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if let Some(namespace) = &manifest.namespace {
            manifest.object["metadata"]["namespace"] = namespace.as_str().into();
        }
        let shown = std::slice::from_ref(&manifest.object);
        let what = manifest.resource.qualified();
        let making = Making { context, change: &change, resource: &manifest.resource, keeps_config };
        errors.extend(sitting.edit(context, shown, (&what, manifest.name()), &making).await.err());
    }
    Error::from_many(errors)
}

/// How edited objects are made.
struct Making<'a> {
    context: &'a Context,
    change: &'a Change,
    resource: &'a Resource,
    keeps_config: bool,
}

impl Save for Making<'_> {
    fn save(&self, edited: Vec<Value>) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async {
            for object in edited {
                self.make(object).await?;
            }
            Ok(Outcome::default())
        })
    }
}

impl Making<'_> {
    async fn make(&self, mut object: Value) -> Result<(), Error> {
        if self.resource.namespaced {
            same_namespace(self.context, &mut object)?;
        }
        if self.keeps_config {
            apply::remember(&mut object);
        }
        let namespace = object["metadata"]["namespace"].as_str();
        let path = self.change.query(&self.resource.collection(namespace));
        let sent = self.context.connection().await?.request(Method::POST, &path, JSON, Some(&object)).await;
        self.change.print(self.context, &mut sent?, "created")
    }
}
