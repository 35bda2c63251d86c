//! `minik expect -f FILE`: whether the cluster is as a file says, each within its time; the answer as JUnit, too.
//!
//! **Contract**: every assertion is a watch, none is a poll; they share the time. Exit code 1 if one does not hold.

mod assertion;
mod junit;

use super::CommandContext;
use crate::access;
use crate::problem::Problem;
use anyhow::{Context as _, Result};
use assertion::{Assertion, File};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Check that the cluster is as a file says
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The file:\n  timeout: 60s\n  assertions:\n  - name: web is up\n    apiVersion: apps/v1\n    kind: Deployment\n    object: web\n    condition: Available\n  - name: three pods, never restarted\n    apiVersion: v1\n    kind: Pod\n    selector: app=web\n    count: 3\n    condition: Ready\n    restarts: 0\n    within: 30s\n\nExamples:\n  minik expect -f assertions.yaml --junit report.xml"
)]
pub(super) struct Arguments {
    /// The file with the assertions
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,
    /// Write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What became of an assertion.
struct Outcome {
    name: String,
    time: Duration,
    /// Why it does not hold.
    failure: Option<String>,
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let (settings, _) = access::running(cx)?;
    let path = &arguments.filename;
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let file: File = serde_saphyr::from_str(&text).map_err(|error| {
        Problem::error(format!("{}: {error}", path.display()), "see what a file may say: minik expect --help")
    })?;
    file.check()?;
    let clock = component_base::Context::system().clock;
    let outcomes = access::block_on(async {
        let client = access::client(cx, &settings).await?;
        let all = file.assertions.iter().map(|assertion| {
            let (client, clock) = (client.clone(), clock.clone());
            let limit = assertion.within.unwrap_or(file.timeout);
            async move {
                let began = clock.instant();
                let mut last = "nothing is known yet".to_owned();
                let ended = tokio::time::timeout(limit.0, hold(client, assertion, &mut last)).await;
                let failure = match ended {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(format!("{error:#}")),
                    Err(_) => Some(format!("after {:?}: {last}", limit.0)),
                };
                Outcome { name: assertion.name.clone(), time: clock.instant().duration_since(began), failure }
            }
        });
        Ok(futures::future::join_all(all).await)
    })?;
    for outcome in &outcomes {
        let seconds = outcome.time.as_secs_f64();
        match &outcome.failure {
            None => cx.terminal.line(&format!("ok      {} ({seconds:.2} s)", outcome.name)),
            Some(why) => cx.terminal.line(&format!("FAILED  {} ({seconds:.2} s): {why}", outcome.name)),
        }
    }
    if let Some(path) = &arguments.junit {
        std::fs::write(path, junit::report(&outcomes))
            .with_context(|| format!("write {}", path.display()))?;
    }
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Watches until the assertion holds; `last` is why it does not yet. An error is final.
async fn hold(client: kube::Client, assertion: &Assertion, last: &mut String) -> Result<()> {
    let (group, version) = assertion.api_version.split_once('/').unwrap_or(("", &assertion.api_version));
    let kind = GroupVersionKind::gvk(group, version, &assertion.kind);
    let (resource, capabilities) = kube::discovery::pinned_kind(&client, &kind)
        .await
        .with_context(|| format!("there is no kind {} in {}", assertion.kind, assertion.api_version))?;
    let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
    let api: Api<DynamicObject> = match assertion.namespace.as_deref() {
        Some("*") => Api::all_with(client, &resource),
        _ if !namespaced => Api::all_with(client, &resource),
        namespace => Api::namespaced_with(client, namespace.unwrap_or("default"), &resource),
    };
    let mut config = watcher::Config::default();
    if let Some(name) = &assertion.object {
        config = config.fields(&format!("metadata.name={name}"));
    }
    if let Some(selector) = &assertion.selector {
        config = config.labels(selector);
    }
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    let mut complete = false;
    let mut changes = watcher(api, config).boxed();
    while let Some(event) = changes.try_next().await.context("watch")? {
        let place = |object: &DynamicObject| {
            format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
        };
        match event {
            watcher::Event::Init => {
                objects.clear();
                complete = false;
            }
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                objects.insert(place(&object), serde_json::to_value(&object).context("an object")?);
            }
            watcher::Event::Delete(object) => {
                objects.remove(&place(&object));
            }
            watcher::Event::InitDone => complete = true,
        }
        if complete {
            match assertion.judge(objects.values()) {
                assertion::Verdict::Holds => return Ok(()),
                assertion::Verdict::NotYet(why) => *last = why,
                assertion::Verdict::Never(why) => anyhow::bail!(why),
            }
        }
    }
    anyhow::bail!("the watch has ended")
}
