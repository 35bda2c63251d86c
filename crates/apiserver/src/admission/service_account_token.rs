//! The volume with the account's token, the cluster's CA and the namespace that containers find where clients look.
//!
//! **Upstream**: `plugin/pkg/admission/serviceaccount` (`mountServiceAccountToken`, `TokenVolumeSource`).

use api::well_known::{ROOT_CA_CONFIG_MAP, SERVICE_ACCOUNT_MOUNT_PATH};
use component_base::Rng;
use serde_json::{Value, json};

/// What the volume's name begins with.
const PREFIX: &str = "kube-api-access-";
/// An hour, and so odd that it can be told from a lifetime of somebody's choice (`WarnOnlyBoundTokenExpirationPeriod`).
const EXPIRATION_SECONDS: u32 = 3607;

/// Whether a pod wants the volume: the pod's own word counts before its account's.
pub(super) fn is_wanted(pod: &Value, account: &Value) -> bool {
    let word = |object: &Value| object["automountServiceAccountToken"].as_bool();
    word(&pod["spec"]).or_else(|| word(account)).unwrap_or(true)
}

/// Adds the volume, and a mount of it to every container that has nothing in its place.
pub(super) fn mount(pod: &mut Value, rng: &Rng) {
    let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = || volumes.iter().filter_map(|volume| volume["name"].as_str());
    let present = names().find(|name| name.starts_with(PREFIX)).map(str::to_owned);
    let is_new = present.is_none();
    let name = present.unwrap_or_else(|| {
        loop {
            let name = format!("{PREFIX}{}", rng.suffix(5));
            if names().all(|taken| taken != name) {
                break name;
            }
        }
    });
    let mount = json!({"name": name, "readOnly": true, "mountPath": SERVICE_ACCOUNT_MOUNT_PATH});
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let is_taken = |mounts: &Vec<Value>| {
                mounts.iter().any(|mount| mount["mountPath"] == SERVICE_ACCOUNT_MOUNT_PATH)
            };
            match container["volumeMounts"].as_array_mut() {
                Some(mounts) if is_taken(mounts) => continue,
                Some(mounts) => mounts.push(mount.clone()),
                None => container["volumeMounts"] = json!([mount]),
            }
            mounted = true;
        }
    }
    if !(mounted && is_new) {
        return;
    }
    let volume = volume(&name);
    match pod["spec"]["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => pod["spec"]["volumes"] = json!([volume]),
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": EXPIRATION_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA_CONFIG_MAP, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_gets_the_token_unless_it_brings_its_own() {
        let own = json!([{"name": "own", "mountPath": SERVICE_ACCOUNT_MOUNT_PATH}]);
        let mut pod = json!({"spec": {
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": own}],
            "initContainers": [{"name": "i", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}],
        }});
        mount(&mut pod, &Rng::seeded(1));
        let name = pod["spec"]["volumes"][0]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with(PREFIX) && name.len() == PREFIX.len() + 5, "{name}");
        let mounted = json!({"name": name, "readOnly": true, "mountPath": SERVICE_ACCOUNT_MOUNT_PATH});
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"], json!([mounted]));
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"], own);
        assert_eq!(pod["spec"]["initContainers"][0]["volumeMounts"][1], mounted);
        // What stands in a template already is not made twice.
        let before = pod.clone();
        mount(&mut pod, &Rng::seeded(2));
        assert_eq!(pod, before);
    }

    #[test]
    fn the_pods_word_counts_before_its_accounts() {
        let says = |word: Value| json!({"automountServiceAccountToken": word});
        for (pod, account, wanted) in [
            (json!({}), json!({}), true),
            (json!({}), says(json!(false)), false),
            (says(json!(true)), says(json!(false)), true),
            (says(json!(false)), json!({}), false),
        ] {
            assert_eq!(is_wanted(&json!({"spec": pod}), &account), wanted);
        }
    }
}
