//! `--extra-config=COMPONENT.KEY=VALUE`: flags of components, by upstream's names.
//!
//! **Upstream**: minikube's flag of the same name. The API server takes its flags, the scheduler the file of its
//! configuration (`--config`), the kubelet fields of its configuration that are about its end.

use crate::problem::Problem;
use anyhow::Result;
use apiserver::config::Options;
use jiff::SignedDuration;
use kubelet::ShutdownGrace;
use scheduler::Configuration;
use std::time::Duration;

const COMPONENTS: &str = "apiserver, scheduler and kubelet";

/// What the settings say to components.
#[derive(Debug, Default)]
pub(crate) struct ExtraConfig {
    pub(crate) apiserver: Options,
    pub(crate) scheduler: Configuration,
    pub(crate) shutdown_grace: ShutdownGrace,
}

/// Reads the settings, and the files that they name.
pub(crate) fn read(settings: &[String]) -> Result<ExtraConfig> {
    let mut config = ExtraConfig::default();
    let (mut total, mut critical) = (Duration::ZERO, Duration::ZERO);
    for setting in settings {
        let refused = |why: &str| {
            Problem::error(
                format!("invalid value {setting:?} for --extra-config: {why}"),
                "flags are given as in --extra-config=apiserver.audit-log-path=/var/log/audit.log",
            )
        };
        let (key, value) = setting.split_once('=').ok_or_else(|| refused("there is no ="))?;
        let (component, flag) = key.split_once('.').ok_or_else(|| refused("there is no component"))?;
        match (component, flag) {
            ("apiserver", flag) => {
                config.apiserver.set(flag, value).map_err(|error| refused(&error.to_string()))?;
            }
            ("scheduler", "config") => {
                let text =
                    std::fs::read_to_string(value).map_err(|error| refused(&format!("{value}: {error}")))?;
                config.scheduler =
                    Configuration::parse(&text).map_err(|error| refused(&format!("{value}: {error}")))?;
            }
            ("scheduler", flag) => return Err(refused(&format!("unknown flag: --{flag}"))),
            ("kubelet", "shutdownGracePeriod") => total = duration(value).map_err(|why| refused(&why))?,
            ("kubelet", "shutdownGracePeriodCriticalPods") => {
                critical = duration(value).map_err(|why| refused(&why))?;
            }
            ("kubelet", field) => return Err(refused(&format!("unknown field \"{field}\""))),
            _ => {
                let why = format!("unknown component {component:?}: only {COMPONENTS} take flags");
                return Err(refused(&why));
            }
        }
    }
    config.shutdown_grace = ShutdownGrace::new(total, critical).map_err(|why| {
        let hint = "as in --extra-config=kubelet.shutdownGracePeriod=30s --extra-config=kubelet.shutdownGracePeriodCriticalPods=10s";
        Problem::error(why, hint)
    })?;
    Ok(config)
}

/// As Go writes a duration.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    let parsed: SignedDuration = text.parse().map_err(|_| invalid())?;
    Duration::try_from(parsed).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_reach_the_api_server_and_mistakes_are_named() {
        let set = |text: &str| read(&[text.to_owned()]);
        let options = set("apiserver.audit-log-path=/var/log/a=b").expect("a flag").apiserver;
        assert_eq!(options.audit.log_path, Some("/var/log/a=b".into()));
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            format!("scheduler.config={}", path.display())
        };
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        set(&file("good", head)).expect("a configuration");
        for (text, why) in [
            ("apiserver.audit-log-path".to_owned(), "there is no ="),
            ("audit-log-path=x".to_owned(), "there is no component"),
            ("kubelet.config=x".to_owned(), "unknown field \"config\""),
            ("kubelet.shutdownGracePeriod=soon".to_owned(), "time: invalid duration \"soon\""),
            ("kubelet.shutdownGracePeriodCriticalPods=1s".to_owned(), "must be <= shutdownGracePeriod 0s"),
            ("proxy.mode=x".to_owned(), "unknown component \"proxy\""),
            ("apiserver.nonsense=x".to_owned(), "unknown flag: --nonsense"),
            ("scheduler.nonsense=x".to_owned(), "unknown flag: --nonsense"),
            ("scheduler.config=/nowhere".to_owned(), "/nowhere: No such file"),
            (file("bad", &format!("{head}nonsense: 1")), "unknown field `nonsense`"),
        ] {
            let error = set(&text).expect_err("refused").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
