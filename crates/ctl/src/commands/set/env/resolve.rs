//! `set env --list --resolve`: what the references of environment variables stand for.
//!
//! **Upstream.** `kubectl/pkg/cmd/set/env/env_resolve.go` (behaviour and words).

use std::collections::BTreeMap;

use api::quantity::Quantity;
use base64::Engine as _;
use serde_json::Value;

use super::line;
use crate::commands::Context;
use crate::connection::{JSON, encode};
use crate::output::json::sorted;
use crate::report::{Error, message};

/// The variables of a container with their values; what has none is shown as it is written, and why is told.
pub(super) async fn lines(
    context: &Context,
    object: &Value,
    container: &Value,
    variables: &[Value],
    shown: &mut String,
) -> Result<(), Error> {
    let mut failed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for variable in variables {
        if !variable["valueFrom"].is_object() {
            *shown += &line(variable);
            continue;
        }
        let name = variable["name"].as_str().unwrap_or("");
        match value(context, object, container, &variable["valueFrom"]).await {
            Ok(value) => *shown += &format!("{name}={value}\n"),
            Err(why) => {
                *shown += &line(variable);
                failed.entry(why).or_default().push(name.to_owned());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let mut texts: Vec<String> = Vec::new();
    for (why, mut names) in failed {
        names.sort();
        texts.push(format!("error retrieving reference for {}: {why}\n", names.join(", ")));
    }
    texts.sort();
    context.terminal.err(&texts.concat());
    Err(message("failed to retrieve valueFrom references"))
}

async fn value(context: &Context, object: &Value, container: &Value, from: &Value) -> Result<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    for (field, plural, shown) in
        [("secretKeyRef", "secrets", "secret"), ("configMapKeyRef", "configmaps", "config map")]
    {
        let reference = &from[field];
        if !reference.is_object() {
            continue;
        }
        let (name, key) = (text(&reference["name"]), text(&reference["key"]));
        let path = format!("/api/v1/namespaces/{}/{plural}/{}", encode(context.namespace()), encode(&name));
        let asked = async { context.connection().await?.get(&path, JSON).await };
        let found = asked.await.map_err(|error| error.to_string())?;
        let Some(data) = found["data"][&key].as_str() else {
            return Err(format!("key {key} not found in {shown} {name}"));
        };
        if field == "configMapKeyRef" {
            return Ok(data.to_owned());
        }
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(data).map_err(|error| error.to_string())?;
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    if from["fieldRef"].is_object() {
        return field(object, from["fieldRef"]["fieldPath"].as_str().unwrap_or(""));
    }
    if from["resourceFieldRef"].is_object() {
        return resource(container, &from["resourceFieldRef"]);
    }
    Err("invalid valueFrom".to_owned())
}

/// A field of the object's own metadata.
fn field(object: &Value, path: &str) -> Result<String, String> {
    let metadata = &object["metadata"];
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        return match map {
            "metadata.annotations" | "metadata.labels" => {
                let map = &metadata[map.trim_start_matches("metadata.")];
                Ok(map[key].as_str().unwrap_or("").to_owned())
            }
            _ => Err(format!("fieldPath {path:?} does not support subscript")),
        };
    }
    match path {
        "metadata.annotations" | "metadata.labels" => {
            let map =
                metadata[path.trim_start_matches("metadata.")].as_object().map(sorted).unwrap_or_default();
            let pairs =
                map.into_iter().map(|(key, value)| format!("{key}={:?}", value.as_str().unwrap_or("")));
            Ok(pairs.collect::<Vec<_>>().join("\n"))
        }
        "metadata.name" | "metadata.namespace" | "metadata.uid" => {
            let value = &metadata[path.trim_start_matches("metadata.")];
            Ok(value.as_str().unwrap_or("").to_owned())
        }
        _ => Err(format!("unsupported fieldPath: {path}")),
    }
}

/// A limit or a request of the container, in whole divisors, rounded up.
fn resource(container: &Value, reference: &Value) -> Result<String, String> {
    let name = reference["resource"].as_str().unwrap_or("");
    let known =
        |kind: &str| matches!(kind, "cpu" | "memory" | "ephemeral-storage") || kind.starts_with("hugepages-");
    let Some((list, kind)) =
        name.split_once('.').filter(|(list, kind)| matches!(*list, "limits" | "requests") && known(kind))
    else {
        return Err(format!("Unsupported container resource : {name}"));
    };
    let quantity = |value: &Value| -> Option<Quantity> { crate::output::plain(value).parse().ok() };
    let amount = quantity(&container["resources"][list][kind]);
    let divisor = quantity(&reference["divisor"]);
    let number = |quantity: Option<Quantity>| match kind {
        "cpu" => quantity.map(Quantity::millis),
        _ => quantity.map(Quantity::value),
    };
    let one = if kind == "cpu" { 1000 } else { 1 };
    let divisor = number(divisor).filter(|divisor| *divisor > 0).unwrap_or(one);
    let amount = number(amount).unwrap_or(0);
    Ok((amount / divisor + i64::from(amount % divisor > 0)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_amounts_are_read_from_the_object() {
        let pod = json!({"metadata": {"name": "p", "labels": {"b": "2", "a": "1"}}});
        for (path, wanted) in [
            ("metadata.name", Ok("p")),
            ("metadata.labels", Ok("a=\"1\"\nb=\"2\"")),
            ("metadata.labels['b']", Ok("2")),
            ("metadata.annotations['b']", Ok("")),
            ("spec.nodeName", Err("unsupported fieldPath: spec.nodeName")),
            ("spec.x['y']", Err("fieldPath \"spec.x['y']\" does not support subscript")),
        ] {
            assert_eq!(field(&pod, path), wanted.map(str::to_owned).map_err(str::to_owned), "{path}");
        }
        let container = json!({"resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}});
        for (name, divisor, wanted) in [
            ("limits.cpu", "0", "2"),
            ("limits.cpu", "1m", "1500"),
            ("limits.memory", "1Mi", "1024"),
            ("requests.cpu", "", "0"),
        ] {
            let reference = json!({"resource": name, "divisor": divisor});
            assert_eq!(resource(&container, &reference).as_deref(), Ok(wanted), "{name} / {divisor}");
        }
        assert!(resource(&container, &json!({"resource": "limits.pods"})).is_err());
    }
}
