//! How much of a device's capacity a request takes, where several may have the device at a time.
//!
//! **Upstream**: `consumable_capacity.go` of `structured`.

use crate::framework::Capacities;
use api::k8s_openapi::api::resource::v1::{CapacityRequestPolicy, Device};
use api::pod::parse_quantity;
use api::quantity::Quantity;

/// What a request takes of each capacity, by the device's names; nothing if the device does not suit the request.
pub(super) fn taken(driver: &str, device: &Device, asked: &Capacities) -> Option<Capacities> {
    let has = device.capacity.as_ref();
    let mut by_name = Capacities::new();
    for (name, amount) in asked {
        let known = |name: &str| has.is_some_and(|has| has.contains_key(name));
        let key = match name.split_once('/') {
            _ if known(name) => name.clone(),
            Some((domain, id)) if domain == driver && known(id) => id.to_owned(),
            None if known(&format!("{driver}/{name}")) => format!("{driver}/{name}"),
            _ => return None,
        };
        by_name.insert(key, *amount);
    }
    let mut taken = Capacities::new();
    for (name, capacity) in has.into_iter().flatten() {
        let policy = capacity.request_policy.as_ref();
        let total = parse_quantity(&capacity.value);
        let amount = rounded(by_name.get(name).copied(), total, policy);
        if amount.is_negative() || amount > total || policy.is_some_and(|policy| breaks(policy, amount)) {
            return None;
        }
        taken.insert(name.clone(), amount);
    }
    Some(taken)
}

/// What is taken for a wish, or without one.
fn rounded(asked: Option<Quantity>, total: Quantity, policy: Option<&CapacityRequestPolicy>) -> Quantity {
    let Some(asked) = asked else {
        return policy.and_then(|policy| policy.default.as_ref()).map_or(total, parse_quantity);
    };
    let Some(policy) = policy else { return asked };
    if let Some(range) = &policy.valid_range {
        let min = parse_quantity(&range.min);
        if asked < min {
            return min;
        }
        return match range.step.as_ref().map(|step| parse_quantity(step).value()).filter(|step| *step > 0) {
            None => asked,
            Some(step) => {
                let above = (asked - min).value();
                let steps = above.div_euclid(step) + i64::from(above.rem_euclid(step) != 0);
                let mut rounded = min;
                rounded += like(min, steps.saturating_mul(step));
                rounded
            }
        };
    }
    let values = policy.valid_values.iter().flatten().map(parse_quantity);
    values.filter(|value| *value >= asked).min().unwrap_or(asked)
}

/// So many whole units in another's notation.
fn like(other: Quantity, units: i64) -> Quantity {
    match other.format() {
        api::quantity::Format::BinarySi => Quantity::bytes(units),
        _ => Quantity::new(units),
    }
}

fn breaks(policy: &CapacityRequestPolicy, amount: Quantity) -> bool {
    if policy.default.as_ref().is_some_and(|default| parse_quantity(default) == amount) {
        return false;
    }
    if let Some(range) = &policy.valid_range {
        return range.max.as_ref().is_some_and(|max| amount > parse_quantity(max));
    }
    let values = policy.valid_values.as_deref().unwrap_or_default();
    !values.is_empty() && !values.iter().any(|value| parse_quantity(value) == amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn wishes_are_rounded_by_the_devices_policy() {
        let range = json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "6Gi", "step": "2Gi"}});
        let values = json!({"default": "1", "validValues": ["1", "4"]});
        for (name, policy, total, asked, wanted) in [
            ("no wish, no policy: everything", Value::Null, "8Gi", None, Some("8Gi")),
            ("no wish: the default", range.clone(), "8Gi", None, Some("1Gi")),
            ("without a policy as it is", Value::Null, "8Gi", Some("3Gi"), Some("3Gi")),
            ("more than there is", Value::Null, "8Gi", Some("9Gi"), None),
            ("less than the least", range.clone(), "8Gi", Some("1Mi"), Some("1Gi")),
            ("rounded to a step", range.clone(), "8Gi", Some("2Gi"), Some("3Gi")),
            ("on a step", range.clone(), "8Gi", Some("3Gi"), Some("3Gi")),
            ("more than the most", range, "8Gi", Some("6Gi"), None),
            ("rounded to a value", values.clone(), "8", Some("2"), Some("4")),
            ("no such value", values, "8", Some("5"), None),
        ] {
            let device: Device = serde_json::from_value(json!({"name": "d", "capacity": {
                "memory": {"value": total, "requestPolicy": policy}}}))
            .unwrap();
            for key in ["memory", "x.io/memory"] {
                let asked = asked.map(|asked: &str| (key.to_owned(), asked.parse().unwrap()));
                let taken = taken("x.io", &device, &asked.into_iter().collect());
                let taken = taken.map(|taken| taken["memory"].to_string());
                assert_eq!(taken.as_deref(), wanted, "{name}, {key}");
            }
        }
        let device: Device = serde_json::from_value(json!({"name": "d"})).unwrap();
        assert_eq!(taken("x.io", &device, &[("memory".to_owned(), Quantity::new(1))].into()), None);
        assert_eq!(taken("x.io", &device, &Capacities::new()), Some(Capacities::new()));
    }
}
