//! PriorityLevelConfiguration: a share of the server, and what becomes of requests beyond it.
//!
//! **Upstream**: `pkg/registry/flowcontrol/prioritylevelconfiguration`, `ValidatePriorityLevelConfiguration`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::text;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

/// **Upstream**: `PriorityLevelConfigurationDefault…`, `priorityLevelConfigurationQueuingMaxQueues`.
const QUEUING: [(&str, i64); 3] = [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)];
const DEFAULT_SHARES: i64 = 30;
const MAX_QUEUES: i64 = 10_000_000;

/// The strategy of PriorityLevelConfigurations.
pub(crate) struct PriorityLevelConfiguration(Resource);

impl PriorityLevelConfiguration {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("prioritylevelconfigurations", "prioritylevelconfiguration");
        let scope = Scope::Cluster;
        Self(Resource::new(super::GROUP, "v1", "PriorityLevelConfiguration", plural, singular, scope))
    }
}

fn check_limited(errors: &mut ErrorList, path: &Path, limited: &Value) {
    let shares = limited["nominalConcurrencyShares"].as_i64().unwrap_or(0);
    if shares < 0 {
        let detail = "must be a non-negative integer";
        errors.push(Error::invalid(&path.child("nominalConcurrencyShares"), shares, detail));
    }
    check_lendable(errors, path, limited);
    if let Some(share) = limited["borrowingLimitPercent"].as_i64().filter(|share| *share < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.push(Error::invalid(&path.child("borrowingLimitPercent"), share, detail));
    }
    let (response, path) = (&limited["limitResponse"], path.child("limitResponse"));
    let (queuing, at) = (&response["queuing"], path.child("queuing"));
    match text(response, "type") {
        "Reject" => {
            if !queuing.is_null() {
                errors
                    .push(Error::forbidden(&at, "must be nil if limited.limitResponse.type is not Limited"));
            }
        }
        "Queue" if queuing.is_null() => {
            errors.push(Error::required(&at, "must not be empty if limited.limitResponse.type is Limited"));
        }
        "Queue" => {
            for (field, _) in QUEUING {
                let number = queuing[field].as_i64().unwrap_or(0);
                if number <= 0 {
                    errors.push(Error::invalid(&at.child(field), number, "must be positive"));
                }
            }
            let number = |field: &str| queuing[field].as_i64().unwrap_or(0);
            if number("queues") > MAX_QUEUES {
                let detail = format!("must not be greater than {MAX_QUEUES}");
                errors.push(Error::invalid(&at.child("queues"), number("queues"), &detail));
            }
            if number("handSize") > number("queues") {
                let detail = format!("should not be greater than queues ({})", number("queues"));
                errors.push(Error::invalid(&at.child("handSize"), number("handSize"), &detail));
            }
        }
        other => errors.push(Error::not_supported(&path.child("type"), other, &["Queue", "Reject"])),
    }
}

fn check_lendable(errors: &mut ErrorList, path: &Path, level: &Value) {
    if let Some(share) = level["lendablePercent"].as_i64().filter(|share| !(0..=100).contains(share)) {
        let detail = "must be between 0 and 100, inclusive";
        errors.push(Error::invalid(&path.child("lendablePercent"), share, detail));
    }
}

impl Strategy for PriorityLevelConfiguration {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = edit::child_or_new(object, "spec") else { return };
        if text(spec, "type") == "Exempt"
            && let Some(exempt) = edit::child_or_new(spec, "exempt")
        {
            edit::set_default(exempt, "nominalConcurrencyShares", 0);
            edit::set_default(exempt, "lendablePercent", 0);
        }
        let Some(limited) = edit::child(spec, "limited") else { return };
        edit::set_default(limited, "nominalConcurrencyShares", DEFAULT_SHARES);
        edit::set_default(limited, "lendablePercent", 0);
        if let Some(queuing) =
            edit::child(limited, "limitResponse").and_then(|response| edit::child(response, "queuing"))
        {
            for (field, number) in QUEUING.iter().filter(|(_, number)| *number > 0) {
                if edit::is_empty(&queuing[*field]) {
                    edit::set(queuing, field, *number);
                }
            }
        }
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
        match text(spec, "type") {
            "Exempt" => {
                if !limited.is_null() {
                    let detail = "must be nil if the type is not Limited";
                    errors.push(Error::forbidden(&path.child("limited"), detail));
                }
                check_lendable(&mut errors, &path.child("exempt"), exempt);
            }
            "Limited" => {
                if !exempt.is_null() {
                    let detail = "must be nil if the type is Limited";
                    errors.push(Error::forbidden(&path.child("exempt"), detail));
                }
                if limited.is_null() {
                    let detail = "must not be empty when type is Limited";
                    errors.push(Error::required(&path.child("limited"), detail));
                } else {
                    check_limited(&mut errors, &path.child("limited"), limited);
                }
            }
            other => errors.push(Error::not_supported(&path.child("type"), other, &["Exempt", "Limited"])),
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        if text(&old["spec"], "type") == "Exempt" {
            let path = Path::new("spec").child("type");
            check::immutable(&mut errors, &path, &object["spec"]["type"], &old["spec"]["type"]);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Type", "string").field("spec.type"),
                Column::new("NominalConcurrencyShares", "string")
                    .field("spec.limited.nominalConcurrencyShares"),
                Column::new("Queues", "string").field("spec.limited.limitResponse.queuing.queues"),
                Column::new("HandSize", "string").field("spec.limited.limitResponse.queuing.handSize"),
                Column::new("QueueLengthLimit", "string")
                    .field("spec.limited.limitResponse.queuing.queueLengthLimit"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let spec = &object["spec"];
        let queuing = &spec["limited"]["limitResponse"]["queuing"];
        let number =
            |value: &Value| -> Cell { if value.is_null() { cells::NONE.into() } else { value.clone() } };
        vec![
            cells::name(object),
            text(spec, "type").into(),
            number(&spec["limited"]["nominalConcurrencyShares"]),
            number(&queuing["queues"]),
            number(&queuing["handSize"]),
            number(&queuing["queueLengthLimit"]),
            cells::age(object, now),
        ]
    }
}
