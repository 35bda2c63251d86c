//! Which tokens nobody uses, and what a pod uses.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// A label of a Secret whose token is refused.
pub(super) const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// A label with the day of a token's last use.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// What is to become of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Leave,
    /// Its token is to be refused, as of this day.
    Invalidate(String),
    Delete,
}

/// The time without a use after which a token counts as unused; it ends now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Period {
    begin: Timestamp,
    first_day: String,
    today: String,
}

impl Period {
    /// `None` if uses have not been written down for so long. The day on which that began (`since`) does not count.
    pub(super) fn before(now: Timestamp, since: &str, length: Duration) -> Option<Self> {
        let tracked = date(since)?.checked_add(1.day()).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let begin = now.checked_sub(SignedDuration::try_from(length).ok()?).ok()?;
        (begin >= tracked).then(|| Self { begin, first_day: day(begin), today: day(now) })
    }
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

fn date(text: &str) -> Option<Date> {
    Date::strptime("%Y-%m-%d", text).ok()
}

/// What is to become of a Secret of an account, if no pod uses it. Only Secrets that the account refers to were made for
/// it without anybody asking.
pub(super) fn step(secret: &Secret, account: Option<&ServiceAccount>, period: &Period) -> Step {
    let metadata = &secret.metadata;
    let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    if metadata.deletion_timestamp.is_some() || created.is_some_and(|created| created >= period.begin) {
        return Step::Leave;
    }
    // Without the label nobody has used it since uses are written down; with another text nobody knows.
    if label(LAST_USED).is_some_and(|used| date(used).is_none() || *used >= period.first_day) {
        return Step::Leave;
    }
    let meant = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ACCOUNT_UID));
    let same = |account: &&ServiceAccount| {
        meant.is_none_or(|meant| meant.is_empty() || Some(meant) == account.metadata.uid.as_ref())
    };
    let Some(account) = account.filter(same) else { return Step::Leave };
    if !account.secrets.iter().flatten().any(|secret| secret.name == metadata.name) {
        return Step::Leave;
    }
    match label(INVALID_SINCE).filter(|since| date(since).is_some()) {
        None => Step::Invalidate(period.today.clone()),
        Some(since) if *since >= period.first_day => Step::Leave,
        Some(_) => Step::Delete,
    }
}

/// The Secrets that a pod refers to.
pub(super) fn secret_names(pod: &Pod) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Ok(spec) = serde_json::to_value(&pod.spec) {
        collect(&spec, &mut names);
    }
    names
}

/// Every reference to a Secret has one of these forms, wherever in the pod it is.
fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = match key.as_str() {
                    "secretName" => value.as_str(),
                    "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => {
                        value["name"].as_str()
                    }
                    "imagePullSecrets" => {
                        let pulls = value.as_array().into_iter().flatten();
                        names.extend(pulls.filter_map(|one| one["name"].as_str()).map(str::to_owned));
                        None
                    }
                    _ => None,
                };
                names.extend(name.map(str::to_owned));
                collect(value, names);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const YEAR: Duration = Duration::from_hours(8760);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_unused_before_uses_were_written_down_for_the_whole_period() {
        let before = |since: &str| Period::before(at("2026-03-01T00:00:00Z"), since, YEAR);
        let expected = Period {
            begin: at("2025-03-01T00:00:00Z"),
            first_day: "2025-03-01".to_owned(),
            today: "2026-03-01".to_owned(),
        };
        assert_eq!(before("2025-02-28"), Some(expected));
        for since in ["2025-03-01", "2026-03-01", "", "yesterday"] {
            assert_eq!(before(since), None, "{since}");
        }
    }

    #[test]
    fn a_token_is_marked_when_it_is_unused_and_goes_when_it_stays_so() {
        let period = Period::before(at("2026-03-01T12:00:00Z"), "2020-01-01", YEAR).unwrap();
        let account = |secrets: Value| -> ServiceAccount {
            serde_json::from_value(json!({ "metadata": { "name": "s", "uid": "u1" }, "secrets": secrets }))
                .unwrap()
        };
        let owner = account(json!([{ "name": "other" }, { "name": "t" }]));
        let old = "2025-01-01T00:00:00Z";
        let secret = |created: &str, labels: Value, uid: &str| -> Secret {
            serde_json::from_value(json!({ "metadata": {
                "name": "t", "creationTimestamp": created, "labels": labels,
                "annotations": { "kubernetes.io/service-account.name": "s", ACCOUNT_UID: uid },
            }}))
            .unwrap()
        };
        let marked = Step::Invalidate("2026-03-01".to_owned());
        for (name, secret, account, expected) in [
            ("never used", secret(old, json!({}), "u1"), Some(&owner), marked.clone()),
            (
                "used long ago",
                secret(old, json!({ LAST_USED: "2025-02-28" }), "u1"),
                Some(&owner),
                marked.clone(),
            ),
            ("used", secret(old, json!({ LAST_USED: "2025-03-01" }), "u1"), Some(&owner), Step::Leave),
            ("who knows", secret(old, json!({ LAST_USED: "never" }), "u1"), Some(&owner), Step::Leave),
            ("new", secret("2025-03-01T12:00:00Z", json!({}), "u1"), Some(&owner), Step::Leave),
            ("another account", secret(old, json!({}), "u2"), Some(&owner), Step::Leave),
            ("no account", secret(old, json!({}), "u1"), None, Step::Leave),
            ("made by hand", secret(old, json!({}), "u1"), Some(&account(json!([]))), Step::Leave),
            (
                "just marked",
                secret(old, json!({ INVALID_SINCE: "2025-03-01" }), "u1"),
                Some(&owner),
                Step::Leave,
            ),
            ("marked by whom?", secret(old, json!({ INVALID_SINCE: "x" }), "u1"), Some(&owner), marked),
            (
                "marked long ago",
                secret(old, json!({ INVALID_SINCE: "2025-02-28" }), "u1"),
                Some(&owner),
                Step::Delete,
            ),
        ] {
            assert_eq!(step(&secret, account, &period), expected, "{name}");
        }
    }

    #[test]
    fn a_pod_refers_to_secrets_in_many_places() {
        let pod: Pod = serde_json::from_value(json!({ "spec": {
            "imagePullSecrets": [{ "name": "pull" }],
            "containers": [{
                "name": "c",
                "env": [{ "name": "E", "valueFrom": { "secretKeyRef": { "name": "env", "key": "k" } } }],
                "envFrom": [{ "secretRef": { "name": "from" } }, { "configMapRef": { "name": "map" } }],
            }],
            "initContainers": [{ "name": "i", "envFrom": [{ "secretRef": { "name": "init" } }] }],
            "volumes": [
                { "name": "a", "secret": { "secretName": "volume" } },
                { "name": "b", "projected": { "sources": [{ "secret": { "name": "projected" } }] } },
                { "name": "c", "csi": { "driver": "d", "nodePublishSecretRef": { "name": "csi" } } },
                { "name": "d", "iscsi": {
                    "targetPortal": "p", "iqn": "q", "lun": 0, "secretRef": { "name": "iscsi" },
                } },
                { "name": "e", "azureFile": { "secretName": "azure", "shareName": "s" } },
                { "name": "f", "configMap": { "name": "map" } },
            ],
        }}))
        .unwrap();
        let names: Vec<String> = secret_names(&pod).into_iter().collect();
        assert_eq!(names, ["azure", "csi", "env", "from", "init", "iscsi", "projected", "pull", "volume"]);
    }
}
