//! What the devices of a claim must have in common, and what they must not.
//!
//! **Contract**: once a device does not fit, more devices do not change that.
//! **Upstream**: `matchAttributeConstraint` and `distinctAttributeConstraint` of `structured`.

use api::k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceConstraint};

/// A device with the driver whose it is.
pub(super) type Held<'a> = (&'a str, &'a Device);

/// Whether a device fits those that the constraint binds already.
pub(super) fn holds<'a>(
    constraint: &DeviceConstraint,
    before: impl Iterator<Item = Held<'a>>,
    device: Held<'a>,
) -> bool {
    let (name, is_match) = match (&constraint.match_attribute, &constraint.distinct_attribute) {
        (Some(name), _) => (name, true),
        (None, Some(name)) => (name, false),
        (None, None) => return false,
    };
    let Some(value) = attribute(device, name) else { return false };
    let mut others = before.filter_map(|other| attribute(other, name));
    others.all(|other| (other == value) == is_match)
}

#[derive(PartialEq)]
enum Value<'a> {
    Int(i64),
    Bool(bool),
    String(&'a str),
    Version(&'a str),
}

/// The value of a fully qualified attribute; one without a domain is of the driver's.
fn attribute<'a>((driver, device): Held<'a>, name: &str) -> Option<Value<'a>> {
    let all = device.attributes.as_ref()?;
    let own = || name.strip_prefix(driver)?.strip_prefix('/').and_then(|name| all.get(name));
    match all.get(name).or_else(own)? {
        DeviceAttribute { string: Some(text), .. } => Some(Value::String(text)),
        DeviceAttribute { int: Some(int), .. } => Some(Value::Int(*int)),
        DeviceAttribute { bool: Some(bool), .. } => Some(Value::Bool(*bool)),
        DeviceAttribute { version: Some(version), .. } => Some(Value::Version(version)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    #[test]
    fn devices_match_or_differ_by_attribute() {
        let device = |attributes: Json| -> Device {
            serde_json::from_value(json!({"name": "d", "attributes": attributes})).unwrap()
        };
        let (a, b) = (json!({"x.io/numa": {"int": 0}}), json!({"x.io/numa": {"int": 1}}));
        let own = json!({"numa": {"int": 0}});
        let other = json!({"x.io/numa": {"string": "0"}});
        for (name, is_match, before, device_of, wanted) in [
            ("the first fits", true, vec![], &a, true),
            ("the same value", true, vec![&a], &a, true),
            ("another value", true, vec![&a], &b, false),
            ("the driver's own name", true, vec![&a], &own, true),
            ("another type", true, vec![&a], &other, false),
            ("no value", true, vec![], &json!({}), false),
            ("distinct: the same value", false, vec![&a, &b], &own, false),
            ("distinct: another value", false, vec![&a], &b, true),
            ("distinct: no value", false, vec![&a], &json!({}), false),
        ] {
            let key = if is_match { "matchAttribute" } else { "distinctAttribute" };
            let constraint = serde_json::from_value(json!({key: "x.io/numa"})).unwrap();
            let before: Vec<Device> =
                before.into_iter().map(|attributes| device(attributes.clone())).collect();
            let before = before.iter().map(|device| ("x.io", device));
            assert_eq!(holds(&constraint, before, ("x.io", &device(device_of.clone()))), wanted, "{name}");
        }
    }
}
