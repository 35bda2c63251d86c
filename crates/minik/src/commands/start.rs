//! `minik start`: a running cluster, whatever was there before.
//!
//! **Contract**: idempotent. Flags that are given change the profile's settings, others keep what the last start had.

mod flags;
mod progress;

use super::{CommandContext, Output, image, node, status, stop};
use crate::cache::Cache;
use crate::cluster::{IpFamily, ServiceRange};
use crate::pki::Pki;
use crate::problem::Problem;
use crate::profile::{self, Profile, RuntimeKind, Settings};
use crate::readiness::{self, Parts, Wait};
use crate::server::{self, Report, Tell};
use crate::{access, daemon, preferences, preflight};
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::kubeconfig::{self, Entry};
use flags::merged;
pub(super) use flags::{Arguments, EXAMPLES};
use progress::Progress;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// What a server logs, where no flag says it.
pub(super) const LOG: &str = "info";

/// What is waited for, where no flag says it.
pub(super) fn default_wait() -> Wait {
    Wait { parts: Parts::default(), limit: Duration::from_secs(60) }
}

/// Between two questions to a server that is starting, or ending.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);

/// `500ms`, `60s`, `2m`, `1h`, `1m30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::Span = text.parse().map_err(|_| "give a duration such as 60s or 2m".to_owned())?;
    let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|e| e.to_string())?;
    Duration::try_from(signed).map_err(|_| "give a positive duration".to_owned())
}

pub(super) fn run(cx: &CommandContext, arguments: &Arguments) -> Result<ExitCode> {
    let profile = &cx.profile;
    let wait = Wait { parts: arguments.wait.clone().unwrap_or_default(), limit: arguments.wait_timeout };
    if arguments.server {
        let settings = profile.settings()?.context("the profile has no settings")?;
        let tell: Tell = Arc::new(|report| {
            let line = serde_json::to_string(&report).expect("a report is plain data");
            // A parent that went away does not matter to the cluster.
            let _ = writeln!(std::io::stdout(), "{line}");
        });
        return Ok(match server::run(profile, &settings, &wait, &arguments.log, &tell) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        });
    }

    let is_json = arguments.output == Some(Output::Json);
    let mut progress = Progress::new(&cx.terminal, &profile.name, is_json);
    let started = start(cx, arguments, &wait, &mut progress);
    started.map(|()| ExitCode::SUCCESS).inspect_err(|error| progress.error(error))
}

fn start(cx: &CommandContext, arguments: &Arguments, wait: &Wait, progress: &mut Progress<'_>) -> Result<()> {
    let profile = &cx.profile;
    if !arguments.dry_run {
        stop::cancel(profile)?;
    }
    if let Some((pid, settings)) = running(cx, wait.limit)? {
        let all = Settings { stopped_nodes: Vec::new(), ..settings.clone() };
        if merged(arguments, settings.clone())? != all {
            return Err(Problem::error(
                format!("profile {:?} is running with other settings", profile.name),
                format!("stop it first: minik stop -p {}", profile.name),
            ));
        }
        if arguments.dry_run {
            progress.info(&format!("Profile {:?} is already running; nothing is changed.", profile.name));
            return Ok(());
        }
        if settings == all {
            install_kubeconfig(cx, &settings)?;
        } else {
            node::replace(cx, &all, pid)?;
        }
        let (settings, pid) = (all, profile.running()?.unwrap_or(pid));
        if arguments.wait.is_some() {
            await_parts(cx, &settings, wait)?;
        }
        let told = format!("Profile {:?} is already running.", profile.name);
        progress.result(&told, &result(cx, &settings, pid));
        return Ok(());
    }

    let saved = read_settings(cx)?;
    let is_new = saved.is_none();
    let saved = match saved {
        Some(settings) => settings,
        None => preferences::settings(&cx.home)?,
    };
    let mut settings = merged(arguments, saved.clone())?;
    if settings.service_cluster_ip_range.is_some() {
        let of_range = settings.service_range()?.family();
        let named = Some(settings.ip_family).filter(|family| *family != IpFamily::default());
        let agreed = IpFamily::agreed(arguments.ip_family.or(named), of_range);
        settings.ip_family = agreed.ok_or_else(|| {
            Problem::error(
                format!("the services of profile {:?} have addresses of {of_range}", profile.name),
                "leave out --ip-family, or give a new profile another --service-cluster-ip-range",
            )
        })?;
    }
    if is_new && settings.runtime == RuntimeKind::Docker {
        settings.service_cluster_ip_range = Some(range(cx, &settings)?.to_string());
    }
    let addresses = |settings: &Settings| anyhow::Ok((settings.service_range()?, settings.ip_family));
    if !is_new && addresses(&settings)? != addresses(&saved)? {
        return Err(Problem::error(
            format!("the services of profile {:?} have their addresses already", profile.name),
            format!("delete it first: minik delete -p {}", profile.name),
        ));
    }
    if settings.api_port == 0 {
        let default = profile.name == profile::DEFAULT;
        settings.api_port =
            if default { profile::DEFAULT_PORT } else { preflight::free_port(profile::DEFAULT_PORT + 1)? };
    }
    let existed = profile.exists();
    let checked = preflight::check(profile, &settings);
    if arguments.dry_run {
        if !existed && profile.exists() {
            std::fs::remove_dir(profile.dir())
                .with_context(|| format!("remove {}", profile.dir().display()))?;
        }
        checked?;
        progress.info(&format!("Profile {:?} could start; nothing is changed.", profile.name));
        return Ok(());
    }
    checked?;
    profile.save(&settings)?;
    load_cached(cx, &settings, progress)?;

    if arguments.foreground {
        let (file, pki, name) = (cx.kubeconfig.clone(), profile.path("pki"), profile.name.clone());
        let of = settings.clone();
        let tell: Tell = Arc::new(move |report| {
            if report == Report::Ready {
                let installed =
                    entry(&pki, &name, &of).and_then(|entry| Ok(kubeconfig::install(&file, &entry)?));
                if let Err(error) = installed {
                    tracing::error!("write the kubeconfig: {error:#}");
                }
            }
        });
        return server::run(profile, &settings, wait, &arguments.log, &tell);
    }

    progress.info(&format!("Starting profile {:?} on {}", profile.name, describe(&settings)));
    bring_up(cx, &settings, wait, &arguments.log, &mut |(name, milliseconds)| {
        progress.step(&name, milliseconds);
    })?;
    let Some(pid) = profile.running()? else {
        bail!("the server ended right after its start; see {}", profile.path("server.log").display());
    };
    let done = format!("Done. kctl and kubectl now use the context {:?} (namespace default).", profile.name);
    progress.result(&done, &result(cx, &settings, pid));
    Ok(())
}

