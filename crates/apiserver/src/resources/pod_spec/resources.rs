//! What resource requirements may be.
//!
//! **Upstream**: `ValidateResourceRequirements`, `validateContainerResourceName`.

use crate::resources::check;
use crate::resources::edit::{entries, items};
use api::field::{Error, ErrorList, Path};
use api::names::{self, is_extended_resource};
use api::quantity::Quantity;
use serde_json::Value;

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const HUGE_PAGES: &str = "hugepages-";

/// An amount as it stands in an object.
pub(crate) fn parse_amount(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// All errors of one amount and its resource's name.
pub(crate) fn check_amount(errors: &mut ErrorList, path: &Path, name: &str, amount: &Value) {
    for message in names::qualified_name(name) {
        errors.push(Error::invalid(path, name, &message));
    }
    if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with(HUGE_PAGES) {
        errors.push(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
        errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
    }
    match parse_amount(amount) {
        None => {
            let error = api::quantity::ParseError.to_string();
            errors.push(Error::invalid(path, amount.clone(), &error));
        }
        Some(quantity) => {
            if quantity.is_negative() {
                errors.push(Error::invalid(path, quantity.to_string(), check::NOT_NEGATIVE));
            }
            let whole = is_extended_resource(name) || name.starts_with(HUGE_PAGES);
            if whole && !quantity.is_integer() {
                errors.push(Error::invalid(path, quantity.to_string(), "must be an integer"));
            }
        }
    }
}

/// All errors of limits and requests: requests may not exceed limits.
pub(super) fn check_resources(errors: &mut ErrorList, path: &Path, resources: &Value) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    for (name, amount) in entries(resources, "limits") {
        check_amount(errors, &limits.key(name), name, amount);
    }
    for (name, amount) in entries(resources, "requests") {
        check_amount(errors, &requests.key(name), name, amount);
        let fixed = is_extended_resource(name) || name.starts_with(HUGE_PAGES);
        let (Some(request), limit) = (parse_amount(amount), parse_amount(&resources["limits"][name])) else {
            continue;
        };
        match limit {
            Some(limit) if fixed && request != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests, request.to_string(), &detail));
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests, request.to_string(), &detail));
            }
            None if fixed => {
                errors.push(Error::required(&limits, "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
}

const RESIZABLE: &[&str] = &["cpu", "memory"];
const RESIZE_RESTARTS: &[&str] = &["NotRequired", "RestartContainer"];

/// All errors of what a change of its resources means to a container. **Upstream**: `validateResizePolicy`.
pub(super) fn check_resize_policy(errors: &mut ErrorList, path: &Path, container: &Value, spec: &Value) {
    let policies = items(container, "resizePolicy");
    for (i, policy) in policies.iter().enumerate() {
        if policies[..i].iter().any(|other| other["resourceName"] == policy["resourceName"]) {
            errors.push(Error::duplicate(&path.index(i), policy["resourceName"].clone()));
        }
        check::one_of(errors, path, &policy["resourceName"], RESIZABLE);
        check::one_of(errors, path, &policy["restartPolicy"], RESIZE_RESTARTS);
        if spec["restartPolicy"] == "Never" && policy["restartPolicy"] != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(path, policy["restartPolicy"].clone(), detail));
        }
    }
}
