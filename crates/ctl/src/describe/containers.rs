//! A pod's containers: image, ports, command, state, resources, probes, environment, mounts.

use api::quantity::Quantity;
use serde_json::Value;

use super::{Describe, items, text, title_bool};
use crate::output::json::sorted;

/// `Init Containers:`, `Containers:` and `Ephemeral Containers:`.
pub(super) fn section(describe: &Describe<'_>, pod: &Value) -> String {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let mut out = String::new();
    for (title, list, statuses) in [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ] {
        let all = items(spec, list);
        if all.is_empty() {
            continue;
        }
        out += &format!("{title}:\n");
        for container in all {
            let state = items(status, statuses).iter().find(|one| one["name"] == container["name"]);
            one(&mut out, describe, pod, container, state);
        }
    }
    out
}

fn one(out: &mut String, describe: &Describe<'_>, pod: &Value, container: &Value, status: Option<&Value>) {
    *out += &format!("  {}:\n", text(container, "name"));
    if let Some(status) = status {
        *out += &format!("    Container ID:\t{}\n", text(status, "containerID"));
    }
    *out += &format!("    Image:\t{}\n", text(container, "image"));
    if let Some(status) = status {
        *out += &format!("    Image ID:\t{}\n", text(status, "imageID"));
    }
    ports(out, container);
    let seccomp = &container["securityContext"]["seccompProfile"];
    if !text(seccomp, "type").is_empty() {
        *out += &format!("    SeccompProfile:\t{}\n", text(seccomp, "type"));
    }
    for (title, field) in [("Command", "command"), ("Args", "args")] {
        let words = items(container, field);
        if words.is_empty() {
            continue;
        }
        *out += &format!("    {title}:\n");
        for line in words.iter().filter_map(Value::as_str).flat_map(|word| word.split('\n')) {
            *out += &format!("      {line}\n");
        }
    }
    if let Some(status) = status {
        state(out, describe, "State", &status["state"]);
        if status["lastState"]["terminated"].is_object() {
            state(out, describe, "Last State", &status["lastState"]);
        }
        *out += &format!("    Ready:\t{}\n", title_bool(&status["ready"]));
        *out += &format!("    Restart Count:\t{}\n", status["restartCount"].as_i64().unwrap_or(0));
    }
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let amounts = container["resources"][field].as_object().map(sorted).unwrap_or_default();
        if amounts.is_empty() {
            continue;
        }
        *out += &format!("    {title}:\n");
        for (name, amount) in amounts {
            *out += &format!("      {name}:\t{}\n", amount.as_str().unwrap_or(""));
        }
    }
    for (title, field) in
        [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
    {
        if container[field].is_object() {
            *out += &format!("    {title}:\t{}\n", probe(&container[field]));
        }
    }
    environment_sources(out, container);
    environment(out, pod, container);
    mounts(out, container);
}

fn ports(out: &mut String, container: &Value) {
    for (title, field) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let shown: Vec<String> = items(container, "ports")
            .iter()
            .map(|port| format!("{}/{}", port[field].as_i64().unwrap_or(0), text(port, "protocol")))
            .collect();
        *out += &match shown.as_slice() {
            [] => format!("    {title}:\t<none>\n"),
            [one] => {
                let name = text(&items(container, "ports")[0], "name");
                if name.is_empty() {
                    format!("    {title}:\t{one}\n")
                } else {
                    format!("    {title}:\t{one} ({name})\n")
                }
            }
            _ => {
                let named: Vec<String> = items(container, "ports")
                    .iter()
                    .zip(&shown)
                    .map(|(port, one)| {
                        let name = text(port, "name");
                        if name.is_empty() { one.clone() } else { format!("{one} ({name})") }
                    })
                    .collect();
                format!("    {title}s:\t{}\n", named.join(", "))
            }
        };
    }
}

fn state(out: &mut String, describe: &Describe<'_>, title: &str, state: &Value) {
    let optional = |out: &mut String, label: &str, value: &str| {
        if !value.is_empty() {
            *out += &format!("      {label}:\t{value}\n");
        }
    };
    if let Some(running) = state.get("running").filter(|one| one.is_object()) {
        *out += &format!("    {title}:\tRunning\n      Started:\t{}\n", describe.time(&running["startedAt"]));
    } else if let Some(ended) = state.get("terminated").filter(|one| one.is_object()) {
        *out += &format!("    {title}:\tTerminated\n");
        optional(out, "Reason", text(ended, "reason"));
        optional(out, "Message", text(ended, "message"));
        *out += &format!("      Exit Code:\t{}\n", ended["exitCode"].as_i64().unwrap_or(0));
        if let Some(signal) = ended["signal"].as_i64().filter(|signal| *signal > 0) {
            *out += &format!("      Signal:\t{signal}\n");
        }
        *out += &format!("      Started:\t{}\n", describe.time(&ended["startedAt"]));
        *out += &format!("      Finished:\t{}\n", describe.time(&ended["finishedAt"]));
    } else {
        *out += &format!("    {title}:\tWaiting\n");
        optional(out, "Reason", text(&state["waiting"], "reason"));
    }
}

