//! `create namespace`, `serviceaccount`, `quota`, `priorityclass` and `poddisruptionbudget`.

use api::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::generate::{Generator, Given, object};
use super::networking::int_or_string;
use crate::cli;
use crate::report::{Error, message};

/// `create namespace`
pub(super) const NAMESPACE: Generator = Generator {
    names: &["namespace", "ns"],
    about: "Create a namespace with the specified name",
    required: &[],
    flags: Vec::new,
    make: |given| {
        let made = object("v1", "Namespace", json!({"name": given.name}), json!({"spec": {}, "status": {}}));
        Box::pin(std::future::ready(Ok(made)))
    },
    plural: "namespaces",
    failure: "",
};

/// `create serviceaccount`
pub(super) const SERVICE_ACCOUNT: Generator = Generator {
    names: &["serviceaccount", "sa"],
    about: "Create a service account with the specified name",
    required: &[],
    flags: Vec::new,
    make: |given| {
        let made = object("v1", "ServiceAccount", given.metadata(), json!({}));
        Box::pin(std::future::ready(Ok(made)))
    },
    plural: "serviceaccounts",
    failure: "failed to create serviceaccount: ",
};

/// `create quota`
pub(super) const QUOTA: Generator = Generator {
    names: &["quota", "resourcequota"],
    about: "Create a quota with the specified name",
    required: &[],
    flags: || {
        vec![
            cli::text("hard", "A comma-delimited set of resource=quantity pairs that define a hard limit."),
            cli::text(
                "scopes",
                "A comma-delimited set of quota scopes that must all match each object tracked by the quota.",
            ),
        ]
    },
    make: |given| Box::pin(std::future::ready(quota(given))),
    plural: "resourcequotas",
    failure: "failed to create quota: ",
};

/// `create priorityclass`
pub(super) const PRIORITY_CLASS: Generator = Generator {
    names: &["priorityclass", "pc"],
    about: "Create a priority class with the specified name",
    required: &[],
    flags: || {
        vec![
            cli::number("value", "the value of this priority class.").default_value("0"),
            cli::flag(
                "global-default",
                "global-default specifies whether this PriorityClass should be considered as the default priority.",
            ),
            cli::text(
                "description",
                "description is an arbitrary string that usually provides guidelines on when this priority class should be used.",
            ),
            cli::text(
                "preemption-policy",
                "preemption-policy is the policy for preempting pods with lower priority.",
            )
            .default_value("PreemptLowerPriority"),
        ]
    },
    make: |given| Box::pin(std::future::ready(Ok(priority_class(given)))),
    plural: "priorityclasses",
    failure: "failed to create priorityclass: ",
};

/// `create poddisruptionbudget`
pub(super) const POD_DISRUPTION_BUDGET: Generator = Generator {
    names: &["poddisruptionbudget", "pdb"],
    about: "Create a pod disruption budget with the specified name",
    required: &[],
    flags: || {
        vec![
            cli::text(
                "min-available",
                "The minimum number or percentage of available pods this budget requires.",
            ),
            cli::text(
                "max-unavailable",
                "The maximum number or percentage of unavailable pods this budget requires.",
            ),
            cli::text(
                "selector",
                "A label selector to use for this budget. Only equality-based selector requirements are supported.",
            ),
        ]
    },
    make: |given| Box::pin(std::future::ready(budget(given))),
    plural: "poddisruptionbudgets",
    failure: "failed to create poddisruptionbudgets: ",
};

/// `cpu=1,pods=2` as a map.
pub(crate) fn amounts(text: &str) -> Result<Map<String, Value>, Error> {
    let mut map = Map::new();
    for statement in text.split(',').filter(|_| !text.is_empty()) {
        let parts: Vec<&str> = statement.split('=').collect();
        let [name, amount] = parts.as_slice() else {
            return Err(message(format!("Invalid argument syntax {statement}, expected <resource>=<value>")));
        };
        let quantity: Quantity = amount.parse().map_err(|_| {
            message(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            )
        })?;
        map.insert((*name).to_owned(), quantity.to_string().into());
    }
    Ok(map)
}

fn quota(given: &Given<'_>) -> Result<Value, Error> {
    let mut spec = json!({});
    let hard = amounts(given.value("hard"))?;
    if !hard.is_empty() {
        spec["hard"] = hard.into();
    }
    let scopes = given.value("scopes");
    if !scopes.is_empty() {
        let scopes: Vec<&str> = scopes.split(',').collect();
        if scopes.contains(&"") {
            return Err(message("invalid resource quota scope \"\""));
        }
        spec["scopes"] = scopes.into();
    }
    Ok(object("v1", "ResourceQuota", given.metadata(), json!({"spec": spec, "status": {}})))
}

