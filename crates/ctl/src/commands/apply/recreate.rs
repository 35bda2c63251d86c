//! `apply --force`: what the server will not change is deleted and made anew.
//!
//! **Contract.** It is waited for until the old object is gone. If the new one is refused, the old one is made again.
//! **Upstream.** `kubectl/pkg/cmd/apply/patcher.go` (`deleteAndCreate`).

use std::time::Duration;

use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use super::Options;
use crate::cli::{self, DryRun, value};
use crate::commands::{Context, delete};
use crate::connection::JSON;
use crate::duration;
use crate::manifests::Manifest;
use crate::report::{Error, message};
use crate::resolve::Target;

/// `--force` and how objects are deleted then.
pub(super) fn flags() -> Vec<clap::Arg> {
    vec![
        cli::flag("force", "If true, immediately remove resources from API and bypass graceful deletion. Note that immediate deletion of some resources may result in inconsistency or data loss and requires confirmation."),
        cli::number("grace-period", "Period of time in seconds given to the resource to terminate gracefully. Ignored if negative. Set to 1 for immediate shutdown. Can only be set to 0 when --force is true (force deletion).").default_value("-1"),
        cli::text("timeout", "The length of time to wait before giving up on a delete, zero means determine a timeout from the size of the object").default_value("0s"),
        cli::flag("wait", "If true, wait for resources to be gone before returning. This waits for finalizers."),
    ]
}

/// How an object goes to make room for another of its name.
pub(super) struct Recreate {
    options: Value,
    limit: Option<Duration>,
}

impl Recreate {
    /// Reads the flags; `None` without `--force`.
    pub(super) fn from_matches(
        matches: &ArgMatches,
        server_side: bool,
        dry_run: DryRun,
    ) -> Result<Option<Self>, Error> {
        let grace = matches.get_one::<i64>("grace-period").copied().unwrap_or(-1);
        let text = value(matches, "timeout");
        let limit = duration::parse(text).ok_or_else(|| {
            message(format!(
                "invalid argument {text:?} for \"--timeout\" flag: time: invalid duration {text:?}\nSee 'kctl apply --help' for usage."
            ))
        })?;
        if !matches.get_flag("force") {
            // There is nothing else that would be waited for, and only pruning besides that deletes.
            let pruned = matches.get_flag("prune");
            let given = [("--grace-period", grace >= 0 && !pruned), ("--timeout", !limit.is_zero())];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(message(format!("{flag} must have --force specified"))),
                None => Ok(None),
            };
        }
        if server_side {
            return Err(message("--force cannot be used with --server-side"));
        }
        if dry_run == DryRun::Server {
            return Err(message("--dry-run=server cannot be used with --force"));
        }
        let propagation = delete::propagation(value(matches, "cascade"))?;
        let mut options = json!({"propagationPolicy": propagation});
        if grace >= 0 {
            options["gracePeriodSeconds"] = grace.into();
        }
        Ok(Some(Self { options, limit: Some(limit).filter(|limit| !limit.is_zero()) }))
    }

    /// Deletes what is there and makes what is wanted.
    pub(super) async fn run(
        &self,
        context: &Context,
        manifest: &Manifest,
        options: &Options,
        live: &Value,
        wanted: &Value,
    ) -> Result<Value, Error> {
        let target = Target::from(manifest.clone());
        delete::away(context, &target, &self.options, self.limit, || Ok(())).await?;
        let path = options.query(&manifest.resource.collection(manifest.namespace.as_deref()));
        let connection = context.connection().await?;
        let error = match connection.request(Method::POST, &path, JSON, Some(wanted)).await {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        let mut original = live.clone();
        if let Some(metadata) = original["metadata"].as_object_mut() {
            metadata.shift_remove("resourceVersion");
        }
        match connection.request(Method::POST, &path, JSON, Some(&original)).await {
            Ok(_) => Err(error),
            Err(again) => Err(message(format!(
                "An error occurred force-replacing the existing object with the newly provided one:\n\n{error}.\n\nAdditionally, an error occurred attempting to restore the original object:\n\n{again}"
            ))),
        }
    }
}
