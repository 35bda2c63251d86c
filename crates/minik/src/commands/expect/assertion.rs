//! What a file of assertions may say, and whether objects are so: pure.

use crate::problem::Problem;
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// A file of assertions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    /// How long each may take that says nothing else.
    #[serde(default = "a_minute")]
    pub(super) timeout: Span,
    pub(super) assertions: Vec<Assertion>,
}

fn a_minute() -> Span {
    Span(Duration::from_secs(60))
}

/// `30s`, `2m`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        crate::commands::start::duration(&text).map(Span).map_err(serde::de::Error::custom)
    }
}

/// One assertion: about one object, or about all that a selector finds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Assertion {
    pub(super) name: String,
    pub(super) api_version: String,
    pub(super) kind: String,
    /// `default` if none is given; `*` is all.
    pub(super) namespace: Option<String>,
    /// The name of one object.
    pub(super) object: Option<String>,
    pub(super) selector: Option<String>,
    /// `Available`, or `Ready=False`: of each object.
    condition: Option<String>,
    /// Exactly so many objects.
    count: Option<usize>,
    at_least: Option<usize>,
    at_most: Option<usize>,
    /// No container has restarted more often.
    restarts: Option<u64>,
    /// There is no such object.
    #[serde(default)]
    absent: bool,
    /// A field of each object.
    field: Option<FieldValue>,
    pub(super) within: Option<Span>,
}

/// A field by its JSON pointer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldValue {
    path: String,
    equals: Value,
}

/// Whether an assertion holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    /// It may still come to hold.
    NotYet(String),
    /// It will not.
    Never(String),
}

impl File {
    /// Refuses what says nothing.
    pub(super) fn check(&self) -> Result<()> {
        for one in &self.assertions {
            let says = one.condition.is_some()
                || one.count.is_some()
                || one.at_least.is_some()
                || one.at_most.is_some()
                || one.restarts.is_some()
                || one.field.is_some()
                || one.absent
                || one.object.is_some();
            if !says {
                return Err(Problem::error(
                    format!("assertion {:?} asserts nothing", one.name),
                    "give an object, a condition, a count, restarts, a field or absent",
                ));
            }
        }
        Ok(())
    }
}

impl Assertion {
    /// Whether it holds for the objects that there are.
    pub(super) fn judge<'a>(&self, objects: impl Iterator<Item = &'a Value>) -> Verdict {
        let objects: Vec<&Value> = objects.collect();
        let number = objects.len();
        if let Some(most) = self.restarts
            && let Some((object, restarts)) =
                objects.iter().map(|one| (one, restarts(one))).find(|(_, n)| *n > most)
        {
            return Verdict::Never(format!("{} has restarted {restarts} times", name(object)));
        }
        if self.absent {
            return match objects.first() {
                None => Verdict::Holds,
                Some(one) => Verdict::NotYet(format!("{} is there", name(one))),
            };
        }
        let wanted = match (self.count, self.at_least, self.at_most) {
            (Some(count), _, _) => (count, count),
            (None, least, most) => (least.unwrap_or(usize::from(most.is_none())), most.unwrap_or(usize::MAX)),
        };
        if number < wanted.0 || number > wanted.1 {
            return Verdict::NotYet(match wanted {
                (least, most) if least == most => format!("there are {number}, not {least}"),
                (least, _) if number < least => format!("there are {number}, fewer than {least}"),
                (_, most) => format!("there are {number}, more than {most}"),
            });
        }
        for object in objects {
            if let Some(why) = self.condition.as_deref().and_then(|wanted| condition(object, wanted)) {
                return Verdict::NotYet(format!("{}: {why}", name(object)));
            }
            if let Some(field) = &self.field {
                let found = object.pointer(&field.path).unwrap_or(&Value::Null);
                if *found != field.equals {
                    return Verdict::NotYet(format!(
                        "{}: {} is {found}, not {}",
                        name(object),
                        field.path,
                        field.equals
                    ));
                }
            }
        }
        Verdict::Holds
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Why a condition is not as wanted; `None` where it is.
fn condition(object: &Value, wanted: &str) -> Option<String> {
    let (kind, status) = wanted.split_once('=').unwrap_or((wanted, "True"));
    let all = object["status"]["conditions"].as_array();
    let Some(found) = all.into_iter().flatten().find(|one| one["type"] == kind) else {
        return Some(format!("it has no condition {kind}"));
    };
    if found["status"] == status {
        return None;
    }
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some(
        format!("{kind} is {}: {}", text("status"), [text("reason"), text("message")].join(" "))
            .trim_end()
            .to_owned(),
    )
}

/// The restarts of a pod's container that restarted most.
fn restarts(object: &Value) -> u64 {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .flat_map(|list| object["status"][list].as_array().into_iter().flatten())
        .filter_map(|container| container["restartCount"].as_u64())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn judges_counts_conditions_restarts_and_fields() {
        let pod = |ready: &str, restarts: u64| {
            json!({"metadata": {"name": "p"}, "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": ready, "reason": "R", "message": "m"}],
                "containerStatuses": [{"restartCount": restarts}]}})
        };
        let read = |text: &str| {
            serde_saphyr::from_str::<Assertion>(&format!("{{name: n, apiVersion: v1, kind: Pod, {text}}}"))
                .unwrap()
        };
        let not_yet = |why: &str| Verdict::NotYet(why.to_owned());
        let table = [
            ("condition: Ready", vec![pod("True", 0)], Verdict::Holds),
            ("condition: Ready", vec![], not_yet("there are 0, fewer than 1")),
            ("condition: Ready", vec![pod("False", 0)], not_yet("p: Ready is False: R m")),
            ("condition: Ready=False", vec![pod("False", 0)], Verdict::Holds),
            ("condition: Nope", vec![pod("True", 0)], not_yet("p: it has no condition Nope")),
            ("count: 2", vec![pod("True", 0)], not_yet("there are 1, not 2")),
            ("count: 0", vec![], Verdict::Holds),
            ("atMost: 1", vec![], Verdict::Holds),
            ("atMost: 1", vec![pod("True", 0), pod("True", 0)], not_yet("there are 2, more than 1")),
            ("restarts: 0", vec![pod("True", 0)], Verdict::Holds),
            ("restarts: 0", vec![pod("True", 2)], Verdict::Never("p has restarted 2 times".to_owned())),
            ("absent: true", vec![], Verdict::Holds),
            ("absent: true", vec![pod("True", 0)], not_yet("p is there")),
            ("field: {path: /status/phase, equals: Running}", vec![pod("True", 0)], Verdict::Holds),
            (
                "field: {path: /status/phase, equals: Failed}",
                vec![pod("True", 0)],
                not_yet("p: /status/phase is \"Running\", not \"Failed\""),
            ),
        ];
        for (text, objects, wanted) in table {
            assert_eq!(read(text).judge(objects.iter()), wanted, "{text}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know_and_what_says_nothing() {
        let read = |text: &str| serde_saphyr::from_str::<File>(text);
        assert!(read("assertions: [{name: a, apiVersion: v1, kind: Pod, nonsense: 1}]").is_err());
        assert!(read("assertions: []\ntimeout: soon").is_err());
        let empty = read("assertions: [{name: a, apiVersion: v1, kind: Pod}]").unwrap();
        assert!(empty.check().is_err());
    }
}
