//! Whether a container that has ended runs again: the pod's policy, its own policy, its rules.
//!
//! **Contract**: pure.
//! **Upstream**: `pkg/kubelet/container/helpers.go` (`ShouldContainerBeRestarted`), `pkg/api/v1/pod` (`ContainerShouldRestart`).

use api::k8s_openapi::api::core::v1::{Container, PodSpec};

/// How a pod, or a container, treats an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// A pod's.
    pub(crate) fn of(spec: &PodSpec) -> Self {
        Self::parse(spec.restart_policy.as_deref())
    }

    fn restarts(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// Which list of a pod a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Init,
    Main,
    Ephemeral,
}

/// The action of a rule after which all containers of the pod start anew, those that initialise it first.
const RESTART_ALL: &str = "RestartAllContainers";

/// What the first rule that speaks of this exit code says.
fn ruled(container: &Container, exit_code: i32) -> Option<&str> {
    let mut rules = container.restart_policy_rules.iter().flatten();
    let rule = rules.find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
            listed == (codes.operator == "In")
        })
    });
    rule.map(|rule| rule.action.as_str())
}

/// Whether all containers of the pod start anew after this exit code.
pub(crate) fn restarts_all(container: &Container, exit_code: i32) -> bool {
    ruled(container, exit_code) == Some(RESTART_ALL)
}

/// Whether the end of some container may start all of them anew.
pub(crate) fn may_restart_all(spec: &PodSpec) -> bool {
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.any(|c| c.restart_policy_rules.iter().flatten().any(|rule| rule.action == RESTART_ALL))
}

/// Whether a container runs again after this exit code, alone or with all others.
pub(crate) fn restarts(spec: &PodSpec, container: &Container, role: Role, exit_code: i32) -> bool {
    if let Some(action) = ruled(container, exit_code) {
        return matches!(action, "Restart" | RESTART_ALL);
    }
    let own = container.restart_policy.as_deref().map(|policy| RestartPolicy::parse(Some(policy)));
    match (role, own, RestartPolicy::of(spec)) {
        (Role::Ephemeral, ..) => false,
        (_, Some(own), _) => own.restarts(exit_code),
        // One that succeeded has done its work.
        (Role::Init, None, RestartPolicy::Always) => RestartPolicy::OnFailure.restarts(exit_code),
        (_, None, of_pod) => of_pod.restarts(exit_code),
    }
}

/// A container of a pod by name, with the list that it is in.
pub(crate) fn find(spec: &PodSpec, name: &str) -> Option<(Role, Container)> {
    let init = spec.init_containers.iter().flatten().find(|c| c.name == name);
    if let Some(container) = init {
        return Some((Role::Init, container.clone()));
    }
    if let Some(container) = spec.containers.iter().find(|c| c.name == name) {
        return Some((Role::Main, container.clone()));
    }
    crate::ephemeral::containers(spec).find(|c| c.name == name).map(|c| (Role::Ephemeral, c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_nearest_word_counts() {
        let rules = json!([
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
            {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [0, 1, 42]}},
        ]);
        let all =
            json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
        for (pod, own, rules, role, code, expected) in [
            ("Always", None, json!([]), Role::Main, 0, true),
            ("Always", None, json!([]), Role::Init, 0, false),
            ("Always", None, json!([]), Role::Init, 1, true),
            ("Always", Some("Always"), json!([]), Role::Init, 0, true),
            ("Never", Some("Always"), json!([]), Role::Init, 0, true),
            ("Never", None, json!([]), Role::Main, 1, false),
            ("Always", None, json!([]), Role::Ephemeral, 1, false),
            ("OnFailure", Some("Never"), json!([]), Role::Main, 1, false),
            ("Never", Some("Never"), rules.clone(), Role::Main, 42, true),
            ("Never", Some("Never"), rules.clone(), Role::Main, 1, false),
            ("Never", Some("Never"), rules.clone(), Role::Main, 7, true),
            ("Never", Some("Never"), all.clone(), Role::Main, 42, true),
            ("Never", Some("OnFailure"), rules, Role::Main, 1, true),
        ] {
            let spec = json!({"restartPolicy": pod, "containers": []});
            let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
            let container = json!({"name": "c", "restartPolicy": own, "restartPolicyRules": rules});
            let container: Container = serde_json::from_value(container).expect("a container");
            assert_eq!(restarts(&spec, &container, role, code), expected, "{pod} {own:?} {role:?} {code}");
            let ends_all = container.restart_policy_rules == serde_json::from_value(all.clone()).ok();
            assert_eq!(restarts_all(&container, code), ends_all && code == 42);
        }
    }
}
