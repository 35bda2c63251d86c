//! Which local port leads to which port of a pod. Pure.
//!
//! **Upstream.** `kubectl/pkg/cmd/portforward`, `client-go/tools/portforward` (behaviour).

use serde_json::Value;

/// One forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forward {
    /// Here; 0: any.
    pub(super) local: u16,
    /// In the pod.
    pub(super) remote: u16,
}

/// What the command line asks for, given the object that it names and the pod that is meant.
pub(super) fn forwards(arguments: &[String], object: &Value, pod: &Value) -> Result<Vec<Forward>, String> {
    let service = object["kind"] == "Service";
    let owner = if service { object } else { pod };
    for argument in arguments {
        check_protocol(split(argument).1, owner)?;
    }
    let translate = |argument: &String| match service {
        true => of_service(argument, object, pod),
        false => of_pod(argument, pod),
    };
    arguments.iter().map(|argument| parse(&translate(argument)?)).collect()
}

fn split(argument: &str) -> (&str, &str) {
    let parts: Vec<&str> = argument.split(':').collect();
    match parts.as_slice() {
        [local, remote] => (local, remote),
        parts => (parts[0], parts[0]),
    }
}

fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().map_or(&[], Vec::as_slice)
}

fn container_ports(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["spec"], "containers").iter().flat_map(|container| list(container, "ports"))
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("")
}

/// UDP cannot be forwarded.
fn check_protocol(remote: &str, owner: &Value) -> Result<(), String> {
    let service = owner["kind"] == "Service";
    let (ports, field): (Vec<&Value>, _) = match service {
        true => (list(&owner["spec"], "ports").iter().collect(), "port"),
        false => (container_ports(owner).collect(), "containerPort"),
    };
    let number = match remote.parse::<i64>() {
        Ok(number) => number,
        Err(_) if service => service_port(owner, remote)?,
        Err(_) if remote.is_empty() => return Ok(()),
        Err(_) => container_port(owner, remote)?,
    };
    let has = |protocol: &str| {
        ports
            .iter()
            .any(|port| port[field] == number && port["protocol"].as_str().unwrap_or("TCP") == protocol)
    };
    if has("UDP") && !has("TCP") {
        Err(format!("UDP protocol is not supported for {remote}"))
    } else {
        Ok(())
    }
}

fn service_port(service: &Value, name: &str) -> Result<i64, String> {
    let found = list(&service["spec"], "ports").iter().find(|port| port["name"] == name);
    found
        .and_then(|port| port["port"].as_i64())
        .ok_or_else(|| format!("Service '{}' does not have a named port '{name}'", name_of(service)))
}

fn container_port(pod: &Value, name: &str) -> Result<i64, String> {
    let found = container_ports(pod).find(|port| port["name"] == name);
    found
        .and_then(|port| port["containerPort"].as_i64())
        .ok_or_else(|| format!("Pod '{}' does not have a named port '{name}'", name_of(pod)))
}

fn of_pod(argument: &str, pod: &Value) -> Result<String, String> {
    let (local, remote) = split(argument);
    if remote.is_empty() {
        return Err("remote port cannot be empty".to_owned());
    }
    let number = match remote.parse::<i64>() {
        Ok(_) => remote.to_owned(),
        Err(_) => container_port(pod, remote)?.to_string(),
    };
    Ok(if local == remote { number } else { format!("{local}:{number}") })
}

fn of_service(argument: &str, service: &Value, pod: &Value) -> Result<String, String> {
    let (local, remote) = split(argument);
    let mut local = local.to_owned();
    let number = match remote.parse::<i64>() {
        Ok(number) => number,
        Err(_) => {
            let number = service_port(service, remote)?;
            if local == remote {
                local = number.to_string();
            }
            number
        }
    };
    let target = target_port(service, pod, number)?.to_string();
    Ok(if local == target { target } else { format!("{local}:{target}") })
}

/// The container's port behind a service's.
fn target_port(service: &Value, pod: &Value, number: i64) -> Result<i64, String> {
    let found = list(&service["spec"], "ports").iter().find(|port| port["port"] == number);
    let port =
        found.ok_or_else(|| format!("Service {} does not have a service port {number}", name_of(service)))?;
    if service["spec"]["clusterIP"] == "None" {
        return Ok(number);
    }
    match &port["targetPort"] {
        Value::String(name) => container_port(pod, name),
        Value::Number(target) if target.as_i64() != Some(0) => Ok(target.as_i64().unwrap_or(number)),
        _ => Ok(number),
    }
}

fn parse(text: &str) -> Result<Forward, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (local, remote) = match parts.as_slice() {
        [one] => (*one, *one),
        ["", remote] => ("0", *remote),
        [local, remote] => (*local, *remote),
        _ => return Err(format!("invalid port format '{text}'")),
    };
    let number = |what: &str, text: &str| {
        text.parse::<u16>().map_err(|_| {
            let why = match text.parse::<u64>() {
                Ok(_) => "value out of range",
                Err(_) => "invalid syntax",
            };
            format!("error parsing {what} port '{text}': strconv.ParseUint: parsing {text:?}: {why}")
        })
    };
    let forward = Forward { local: number("local", local)?, remote: number("remote", remote)? };
    if forward.remote == 0 { Err("remote port must be > 0".to_owned()) } else { Ok(forward) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_translated() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"ports": [
            {"name": "web", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]}});
        let service = json!({"kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": "web"}, {"name": "plain", "port": 81, "targetPort": 9000},
            {"name": "same", "port": 82}]}});
        let of = |object: &Value, argument: &str| {
            forwards(&[argument.to_owned()], object, &pod).map(|f| (f[0].local, f[0].remote))
        };
        for (argument, expected) in [
            ("80", (80, 80)),
            ("8000:80", (8000, 80)),
            (":80", (0, 80)),
            ("web", (8080, 8080)),
            ("1:web", (1, 8080)),
            ("0:80", (0, 80)),
            ("1:2:3", (1, 1)),
        ] {
            assert_eq!(of(&pod, argument), Ok(expected), "{argument}");
        }
        for (argument, expected) in
            [("80", (80, 8080)), ("http", (80, 8080)), ("1:81", (1, 9000)), ("82", (82, 82))]
        {
            assert_eq!(of(&service, argument), Ok(expected), "{argument}");
        }
        for (object, argument, why) in [
            (&pod, "x", "Pod 'p' does not have a named port 'x'"),
            (
                &pod,
                "99999",
                "error parsing local port '99999': strconv.ParseUint: parsing \"99999\": value out of range",
            ),
            (&pod, "1:0", "remote port must be > 0"),
            (&pod, "1:", "remote port cannot be empty"),
            (&pod, "53", "UDP protocol is not supported for 53"),
            (&service, "83", "Service s does not have a service port 83"),
            (&service, "x", "Service 's' does not have a named port 'x'"),
        ] {
            let error = of(object, argument).unwrap_err();
            assert_eq!(error, why, "{argument}");
        }
    }
}
