//! Which names a definition gets: those that it asks for, unless another of its group has them.
//!
//! **Contract**: pure.
//! **Upstream**: `apiextensions-apiserver/pkg/controller/status` (`NamingConditionController`), `establish`.

use super::definition::Names;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The names that definitions of a group have been given.
#[derive(Default)]
pub(crate) struct Used {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Used {
    /// Those of these definitions, the one that is looked at among them.
    pub(crate) fn by<'a>(given: impl Iterator<Item = &'a Names>) -> Self {
        let mut used = Self::default();
        for names in given {
            used.resources.extend([&names.plural, &names.singular].map(Clone::clone));
            used.resources.extend(names.short_names.iter().cloned());
            used.kinds.extend([&names.kind, &names.list_kind].map(Clone::clone));
        }
        used
    }
}

/// Names as they are written.
pub(crate) fn names(value: &Value) -> Names {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// The definition with the names and conditions that are due to it; itself if it has them.
pub(crate) fn settle(definition: &Value, used: &Used, now: Timestamp) -> Value {
    let (wanted, has) = (names(&definition["spec"]["names"]), names(&definition["status"]["acceptedNames"]));
    let mut given = has.clone();
    let mut conflict: Option<(&str, String)> = None;
    let mut take = |wanted: &str, has: &str, used: &BTreeSet<String>, reason: &'static str| {
        let free = wanted == has || !used.contains(wanted);
        if !free {
            conflict = Some((reason, in_use(wanted)));
        }
        if free { wanted.to_owned() } else { has.to_owned() }
    };
    given.plural = take(&wanted.plural, &has.plural, &used.resources, "PluralConflict");
    given.singular = take(&wanted.singular, &has.singular, &used.resources, "SingularConflict");
    if wanted.short_names != has.short_names {
        let own =
            |name: &String| has.short_names.contains(name) || *name == has.plural || *name == has.singular;
        let taken: Vec<String> = wanted
            .short_names
            .iter()
            .filter(|name| !own(name) && used.resources.contains(*name))
            .map(|name| in_use(name))
            .collect();
        match taken.as_slice() {
            [] => given.short_names = wanted.short_names.clone(),
            [one] => conflict = Some(("ShortNamesConflict", one.clone())),
            several => conflict = Some(("ShortNamesConflict", format!("[{}]", several.join(", ")))),
        }
    }
    let mut take = |wanted: &str, has: &str, reason: &'static str| {
        let free = wanted == has || !used.kinds.contains(wanted);
        if !free {
            conflict = Some((reason, in_use(wanted)));
        }
        if free { wanted.to_owned() } else { has.to_owned() }
    };
    given.kind = take(&wanted.kind, &has.kind, "KindConflict");
    given.list_kind = take(&wanted.list_kind, &has.list_kind, "ListKindConflict");
    given.categories = wanted.categories.clone();

    let mut settled = definition.clone();
    settled["status"]["acceptedNames"] = written(&given);
    match conflict {
        None => {
            set(&mut settled, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
            if !is(&settled, "Established") {
                let message = "the initial names have been accepted";
                set(&mut settled, "Established", "True", "InitialNamesAccepted", message, now);
            }
        }
        Some((reason, message)) => {
            set(&mut settled, "NamesAccepted", "False", reason, &message, now);
            if !is(&settled, "Established") {
                let message = "not all names are accepted";
                set(&mut settled, "Established", "False", "NotAccepted", message, now);
            }
        }
    }
    settled
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

/// Names as they are stored: without what is empty, but for the two that always stand there.
fn written(names: &Names) -> Value {
    let mut value = json!({"plural": names.plural});
    if !names.singular.is_empty() {
        value["singular"] = names.singular.as_str().into();
    }
    if !names.short_names.is_empty() {
        value["shortNames"] = json!(names.short_names);
    }
    value["kind"] = names.kind.as_str().into();
    if !names.list_kind.is_empty() {
        value["listKind"] = names.list_kind.as_str().into();
    }
    if !names.categories.is_empty() {
        value["categories"] = json!(names.categories);
    }
    value
}

/// Whether a condition is true.
pub(crate) fn is(definition: &Value, condition: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|known| known["type"] == condition).any(|known| known["status"] == "True")
}

/// Sets a condition; its time is that of the last change of its status.
pub(crate) fn set(
    definition: &mut Value,
    condition: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let status_field = &mut definition["status"];
    if !status_field["conditions"].is_array() {
        status_field["conditions"] = json!([]);
    }
    let Some(conditions) = status_field["conditions"].as_array_mut() else { return };
    let old = conditions.iter().position(|known| known["type"] == condition);
    let same = old.filter(|at| conditions[*at]["status"] == status);
    let since =
        same.map_or_else(|| api::time::format(now).into(), |at| conditions[at]["lastTransitionTime"].clone());
    let new = json!({"type": condition, "status": status, "lastTransitionTime": since, "reason": reason,
        "message": message});
    match old {
        Some(at) => conditions[at] = new,
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({"spec": {"names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": short}}, "status": {}})
    }

    fn condition<'a>(definition: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
        let conditions = definition["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
        let text = |name: &str| found[name].as_str().unwrap();
        (text("status"), text("reason"), text("message"))
    }

    fn used(definitions: &[&Value]) -> Used {
        let given: Vec<Names> = definitions.iter().map(|d| names(&d["status"]["acceptedNames"])).collect();
        Used::by(given.iter())
    }

    #[test]
    fn names_are_given_once() {
        let now = Timestamp::UNIX_EPOCH;
        let first = settle(&definition("as", "A", &["x"]), &Used::default(), now);
        assert_eq!(condition(&first, "NamesAccepted"), ("True", "NoConflicts", "no conflicts found"));
        assert_eq!(
            condition(&first, "Established"),
            ("True", "InitialNamesAccepted", "the initial names have been accepted")
        );
        assert_eq!(first["status"]["acceptedNames"]["shortNames"], json!(["x"]));
        // Asked again, it is what it was.
        assert_eq!(settle(&first, &used(&[&first]), now), first);
        let table = [
            (definition("as", "B", &[]), "PluralConflict", "\"as\" is already in use"),
            (definition("bs", "A", &[]), "ListKindConflict", "\"AList\" is already in use"),
            (definition("bs", "B", &["x"]), "ShortNamesConflict", "\"x\" is already in use"),
        ];
        for (other, reason, message) in table {
            let settled = settle(&other, &used(&[&first]), now);
            assert_eq!(condition(&settled, "NamesAccepted"), ("False", reason, message));
            assert_eq!(
                condition(&settled, "Established"),
                ("False", "NotAccepted", "not all names are accepted")
            );
        }
        // A name that was given stays given while a new one is refused.
        let second = settle(&definition("bs", "B", &["y"]), &used(&[&first]), now);
        let mut greedy = second.clone();
        greedy["spec"]["names"]["shortNames"] = json!(["y", "x"]);
        let settled = settle(&greedy, &used(&[&first, &second]), now);
        assert_eq!(settled["status"]["acceptedNames"]["shortNames"], json!(["y"]));
        assert_eq!(condition(&settled, "Established").0, "True");
    }
}
