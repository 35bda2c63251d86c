//! Which pods of a node are to go, and what stands in the way. Pure.
//!
//! **Upstream.** `kubectl/pkg/drain/filters.go` (behaviour).

use jiff::Timestamp;
use serde_json::Value;

const DAEMON_SET_FATAL: &str = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
const DAEMON_SET_WARNING: &str = "ignoring DaemonSet-managed Pods";
const LOCAL_STORAGE_FATAL: &str = "Pods with local storage (use --delete-emptydir-data to override)";
const UNMANAGED_FATAL: &str = "Pods that declare no controller (use --force to override)";
const UNMANAGED_WARNING: &str = "deleting Pods that declare no controller";

/// What the user allows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowed {
    pub(super) force: bool,
    pub(super) ignore_daemon_sets: bool,
    pub(super) delete_empty_dirs: bool,
    /// Seconds since its deletion after which a pod is not waited for; 0: never.
    pub(super) skip_after: i64,
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes; why that should be told, if it should.
    Goes(Option<String>),
    /// It stays; why that should be told, if it should.
    Stays(Option<String>),
    /// It is in the way.
    Blocks(String),
}

/// The DaemonSet that a pod belongs to, if any.
pub(super) fn daemon_set(pod: &Value) -> Option<&str> {
    let owner = controller(pod)?;
    (owner["kind"] == "DaemonSet" && owner["apiVersion"] == "apps/v1")
        .then(|| owner["name"].as_str())
        .flatten()
}

fn controller(pod: &Value) -> Option<&Value> {
    pod["metadata"]["ownerReferences"].as_array()?.iter().find(|owner| owner["controller"] == true)
}

/// What becomes of a pod. `lookup`: why its DaemonSet cannot be read, and whether because there is none.
pub(super) fn fate(pod: &Value, allowed: Allowed, now: Timestamp, lookup: Option<(String, bool)>) -> Fate {
    if is_given_up(pod, allowed.skip_after, now) {
        return Fate::Stays(None);
    }
    let finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if daemon_set(pod).is_some() && !finished {
        match lookup {
            // kubectl has a warning here as well, and below for storage, which its last filter drops.
            Some((_, true)) if allowed.force => {}
            Some((why, _)) => return Fate::Blocks(why),
            None if !allowed.ignore_daemon_sets => return Fate::Blocks(DAEMON_SET_FATAL.to_owned()),
            None => return Fate::Stays(Some(DAEMON_SET_WARNING.to_owned())),
        }
    }
    if !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        return Fate::Stays(None);
    }
    let volumes = pod["spec"]["volumes"].as_array();
    let local = volumes.into_iter().flatten().any(|volume| !volume["emptyDir"].is_null());
    if local && !finished && !allowed.delete_empty_dirs {
        return Fate::Blocks(LOCAL_STORAGE_FATAL.to_owned());
    }
    if controller(pod).is_none() && !finished {
        if !allowed.force {
            return Fate::Blocks(UNMANAGED_FATAL.to_owned());
        }
        return Fate::Goes(Some(UNMANAGED_WARNING.to_owned()));
    }
    Fate::Goes(None)
}

/// Whether a pod that is being deleted takes too long to wait for it.
pub(super) fn is_given_up(pod: &Value, skip_after: i64, now: Timestamp) -> bool {
    let deleted =
        pod["metadata"]["deletionTimestamp"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    skip_after > 0 && deleted.is_some_and(|time| now.as_second() - time.as_second() > skip_after)
}

/// The pods behind each message, in the order of their first.
pub(super) fn grouped<'a>(told: impl Iterator<Item = (&'a str, &'a Value)>) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for (why, pod) in told {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("");
        let name = format!("{}/{}", text("namespace"), text("name"));
        match groups.iter_mut().find(|(known, _)| *known == why) {
            Some((_, pods)) => pods.push(name),
            None => groups.push((why, vec![name])),
        }
    }
    groups.into_iter().map(|(why, pods)| format!("{why}: {}", pods.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-02T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn pods_go_stay_or_stand_in_the_way() {
        let owned =
            |kind: &str| json!([{"kind": kind, "apiVersion": "apps/v1", "name": "o", "controller": true}]);
        let pod = |owners: Value, extra: Value| {
            let mut pod = json!({"metadata": {"name": "p", "namespace": "n", "ownerReferences": owners},
                "spec": {}, "status": {"phase": "Running"}});
            for (key, value) in extra.as_object().unwrap() {
                pod[key] = value.clone();
            }
            pod
        };
        let storage = json!({"spec": {"volumes": [{"emptyDir": {}}]}});
        let none = Allowed::default();
        let all = Allowed { force: true, ignore_daemon_sets: true, delete_empty_dirs: true, skip_after: 0 };
        let fatal = |text: &str| Fate::Blocks(text.to_owned());
        for (pod, strict, lenient) in [
            (pod(owned("ReplicaSet"), json!({})), Fate::Goes(None), Fate::Goes(None)),
            (
                pod(json!([]), json!({})),
                fatal(UNMANAGED_FATAL),
                Fate::Goes(Some(UNMANAGED_WARNING.to_owned())),
            ),
            (
                pod(owned("DaemonSet"), json!({})),
                fatal(DAEMON_SET_FATAL),
                Fate::Stays(Some(DAEMON_SET_WARNING.to_owned())),
            ),
            (pod(owned("ReplicaSet"), storage), fatal(LOCAL_STORAGE_FATAL), Fate::Goes(None)),
            (pod(json!([]), json!({"status": {"phase": "Succeeded"}})), Fate::Goes(None), Fate::Goes(None)),
        ] {
            assert_eq!(fate(&pod, none, now(), None), strict, "{pod}");
            assert_eq!(fate(&pod, all, now(), None), lenient, "{pod}");
        }
        let orphan = pod(owned("DaemonSet"), json!({}));
        let missing = || Some(("daemonsets.apps \"o\" not found".to_owned(), true));
        assert_eq!(fate(&orphan, none, now(), missing()), fatal("daemonsets.apps \"o\" not found"));
        assert_eq!(fate(&orphan, all, now(), missing()), Fate::Goes(None));
        let mut mirror = pod(json!([]), json!({}));
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert_eq!(fate(&mirror, none, now(), None), Fate::Stays(None));
        let mut old = pod(json!([]), json!({}));
        old["metadata"]["deletionTimestamp"] = json!("2026-01-01T23:59:00Z");
        assert_eq!(fate(&old, Allowed { skip_after: 59, ..none }, now(), None), Fate::Stays(None));
        assert_eq!(fate(&old, Allowed { skip_after: 60, ..none }, now(), None), fatal(UNMANAGED_FATAL));
    }

    #[test]
    fn messages_name_their_pods() {
        let pod = |name: &str| json!({"metadata": {"namespace": "n", "name": name}});
        let (a, b, c) = (pod("a"), pod("b"), pod("c"));
        let told = [("x", &a), ("y", &b), ("x", &c)];
        assert_eq!(grouped(told.into_iter()), ["x: n/a, n/c", "y: n/b"]);
    }
}
