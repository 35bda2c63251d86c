//! `--extra-config=COMPONENT.KEY=VALUE`: flags of components, by upstream's names.
//!
//! **Upstream**: minikube's flag of the same name. Only the API server takes flags so far.

use crate::problem::Problem;
use anyhow::Result;
use apiserver::config::Options;

const COMPONENT: &str = "apiserver";

/// What the settings say to the API server.
pub(crate) fn apiserver(settings: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for setting in settings {
        let refused = |why: &str| {
            Problem::error(
                format!("invalid value {setting:?} for --extra-config: {why}"),
                "flags are given as in --extra-config=apiserver.audit-log-path=/var/log/audit.log",
            )
        };
        let (key, value) = setting.split_once('=').ok_or_else(|| refused("there is no ="))?;
        let (component, flag) = key.split_once('.').ok_or_else(|| refused("there is no component"))?;
        if component != COMPONENT {
            return Err(refused(&format!("unknown component {component:?}: only {COMPONENT} takes flags")));
        }
        options.set(flag, value).map_err(|error| refused(&error.to_string()))?;
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_reach_the_api_server_and_mistakes_are_named() {
        let set = |text: &str| apiserver(&[text.to_owned()]);
        let options = set("apiserver.audit-log-path=/var/log/a=b").expect("a flag");
        assert_eq!(options.audit.log_path, Some("/var/log/a=b".into()));
        for (text, why) in [
            ("apiserver.audit-log-path", "there is no ="),
            ("audit-log-path=x", "there is no component"),
            ("scheduler.config=x", "unknown component \"scheduler\""),
            ("apiserver.nonsense=x", "unknown flag: --nonsense"),
        ] {
            let error = set(text).expect_err("refused").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