/// Gives the engine the images of `minik cache` that it has not. What cannot be loaded may still be pulled.
fn load_cached(cx: &CommandContext, settings: &Settings, progress: &mut Progress<'_>) -> Result<()> {
    let cache = Cache::new(&cx.home);
    if settings.runtime != RuntimeKind::Docker || cache.list()?.is_empty() {
        return Ok(());
    }
    let loaded = access::block_on(async {
        let engine = image::engine(cx, settings).await?;
        cache.load_missing(&engine).await
    });
    match loaded {
        Ok(names) if names.is_empty() => {}
        Ok(names) => progress.info(&format!("Loaded from the cache: {}", names.join(", "))),
        Err(error) => cx.terminal.warning(&error.context("load the images of the cache")),
    }
    Ok(())
}

/// Starts the server of a profile whose settings are saved, and makes it the kubeconfig's current one.
pub(super) fn bring_up(
    cx: &CommandContext,
    settings: &Settings,
    wait: &Wait,
    log: &str,
    on_step: &mut dyn FnMut((String, u64)),
) -> Result<()> {
    let profile = &cx.profile;
    let mut failure = None;
    daemon::start(profile, &server_arguments(cx, wait, log), |report| match report {
        Report::Step { name, milliseconds } => on_step((name, milliseconds)),
        Report::Ready => {}
        Report::Failed { error, hint } => failure = Some((error, hint)),
    })?;
    if let Some((error, hint)) = failure {
        let hint = hint.unwrap_or_else(|| format!("see what it logged: minik logs -p {}", profile.name));
        return Err(Problem::error(error, hint));
    }
    install_kubeconfig(cx, settings)
}

/// Waits for parts of a cluster that runs already.
fn await_parts(cx: &CommandContext, settings: &Settings, wait: &Wait) -> Result<()> {
    let nodes = settings.running_nodes();
    access::block_on(async {
        let client = access::client(cx, settings).await?;
        readiness::wait(&component_base::Context::system(), client, wait, nodes, |_| {}).await
    })
    .map_err(|error| {
        Problem::error(format!("{error:#}"), format!("see what it logs: minik logs -p {}", cx.profile.name))
    })
}