fn probe(probe: &Value) -> String {
    let number = |field: &str| probe[field].as_i64().unwrap_or(0);
    let timing = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold")
    );
    let port =
        |value: &Value| value.as_str().map_or_else(|| value.as_i64().unwrap_or(0).to_string(), str::to_owned);
    if let Some(exec) = probe.get("exec") {
        return format!("exec {} {timing}", crate::output::plain(&exec["command"]));
    }
    if let Some(get) = probe.get("httpGet") {
        let path = text(get, "path");
        let path =
            if path.is_empty() || path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        return format!(
            "http-get {}://{}:{}{path} {timing}",
            text(get, "scheme").to_lowercase(),
            text(get, "host"),
            port(&get["port"])
        );
    }
    if let Some(socket) = probe.get("tcpSocket") {
        return format!("tcp-socket {}:{} {timing}", text(socket, "host"), port(&socket["port"]));
    }
    if let Some(grpc) = probe.get("grpc") {
        return format!("grpc <pod>:{} {} {timing}", port(&grpc["port"]), text(grpc, "service"));
    }
    format!("unknown {timing}")
}

fn environment_sources(out: &mut String, container: &Value) {
    let sources = items(container, "envFrom");
    if sources.is_empty() {
        return;
    }
    *out += "    Environment Variables from:\n";
    for source in sources {
        let (kind, reference) = match source.get("configMapRef") {
            Some(reference) => ("ConfigMap", reference),
            None => ("Secret", &source["secretRef"]),
        };
        let prefix = text(source, "prefix");
        let kind = if prefix.is_empty() { kind.to_owned() } else { format!("{kind} with prefix '{prefix}'") };
        let optional = reference["optional"].as_bool().unwrap_or(false);
        *out += &format!("      {}\t{kind}\tOptional: {optional}\n", text(reference, "name"));
    }
}

fn environment(out: &mut String, pod: &Value, container: &Value) {
    let variables = items(container, "env");
    *out += if variables.is_empty() { "    Environment:\t<none>\n" } else { "    Environment:\n" };
    for variable in variables {
        let name = text(variable, "name");
        let from = &variable["valueFrom"];
        let optional = |reference: &Value| reference["optional"].as_bool().unwrap_or(false);
        if let Some(field) = from.get("fieldRef") {
            let path = text(field, "fieldPath");
            *out += &format!(
                "      {name}:\t{} ({}:{path})\n",
                field_value(pod, path),
                text(field, "apiVersion")
            );
        } else if let Some(resource) = from.get("resourceFieldRef") {
            *out += &format!(
                "      {name}:\t{} ({})\n",
                resource_value(container, resource),
                text(resource, "resource")
            );
        } else if let Some(key) = from.get("secretKeyRef") {
            *out += &format!(
                "      {name}:\t<set to the key '{}' in secret '{}'>\tOptional: {}\n",
                text(key, "key"),
                text(key, "name"),
                optional(key)
            );
        } else if let Some(key) = from.get("configMapKeyRef") {
            *out += &format!(
                "      {name}:\t<set to the key '{}' of config map '{}'>\tOptional: {}\n",
                text(key, "key"),
                text(key, "name"),
                optional(key)
            );
        } else {
            for (index, line) in text(variable, "value").split('\n').enumerate() {
                *out += &if index == 0 {
                    format!("      {name}:\t{line}\n")
                } else {
                    format!("      \t{line}\n")
                };
            }
        }
    }
}

/// The pod's own value of a downward field; those that only the kubelet knows stay empty.
fn field_value(pod: &Value, path: &str) -> String {
    for map in ["labels", "annotations"] {
        if let Some(key) =
            path.strip_prefix(&format!("metadata.{map}['")).and_then(|rest| rest.strip_suffix("']"))
        {
            return text(&pod["metadata"][map], key).to_owned();
        }
    }
    match path {
        "metadata.name" | "metadata.namespace" | "metadata.uid" => {
            text(&pod["metadata"], path.trim_start_matches("metadata.")).to_owned()
        }
        _ => String::new(),
    }
}

fn resource_value(container: &Value, reference: &Value) -> String {
    let (list, name) = text(reference, "resource").split_once('.').unwrap_or(("", ""));
    let amount = container["resources"][list][name]
        .as_str()
        .and_then(|amount| amount.parse::<Quantity>().ok())
        .unwrap_or(Quantity::ZERO);
    let divisor = reference["divisor"]
        .as_str()
        .and_then(|amount| amount.parse::<Quantity>().ok())
        .filter(|one| !one.is_zero());
    let unit = divisor.map_or(1000, Quantity::millis);
    let (whole, rest) = (amount.millis() / unit, amount.millis() % unit);
    (whole + i64::from(rest != 0)).to_string()
}

fn mounts(out: &mut String, container: &Value) {
    let mut all: Vec<&Value> = items(container, "volumeMounts").iter().collect();
    all.sort_by_key(|mount| text(mount, "mountPath"));
    *out += if all.is_empty() { "    Mounts:\t<none>\n" } else { "    Mounts:\n" };
    for mount in all {
        let mut flags =
            if mount["readOnly"].as_bool().unwrap_or(false) { "ro".to_owned() } else { "rw".to_owned() };
        if !text(mount, "subPath").is_empty() {
            flags += &format!(",path={:?}", text(mount, "subPath"));
        }
        *out += &format!("      {} from {} ({flags})\n", text(mount, "mountPath"), text(mount, "name"));
    }
    let mut devices: Vec<&Value> = items(container, "volumeDevices").iter().collect();
    devices.sort_by_key(|device| text(device, "devicePath"));
    if !devices.is_empty() {
        *out += "    Devices:\n";
        for device in devices {
            *out += &format!("      {} from {}\n", text(device, "devicePath"), text(device, "name"));
        }
    }
}
