//! How much of a capacity can be asked for, where several may have a device at a time.
//!
//! **Not here**: what a wish is rounded to (the scheduler).
//! **Upstream**: `validateRequestPolicy` and what it calls; paths are upstream's, which tells of a range's default below
//! the range.

use super::bounded;
use crate::resources::edit::items;
use crate::resources::pod_spec::parse_amount;
use api::field::{Error, ErrorList, Path};
use api::quantity::Quantity;
use serde_json::Value;

/// **Upstream**: `CapacityRequestPolicyDiscreteMaxOptions`.
const MAX_VALUES: usize = 10;

/// All errors of the policy of a capacity of a device that several may have.
pub(super) fn check(errors: &mut ErrorList, path: &Path, capacity: &Value) {
    let policy = &capacity["requestPolicy"];
    let Some(total) = parse_amount(&capacity["value"]).filter(|_| policy.is_object()) else { return };
    let path = path.child("requestPolicy");
    let default = parse_amount(&policy["default"]);
    match (!items(policy, "validValues").is_empty(), policy["validRange"].is_object()) {
        (true, true) => {
            let detail = r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;
            errors.push(Error::forbidden(&path, detail));
        }
        (true, false) => match default {
            Some(default) => check_values(errors, &path, policy, default, total),
            None => {
                errors.push(Error::required(&path.child("default"), "required when validValues is defined"));
            }
        },
        (false, true) => match default {
            Some(default) => {
                check_range(errors, &path.child("validRange"), &policy["validRange"], default, total)
            }
            None => {
                errors.push(Error::required(&path.child("default"), "required when validRange is defined"));
            }
        },
        (false, false) => {}
    }
}

/// A value in whole units as its key.
fn whole(value: &Value) -> Value {
    parse_amount(value).map_or(0, Quantity::value).to_string().into()
}

fn check_values(errors: &mut ErrorList, path: &Path, policy: &Value, default: Quantity, total: Quantity) {
    let amounts: Vec<_> = items(policy, "validValues").iter().filter_map(parse_amount).collect();
    let at = path.child("validValues");
    for (i, pair) in amounts.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let detail = "values must be sorted in ascending order";
        errors.push(Error::invalid(&at.index(i + 1), pair[1].to_string(), detail));
    }
    let list = (policy, "validValues");
    bounded::set(errors, path, list, MAX_VALUES, whole, &mut |errors, path, value| {
        if let Some(value) = parse_amount(value).filter(|value| *value > total) {
            let detail = format!("option is larger than capacity value: {total}");
            errors.push(Error::invalid(path, value.to_string(), &detail));
        }
    });
    if amounts.len() > MAX_VALUES || !amounts.contains(&default) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.push(Error::invalid(&at, default.to_string(), detail));
    }
}

fn check_range(errors: &mut ErrorList, path: &Path, range: &Value, default: Quantity, total: Quantity) {
    let [min, max, step] = ["min", "max", "step"].map(|field| parse_amount(&range[field]));
    let Some(min) = min else {
        errors.push(Error::required(&path.child("min"), "required when validRange is defined"));
        return;
    };
    let mut wrong = |is: bool, field: &str, value: Quantity, detail: String| {
        if is {
            errors.push(Error::invalid(&path.child(field), value.to_string(), &detail));
        }
    };
    wrong(min > total, "min", min, format!("min is larger than capacity value: {total}"));
    wrong(default < min, "default", default, format!("default is less than min: {min}"));
    if let Some(max) = max {
        wrong(min > max, "max", min, format!("min is larger than max: {max}"));
        wrong(max > total, "max", max, format!("max is larger than capacity value: {total}"));
        wrong(default > max, "default", default, format!("default is more than max: {max}"));
    }
    let Some(step) = step else { return };
    if step.value() <= 0 {
        wrong(true, "step", step, "must be greater than zero".to_owned());
        return;
    }
    let first = min + step;
    wrong(first > total, "step", step, format!("one step {first} is larger than capacity value: {total}"));
    for value in [Some(default), max].into_iter().flatten() {
        let off = value.value().checked_sub(min.value()).is_none_or(|above| above % step.value() != 0);
        wrong(off, "step", value, format!("value is not a multiple of a given step ({step}) from ({min})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies_are_refused_in_upstreams_words() {
        for (name, policy, wanted) in [
            ("none", Value::Null, vec![]),
            ("values", json!({"default": "1", "validValues": ["1", "4"]}), vec![]),
            ("a range", json!({"default": "1", "validRange": {"min": "1", "max": "7", "step": "2"}}), vec![]),
            (
                "both",
                json!({"default": "1", "validValues": ["1"], "validRange": {"min": "1"}}),
                vec![
                    "c.requestPolicy: Forbidden: exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
                ],
            ),
            (
                "no default",
                json!({"validValues": ["1"]}),
                vec!["c.requestPolicy.default: Required value: required when validValues is defined"],
            ),
            (
                "values too large, twice, unordered, without the default",
                json!({"default": "2", "validValues": ["9", "1", "1"]}),
                vec![
                    "c.requestPolicy.validValues[1]: Invalid value: \"1\": values must be sorted in ascending order",
                    "c.requestPolicy.validValues[0]: Invalid value: \"9\": option is larger than capacity value: 8",
                    "c.requestPolicy.validValues[2]: Duplicate value: \"1\"",
                    "c.requestPolicy.validValues: Invalid value: \"2\": default value is not valid according to the requestPolicy",
                ],
            ),
            (
                "a range out of the capacity",
                json!({"default": "1", "validRange": {"min": "2", "max": "9", "step": "3"}}),
                vec![
                    "c.requestPolicy.validRange.default: Invalid value: \"1\": default is less than min: 2",
                    "c.requestPolicy.validRange.max: Invalid value: \"9\": max is larger than capacity value: 8",
                    "c.requestPolicy.validRange.step: Invalid value: \"1\": value is not a multiple of a given step (3) from (2)",
                    "c.requestPolicy.validRange.step: Invalid value: \"9\": value is not a multiple of a given step (3) from (2)",
                ],
            ),
            (
                "no step at all",
                json!({"default": "2", "validRange": {"min": "2", "step": "0"}}),
                vec!["c.requestPolicy.validRange.step: Invalid value: \"0\": must be greater than zero"],
            ),
        ] {
            let mut errors = ErrorList::new();
            check(&mut errors, &Path::new("c"), &json!({"value": "8", "requestPolicy": policy}));
            let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(told, wanted, "{name}");
        }
    }
}
