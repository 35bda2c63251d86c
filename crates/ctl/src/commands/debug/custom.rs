//! A part of a container that a user adds to a profile (`--custom`).
//!
//! **Upstream.** `kubectl/pkg/cmd/debug` (`applyCustomProfile`; behaviour).

use serde_json::Value;

use crate::client_config::os_text;
use crate::yaml_input;

/// Reads the file; none if there is no path.
pub(super) fn read(path: &str) -> Result<Option<Value>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("must pass a container spec json file for custom profile: open {path}: {}", os_text(&error))
    })?;
    let invalid = |why: String| format!("{path} does not contain a valid container spec: {why}");
    let container = yaml_input::parse(&text).map_err(invalid)?;
    if !container.is_object() {
        return Err(invalid("it must be one object".to_owned()));
    }
    let fixed = ["name", "command", "image", "lifecycle", "volumeDevices"];
    if fixed.iter().any(|field| !container[field].is_null()) {
        return Err(
            "name, command, image, lifecycle and volume devices are not modifiable via custom profile"
                .to_owned(),
        );
    }
    Ok(Some(container))
}

/// Merges a part into a container: objects field by field, lists by the key of their elements, where they have one.
pub(super) fn merge(into: &mut Value, part: &Value) {
    let Some(fields) = part.as_object() else { return };
    for (name, value) in fields {
        let key = match name.as_str() {
            "env" => "name",
            "ports" => "containerPort",
            "volumeMounts" => "mountPath",
            _ => "",
        };
        let into = &mut into[name];
        match value {
            Value::Object(_) if into.is_object() => merge(into, value),
            Value::Array(items) if into.is_array() && !key.is_empty() => {
                for item in items {
                    let old = items_of(into).iter().position(|old| old[key] == item[key]);
                    match (old, into.as_array_mut()) {
                        (Some(at), Some(list)) => merge(&mut list[at], item),
                        (None, Some(list)) => list.push(item.clone()),
                        (_, None) => {}
                    }
                }
            }
            value => *into = value.clone(),
        }
    }
}

fn items_of(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_merged() {
        let mut container = json!({"name": "d", "env": [{"name": "A", "value": "1"}],
            "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}});
        let part = json!({"env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}],
            "securityContext": {"runAsUser": 0}, "resources": {"limits": {"cpu": "1"}}});
        merge(&mut container, &part);
        assert_eq!(
            container,
            json!({"name": "d", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}],
            "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}, "runAsUser": 0},
            "resources": {"limits": {"cpu": "1"}}})
        );
    }

    #[test]
    fn what_is_fixed_may_not_be_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = folder.path().join(name).to_str().unwrap().to_owned();
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        assert_eq!(at("good", "env:\n- name: A\n").unwrap().unwrap()["env"][0]["name"], "A");
        assert!(at("bad", "image: x\n").unwrap_err().contains("not modifiable"));
        assert!(read("/nonexistent").is_err() && read("").unwrap().is_none());
    }
}
