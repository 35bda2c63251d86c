//! Nothing is created that a ResourceQuota has no room for; what is created is charged.
//!
//! **Contract**: the charge is written in the transaction of the object that causes it, so a quota never counts what was
//! not written; who loses the race for a quota is judged again by the store. Only quotas whose status is there count.
//! **Not here**: giving back what is deleted (the controller), what objects count for (`api::quota`).
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/resourcequota`, where the status is written first and on its own.

use super::refusal::forbidden;
use super::{Attributes, Companion, Operation, Plugin};
use api::meta;
use api::pod::ResourceList;
use api::quota::{self, Kind, Scope, Write, amounts};
use api::status::Status;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// What may only be used where a quota counts it. **Upstream**: `LimitedResource`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Limited {
    #[serde(rename = "apiGroup")]
    group: String,
    resource: String,
    /// Parts of names under which quotas count.
    match_contains: Vec<String>,
    /// `scopeName`, `operator`, `values` each.
    match_scopes: Vec<Value>,
}

/// The plugin.
#[derive(Default)]
pub(super) struct ResourceQuota {
    limited: Vec<Limited>,
}

impl ResourceQuota {
    pub(super) fn new(limited: Vec<Limited>) -> Self {
        Self { limited }
    }
}

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let resource = attributes.resource;
        let kind = Kind { group: &resource.group, plural: &resource.plural };
        let write = match (attributes.operation, attributes.subresource) {
            (Operation::Create, "") => Write::Create,
            (Operation::Update, "") => Write::Update,
            (Operation::Update, "resize") => Write::Resize,
            _ => return Ok(()),
        };
        let Some(object) = object.filter(|_| !attributes.namespace.is_empty()) else { return Ok(()) };
        if kind.plural == "events" || !kind.is_charged(write) {
            return Ok(());
        }
        let quotas = attributes.lookup.list("", "resourcequotas", attributes.namespace);
        if quotas.is_empty() && self.limited.is_empty() {
            return Ok(());
        }
        let old = attributes.old.filter(|_| attributes.operation == Operation::Update);
        let limits = Limits { kind, limited: &self.limited };
        match charge(limits, &quotas, object, old, attributes.now) {
            Ok(charged) => {
                attributes.outcome.companions.extend(charged.into_iter().map(Companion::quota));
                Ok(())
            }
            Err(why) => Err(forbidden(attributes, Some(object), &why)),
        }
    }
}

/// A quota that has a say, and the names by which it measures the object.
struct Interested<'a> {
    quota: &'a Value,
    measured: Vec<String>,
    hard: ResourceList,
    used: ResourceList,
}

impl<'a> Interested<'a> {
    fn of(kind: Kind<'_>, quota: &'a Value, object: &Value) -> Option<Self> {
        let hard = amounts(&quota["status"]["hard"]);
        let measured: Vec<String> = hard.keys().filter(|name| kind.is_measured_by(name)).cloned().collect();
        if measured.is_empty() || !quota::matches(kind, &quota["spec"], object) {
            return None;
        }
        Some(Self { quota, measured, hard, used: amounts(&quota["status"]["used"]) })
    }

    fn name(&self) -> &str {
        meta::name(self.quota)
    }

    /// Why the object cannot even be counted.
    fn obstacle(&self, kind: Kind<'_>, object: &Value) -> Option<String> {
        let measured = || self.measured.iter().map(String::as_str);
        if kind == Kind::core("pods")
            && let Some(missing) = quota::missing(measured(), object)
        {
            return Some(format!("failed quota: {}: {missing}", self.name()));
        }
        let known = measured().all(|name| self.used.contains_key(name));
        (!known).then(|| {
            let names = self.measured.join(",");
            format!("status unknown for quota: {}, resources: {names}", self.name())
        })
    }

    /// The quota with this much more used; `None` if that is nothing.
    fn with(&self, mut requested: ResourceList) -> Result<Option<Value>, String> {
        requested.retain(|name, amount| !amount.is_zero() && self.hard.contains_key(name));
        if requested.is_empty() {
            return Ok(None);
        }
        let mut used = self.used.clone();
        for (name, amount) in &requested {
            *used.entry(name.clone()).or_default() += *amount;
        }
        let exceeded: Vec<&String> = requested.keys().filter(|name| used[*name] > self.hard[*name]).collect();
        if exceeded.is_empty() {
            let mut quota = self.quota.clone();
            quota["status"]["used"] = quota::to_json(&used);
            return Ok(Some(quota));
        }
        let print = |list: &ResourceList| {
            let amount = |name: &String| list.get(name).copied().unwrap_or_default();
            exceeded.iter().map(|name| format!("{name}={}", amount(name))).collect::<Vec<_>>().join(",")
        };
        Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            self.name(),
            print(&requested),
            print(&self.used),
            print(&self.hard)
        ))
    }
}

/// A kind, and what of it needs a quota.
#[derive(Clone, Copy)]
struct Limits<'a> {
    kind: Kind<'a>,
    limited: &'a [Limited],
}

impl Limits<'_> {
    /// Why the object may not be, if it uses what no quota counts.
    fn uncovered(
        self,
        quotas: &[Arc<Value>],
        interested: &[Interested<'_>],
        object: &Value,
        usage: &ResourceList,
    ) -> Option<String> {
        let kind = self.kind;
        let is_limited = |name: &str| {
            let own = self.limited.iter().filter(|l| l.group == kind.group && l.resource == kind.plural);
            own.flat_map(|limited| &limited.match_contains).any(|part| name.contains(part.as_str()))
        };
        let is_counted = |name: &String| interested.iter().any(|quota| quota.measured.contains(name));
        let used = usage.iter().filter(|(_, amount)| !amount.is_zero() && !amount.is_negative());
        let names: Vec<&str> = used
            .filter(|(name, _)| is_limited(name) && !is_counted(name))
            .map(|(name, _)| name.as_str())
            .collect();
        if !names.is_empty() {
            return Some(format!("insufficient quota to consume: {}", names.join(",")));
        }
        let counts = |scope: &Scope<'_>| {
            quotas
                .iter()
                .flat_map(|quota| quota::scopes(&quota["spec"]))
                .any(|other| other.name == scope.name && other.holds(kind, object))
        };
        let scopes = self.limited.iter().flat_map(|limited| limited.match_scopes.iter().map(Scope::of));
        let missing: Vec<String> = scopes
            .filter(|scope| scope.holds(kind, object) && !counts(scope))
            .map(|scope| {
                let values: Vec<&str> = scope.values.iter().filter_map(Value::as_str).collect();
                format!("{{{} {} [{}]}}", scope.name, scope.operator, values.join(" "))
            })
            .collect();
        (!missing.is_empty())
            .then(|| format!("insufficient quota to match these scopes: [{}]", missing.join(" ")))
    }
}

/// The quotas that change with the object, or why it may not be.
fn charge(
    limits: Limits<'_>,
    quotas: &[Arc<Value>],
    object: &Value,
    old: Option<&Value>,
    now: Timestamp,
) -> Result<Vec<Value>, String> {
    let kind = limits.kind;
    let interested: Vec<Interested<'_>> =
        quotas.iter().filter_map(|quota| Interested::of(kind, quota, object)).collect();
    if let Some(why) = interested.iter().find_map(|quota| quota.obstacle(kind, object)) {
        return Err(why);
    }
    if interested.is_empty() && limits.limited.is_empty() {
        return Ok(Vec::new());
    }
    let usage = kind.usage(object, now);
    let more = match old {
        Some(old) => increase(&usage, &kind.usage(old, now)),
        None => usage.clone(),
    };
    if more.values().any(|amount| !amount.is_zero())
        && let Some(why) = limits.uncovered(quotas, &interested, object, &usage)
    {
        return Err(why);
    }
    let mut charged = Vec::new();
    for quota in &interested {
        let counted = old.is_some_and(|old| quota::matches(kind, &quota.quota["spec"], old));
        let requested = if counted || old.is_none() { more.clone() } else { usage.clone() };
        charged.extend(quota.with(requested)?);
    }
    Ok(charged)
}

/// How much more than before, where it is more.
fn increase(new: &ResourceList, old: &ResourceList) -> ResourceList {
    let more = |(name, amount): (&String, &api::quantity::Quantity)| {
        let difference = *amount - old.get(name).copied().unwrap_or_default();
        (!difference.is_negative()).then(|| (name.clone(), difference))
    };
    new.iter().filter_map(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PODS: Kind<'_> = Kind::core("pods");

    fn quota(name: &str, hard: Value, used: Value) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": name}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}),
        )
    }

    fn pod(cpu: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn charged(
        kind: Kind<'_>,
        quotas: &[Arc<Value>],
        new: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<Value>, String> {
        let charged = charge(Limits { kind, limited: &[] }, quotas, new, old, Timestamp::UNIX_EPOCH)?;
        Ok(charged.into_iter().map(|quota| quota["status"]["used"].clone()).collect())
    }

    #[test]
    fn what_fits_is_charged_to_every_quota() {
        let quotas = [
            quota("a", json!({"pods": "2", "secrets": "1"}), json!({"pods": "1", "secrets": "1"})),
            quota("b", json!({"requests.cpu": "2"}), json!({"requests.cpu": "1500m"})),
            quota("c", json!({"secrets": "1"}), json!({"secrets": "0"})),
        ];
        assert_eq!(
            charged(PODS, &quotas, &pod("500m"), None),
            Ok(vec![json!({"pods": "2", "secrets": "1"}), json!({"requests.cpu": "2"})])
        );
        assert_eq!(
            charged(PODS, &quotas, &pod("501m"), None),
            Err("exceeded quota: b, requested: requests.cpu=501m, used: requests.cpu=1500m, limited: requests.cpu=2".to_owned())
        );
    }

    #[test]
    fn refusals_are_in_upstreams_words() {
        let full = quota("q", json!({"pods": "1", "cpu": "1"}), json!({"pods": "1", "cpu": "0"}));
        let unknown = quota("q", json!({"pods": "1"}), json!({}));
        let bare = json!({"spec": {"containers": [{"name": "c"}]}});
        for (quota, object, why) in [
            (&full, &pod("1"), "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"),
            (
                &full,
                &pod("2"),
                "exceeded quota: q, requested: cpu=2,pods=1, used: cpu=0,pods=1, limited: cpu=1,pods=1",
            ),
            (&full, &bare, "failed quota: q: must specify cpu for: c"),
            (&unknown, &bare, "status unknown for quota: q, resources: pods"),
        ] {
            assert_eq!(charged(PODS, std::slice::from_ref(quota), object, None), Err(why.to_owned()));
        }
    }

    #[test]
    fn an_update_is_charged_what_it_adds() {
        let services = Kind::core("services");
        let quotas = [quota(
            "q",
            json!({"services": "1", "services.nodeports": "2"}),
            json!({"services": "1", "services.nodeports": "1"}),
        )];
        let service =
            |kind: &str, ports: usize| json!({"spec": {"type": kind, "ports": vec![json!({}); ports]}});
        let charged = |new: &Value, old: &Value| charged(services, &quotas, new, Some(old));
        assert_eq!(charged(&service("ClusterIP", 1), &service("ClusterIP", 1)), Ok(vec![]));
        assert_eq!(
            charged(&service("NodePort", 2), &service("NodePort", 1)),
            Ok(vec![json!({"services": "1", "services.nodeports": "2"})])
        );
        assert!(
            charged(&service("NodePort", 2), &service("ClusterIP", 1))
                .unwrap_err()
                .contains("services.nodeports=2")
        );
        // Less is given back by the controller.
        assert_eq!(charged(&service("ClusterIP", 1), &service("NodePort", 1)), Ok(vec![]));
    }

    #[test]
    fn a_quota_with_scopes_counts_only_what_they_select() {
        let mut scoped = quota("q", json!({"pods": "0"}), json!({"pods": "0"})).as_ref().clone();
        scoped["spec"]["scopes"] = json!(["BestEffort"]);
        let quotas = [Arc::new(scoped)];
        assert_eq!(charged(PODS, &quotas, &pod("1"), None), Ok(vec![]));
        assert!(charged(PODS, &quotas, &json!({"spec": {"containers": [{"name": "c"}]}}), None).is_err());
    }

    #[test]
    fn what_is_limited_needs_a_quota_that_counts_it() {
        let limited = |text: Value| -> Vec<Limited> { serde_json::from_value(text).unwrap() };
        let by_name = limited(json!([{"resource": "pods", "matchContains": ["requests.cpu"]}]));
        let by_scope = limited(json!([{"resource": "pods", "matchScopes": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
        ]}]));
        let cpu = quota("q", json!({"requests.cpu": "9"}), json!({"requests.cpu": "0"}));
        let mut scoped = quota("q", json!({"pods": "9"}), json!({"pods": "0"})).as_ref().clone();
        scoped["spec"]["scopeSelector"]["matchExpressions"] =
            json!([{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]);
        let scoped = Arc::new(scoped);
        let mut high = pod("1");
        high["spec"]["priorityClassName"] = json!("high");
        for (limited, quotas, object, why) in [
            (&by_name, vec![], pod("1"), Some("insufficient quota to consume: requests.cpu")),
            (&by_name, vec![cpu], pod("1"), None),
            (&by_name, vec![], json!({"spec": {"containers": [{"name": "c"}]}}), None),
            (&by_scope, vec![], pod("1"), None),
            (
                &by_scope,
                vec![],
                high.clone(),
                Some("insufficient quota to match these scopes: [{PriorityClass In [high]}]"),
            ),
            (&by_scope, vec![scoped], high, None),
        ] {
            let result =
                charge(Limits { kind: PODS, limited }, &quotas, &object, None, Timestamp::UNIX_EPOCH);
            assert_eq!(result.err().as_deref(), why);
        }
    }
}