fn priority_class(given: &Given<'_>) -> Value {
    let mut rest = json!({
        "value": given.matches.get_one::<i64>("value").copied().unwrap_or_default(),
        "preemptionPolicy": given.value("preemption-policy"),
    });
    if given.matches.get_flag("global-default") {
        rest["globalDefault"] = true.into();
    }
    if !given.value("description").is_empty() {
        rest["description"] = given.value("description").into();
    }
    object("scheduling.k8s.io/v1", "PriorityClass", json!({"name": given.name}), rest)
}

fn budget(given: &Given<'_>) -> Result<Value, Error> {
    let (least, most, selector) =
        (given.value("min-available"), given.value("max-unavailable"), given.value("selector"));
    let error = match (selector, least, most) {
        ("", ..) => Some("a selector must be specified"),
        (_, "", "") => Some("one of min-available or max-unavailable must be specified"),
        (_, least, most) if !least.is_empty() && !most.is_empty() => {
            Some("min-available and max-unavailable cannot be both specified")
        }
        (_, least, "") if !is_amount(least) => Some("invalid format specified for min-available"),
        (_, "", most) if !is_amount(most) => Some("invalid format specified for max-unavailable"),
        _ => None,
    };
    if let Some(text) = error {
        return Err(message(text));
    }
    let mut spec = json!({"selector": label_selector(selector)?});
    let (field, amount) = if most.is_empty() { ("minAvailable", least) } else { ("maxUnavailable", most) };
    spec[field] = int_or_string(amount);
    let status =
        json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    Ok(object("policy/v1", "PodDisruptionBudget", given.metadata(), json!({"spec": spec, "status": status})))
}

/// Digits, and a per cent sign or none.
fn is_amount(text: &str) -> bool {
    let digits = text.strip_suffix('%').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `a=b,c` as a `LabelSelector`.
pub(crate) fn label_selector(text: &str) -> Result<Value, Error> {
    let wrong = |why: String| message(format!("couldn't parse the selector string \"{text}\": {why}"));
    api::selector::LabelSelector::parse(text).map_err(wrong)?;
    let (mut labels, mut expressions) = (Map::new(), Vec::new());
    for part in split_outside_parentheses(text) {
        let words: Vec<&str> = part.split_whitespace().collect();
        if let Some((key, rest)) = part.split_once(" in ").or_else(|| part.split_once(" notin ")) {
            let operator = if words.get(1) == Some(&"in") { "In" } else { "NotIn" };
            let values: Vec<&str> = rest.trim().trim_matches(['(', ')']).split(',').map(str::trim).collect();
            expressions.push(json!({"key": key.trim(), "operator": operator, "values": values}));
        } else if let Some((key, value)) = part.split_once("!=") {
            expressions.push(json!({"key": key.trim(), "operator": "NotIn", "values": [value.trim()]}));
        } else if let Some((key, value)) = part.split_once('=') {
            labels.insert(key.trim().to_owned(), value.trim_start_matches('=').trim().into());
        } else if let Some(key) = part.strip_prefix('!') {
            expressions.push(json!({"key": key.trim(), "operator": "DoesNotExist"}));
        } else {
            expressions.push(json!({"key": part, "operator": "Exists"}));
        }
    }
    let mut selector = json!({});
    if !labels.is_empty() {
        selector["matchLabels"] = labels.into();
    }
    if !expressions.is_empty() {
        selector["matchExpressions"] = expressions.into();
    }
    Ok(selector)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_objects() {
        let made = label_selector("a=b,c==d, e in (x, y),f!=g,h,!i").unwrap();
        assert_eq!(made["matchLabels"], json!({"a": "b", "c": "d"}));
        assert_eq!(
            made["matchExpressions"],
            json!([{"key": "e", "operator": "In", "values": ["x", "y"]},
                {"key": "f", "operator": "NotIn", "values": ["g"]}, {"key": "h", "operator": "Exists"},
                {"key": "i", "operator": "DoesNotExist"}])
        );
        assert!(label_selector("a b").is_err());
    }

    #[test]
    fn amounts_are_quantities() {
        assert_eq!(
            amounts("cpu=1000m,pods=2").unwrap(),
            *json!({"cpu": "1", "pods": "2"}).as_object().unwrap()
        );
        assert!(amounts("cpu").is_err() && amounts("cpu=x").is_err());
    }
}
