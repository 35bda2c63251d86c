//! Statuses: from what is to be said to what is written, and whether that is there already.
//!
//! **Contract**: the time of a condition changes with its status only. What other controllers say of a route stays.

use super::CONTROLLER;
use super::attach::{GatewaySaid, ParentSaid};
use super::types::GROUP;
use serde_json::{Value, json};
use std::net::IpAddr;

/// A condition without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// What it is about.
    pub(crate) kind: &'static str,
    /// Whether it is so.
    pub(crate) holds: bool,
    /// Upstream's reason.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: String,
}

impl Condition {
    /// It is so.
    pub(crate) fn yes(kind: &'static str, reason: &str) -> Self {
        Self { kind, holds: true, reason: reason.to_owned(), message: String::new() }
    }

    /// It is not so.
    pub(crate) fn no(kind: &'static str, reason: &str, message: &str) -> Self {
        Self { kind, holds: false, reason: reason.to_owned(), message: message.to_owned() }
    }
}

/// Conditions as they are written, beside those that are there.
pub(crate) fn conditions(known: &Value, wanted: &[Condition], generation: Option<i64>, now: &str) -> Value {
    let find = |kind: &str| known.as_array().into_iter().flatten().find(|one| one["type"] == kind);
    let written = wanted.iter().map(|Condition { kind, holds, reason, message }| {
        let status = if *holds { "True" } else { "False" };
        let known = find(kind).filter(|known| known["status"] == status);
        let since = known.and_then(|known| known["lastTransitionTime"].as_str()).unwrap_or(now);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": generation.unwrap_or_default(), "lastTransitionTime": since,
        })
    });
    written.collect()
}

/// The status of a Gateway.
pub(crate) fn of_gateway(
    known: &Value,
    said: &GatewaySaid,
    generation: Option<i64>,
    address: IpAddr,
    now: &str,
) -> Value {
    let listeners = said.listeners.iter().map(|listener| {
        let mut known = known["listeners"].as_array().into_iter().flatten();
        let known = known.find(|one| one["name"] == listener.name.as_str());
        let known = known.map_or(&Value::Null, |known| &known["conditions"]);
        let kinds =
            if listener.takes_routes { json!([{"group": GROUP, "kind": "HTTPRoute"}]) } else { json!([]) };
        json!({
            "name": listener.name, "attachedRoutes": listener.attached, "supportedKinds": kinds,
            "conditions": conditions(known, &listener.conditions, generation, now),
        })
    });
    json!({
        "addresses": [{"type": "IPAddress", "value": address}],
        "conditions": conditions(&known["conditions"], &said.conditions, generation, now),
        "listeners": listeners.collect::<Value>(),
    })
}

/// The status of a route.
pub(crate) fn of_route(known: &Value, said: &[ParentSaid], generation: Option<i64>, now: &str) -> Value {
    let parents = || known["parents"].as_array().into_iter().flatten();
    let others = parents().filter(|one| one["controllerName"] != CONTROLLER).cloned();
    let ours = said.iter().map(|said| {
        let parent = json!(said.parent);
        let known = parents().find(|one| one["controllerName"] == CONTROLLER && one["parentRef"] == parent);
        let known = known.map_or(&Value::Null, |known| &known["conditions"]);
        json!({
            "parentRef": parent, "controllerName": CONTROLLER,
            "conditions": conditions(known, &said.conditions, generation, now),
        })
    });
    json!({"parents": others.chain(ours).collect::<Value>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::types::ParentRef;

    #[test]
    fn times_change_with_the_status_only() {
        let first = conditions(&Value::Null, &[Condition::yes("Accepted", "Accepted")], Some(1), "then");
        assert_eq!(first[0]["lastTransitionTime"], "then");
        let same = conditions(&first, &[Condition::yes("Accepted", "ListenersNotValid")], Some(2), "now");
        assert_eq!(
            (&same[0]["lastTransitionTime"], &same[0]["observedGeneration"]),
            (&json!("then"), &json!(2))
        );
        let other = conditions(&same, &[Condition::no("Accepted", "Invalid", "why")], Some(2), "now");
        assert_eq!((&other[0]["lastTransitionTime"], &other[0]["status"]), (&json!("now"), &json!("False")));
    }

    #[test]
    fn what_others_say_of_a_route_stays() {
        let known = json!({"parents": [
            {"controllerName": "example.com/other", "parentRef": {"name": "theirs"}, "conditions": []},
            {"controllerName": CONTROLLER, "parentRef": {"name": "gone"}, "conditions": []},
        ]});
        let parent = ParentRef { name: "ours".to_owned(), ..ParentRef::default() };
        let said = [ParentSaid { parent, conditions: vec![Condition::yes("Accepted", "Accepted")] }];
        let written = of_route(&known, &said, Some(1), "now");
        let names: Vec<&Value> = written["parents"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| &one["parentRef"]["name"])
            .collect();
        assert_eq!(names, ["theirs", "ours"]);
        assert_eq!(of_route(&written, &said, Some(1), "later"), written);
    }
}