/// The profile's server, if one runs and answers. One that is about to end is waited for, and counts as none.
fn running(cx: &CommandContext, wait: Duration) -> Result<Option<(u32, Settings)>> {
    let profile = &cx.profile;
    let Some(pid) = profile.running()? else { return Ok(None) };
    let settings = profile.settings()?.context("the profile has no settings")?;
    let mut left = wait;
    loop {
        if status::ask(cx, &settings).is_ok() {
            return Ok(Some((pid, settings)));
        }
        if daemon::ends_within(pid, ANSWER_PAUSE)? {
            return Ok(None);
        }
        left = left.saturating_sub(ANSWER_PAUSE);
        if left.is_zero() {
            return Err(Problem::error(
                format!("the server of profile {:?} (process {pid}) runs but does not answer", profile.name),
                format!("see what it is doing (minik logs -p {}), or end it: kill -9 {pid}", profile.name),
            ));
        }
    }
}

/// Settings of the last start; a folder that cannot be read is the preflight's to explain.
fn read_settings(cx: &CommandContext) -> Result<Option<Settings>> {
    cx.profile.settings().map_err(|error| {
        Problem::error(
            format!("profile {:?} cannot be used: {error:#}", cx.profile.name),
            format!("make {} readable for you, or delete it", cx.profile.dir().display()),
        )
    })
}

/// Addresses for the services of a new profile; those that are not given, neither another profile has nor another cluster
/// that runs.
fn range(cx: &CommandContext, settings: &Settings) -> Result<ServiceRange> {
    let others = Profile::all(&cx.home)?.into_iter().filter(|other| other.name != cx.profile.name);
    let others = others.filter_map(|other| other.settings().ok().flatten());
    let on_machine = others.filter(|settings| settings.runtime == RuntimeKind::Docker);
    let taken: Vec<_> = on_machine.filter_map(|settings| settings.service_range().ok()).collect();
    let preferred = cx.profile.name == profile::DEFAULT;
    let name = &cx.profile.name;
    let asked = settings.service_cluster_ip_range.is_some().then(|| settings.service_range()).transpose()?;
    let free = ServiceRange::free(settings.ip_family, asked, name, preferred, &taken);
    free.context("find free addresses for services: give some with --service-cluster-ip-range")
}

fn describe(settings: &Settings) -> String {
    let runtime = match settings.runtime {
        RuntimeKind::Docker => "Docker",
        RuntimeKind::Simulated => "the simulated runtime",
    };
    format!("{runtime}, Kubernetes {}", crate::cluster::KUBERNETES_VERSION)
}

fn server_arguments(cx: &CommandContext, wait: &Wait, log: &str) -> Vec<OsString> {
    let (parts, limit) = (wait.parts.to_string(), format!("{}ms", wait.limit.as_millis()));
    let words = ["start", "--server", "--profile", &cx.profile.name];
    let words = words.into_iter().chain(["--wait", &parts, "--wait-timeout", &limit, "--log", log]);
    words.map(OsString::from).collect()
}

fn server_url(settings: &Settings) -> String {
    format!("https://127.0.0.1:{}", settings.api_port)
}

pub(super) fn entry(pki: &std::path::Path, name: &str, settings: &Settings) -> Result<Entry> {
    let pki = Pki::load(pki)?;
    Ok(Entry {
        name: name.to_owned(),
        server: server_url(settings),
        certificate_authority_data: STANDARD.encode(&pki.ca.cert),
        client_certificate_data: STANDARD.encode(&pki.admin.cert),
        client_key_data: STANDARD.encode(&pki.admin.key),
        namespace: None,
    })
}

pub(super) fn install_kubeconfig(cx: &CommandContext, settings: &Settings) -> Result<()> {
    let entry = entry(&cx.profile.path("pki"), &cx.profile.name, settings)?;
    kubeconfig::install(&cx.kubeconfig, &entry).map_err(|error| {
        Problem::error(
            format!("{:#}", anyhow::Error::new(error)),
            format!(
                "mend {}, or name another file with KUBECONFIG, and run start again",
                cx.kubeconfig.display()
            ),
        )
    })
}

/// What programs want to know of a cluster that runs.
fn result(cx: &CommandContext, settings: &Settings, pid: u32) -> Value {
    json!({
        "profile": cx.profile.name,
        "context": cx.profile.name,
        "kubeconfig": cx.kubeconfig,
        "server": server_url(settings),
        "pid": pid,
        "version": crate::cluster::KUBERNETES_VERSION,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_as_go_writes_them() {
        for (text, seconds) in [("60s", 60.0), ("2m", 120.0), ("1m30s", 90.0), ("500ms", 0.5)] {
            assert_eq!(duration(text).map(|d| d.as_secs_f64()), Ok(seconds), "{text}");
        }
        assert!(duration("x").is_err() && duration("-5s").is_err());
    }
}
