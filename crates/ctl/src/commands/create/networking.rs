//! `create service` and `create ingress`.

use serde_json::{Map, Value, json};

use super::generate::{Generator, Given, object};
use crate::cli;
use crate::report::{Error, message};

/// `create service clusterip`
pub(super) const CLUSTER_IP: Generator = Generator {
    names: &["clusterip"],
    about: "Create a ClusterIP service",
    required: &[],
    flags: || {
        let address =
            "Assign your own ClusterIP or set to 'None' for a 'headless' service (no loadbalancing).";
        vec![tcp(), cli::text("clusterip", address)]
    },
    make: |given| Box::pin(std::future::ready(service(given, "ClusterIP"))),
    plural: "services",
    failure: "failed to create ClusterIP service: ",
};

/// `create service nodeport`
pub(super) const NODE_PORT: Generator = Generator {
    names: &["nodeport"],
    about: "Create a NodePort service",
    required: &[],
    flags: || {
        let port = "Port used to expose the service on each node in a cluster.";
        vec![tcp(), cli::number("node-port", port).default_value("0")]
    },
    make: |given| Box::pin(std::future::ready(service(given, "NodePort"))),
    plural: "services",
    failure: "failed to create NodePort service: ",
};

/// `create service loadbalancer`
pub(super) const LOAD_BALANCER: Generator = Generator {
    names: &["loadbalancer"],
    about: "Create a LoadBalancer service",
    required: &[],
    flags: || vec![tcp()],
    make: |given| Box::pin(std::future::ready(service(given, "LoadBalancer"))),
    plural: "services",
    failure: "failed to create LoadBalancer service: ",
};

/// `create service externalname`
pub(super) const EXTERNAL_NAME: Generator = Generator {
    names: &["externalname"],
    about: "Create an ExternalName service",
    required: &["external-name"],
    flags: || vec![tcp(), cli::text("external-name", "External name of service")],
    make: |given| Box::pin(std::future::ready(service(given, "ExternalName"))),
    plural: "services",
    failure: "failed to create ExternalName service: ",
};

/// `create ingress`
pub(super) const INGRESS: Generator = Generator {
    names: &["ingress", "ing"],
    about: "Create an ingress with the specified name",
    required: &[],
    flags: || {
        vec![
            cli::text("class", "Ingress Class to be used"),
            cli::text("rule", "Rule in format host/path=service:port[,tls=secretname]. Paths containing the leading character '*' are considered pathType=Prefix. tls argument is optional.")
                .action(clap::ArgAction::Append),
            cli::text("default-backend", "Default service for backend, in format of svcname:port"),
            cli::text("annotation", "Annotation to insert in the ingress object, in the format annotation=value")
                .action(clap::ArgAction::Append),
        ]
    },
    make: |given| Box::pin(std::future::ready(ingress(given))),
    plural: "ingresses",
    failure: "failed to create ingress: ",
};

fn tcp() -> clap::Arg {
    cli::texts("tcp", "Port pairs can be specified as '<port>:<targetPort>'.")
}

fn service(given: &Given<'_>, kind: &str) -> Result<Value, Error> {
    let external = kind == "ExternalName";
    let address = if kind == "ClusterIP" { given.value("clusterip") } else { "" };
    let pairs = given.values("tcp");
    if external {
        let name = given.value("external-name");
        if !api::names::dns_subdomain(name, false).is_empty() {
            return Err(message(format!("invalid service external name {name}")));
        }
    } else if pairs.is_empty() && address != "None" {
        return Err(message("at least one tcp port specifier must be provided"));
    }
    let mut ports = Vec::new();
    for pair in pairs {
        let (port, target) = port_pair(&pair)?;
        let mut one =
            json!({"name": pair.replace(':', "-"), "port": port, "protocol": "TCP", "targetPort": target});
        if kind == "NodePort"
            && let Some(number) = given.matches.get_one::<i64>("node-port").filter(|number| **number != 0)
        {
            one["nodePort"] = (*number).into();
        }
        ports.push(one);
    }
    let mut metadata = given.metadata();
    metadata["labels"] = json!({"app": given.name});
    let mut spec = json!({"selector": {"app": given.name}, "type": kind});
    if !ports.is_empty() {
        spec["ports"] = ports.into();
    }
    if external {
        spec["externalName"] = given.value("external-name").into();
    }
    if !address.is_empty() {
        spec["clusterIP"] = address.into();
    }
    Ok(object("v1", "Service", metadata, json!({"spec": spec, "status": {"loadBalancer": {}}})))
}

/// `80`, `80:8080`, `80:http`
fn port_pair(pair: &str) -> Result<(u16, Value), Error> {
    let (port, target) = pair.split_once(':').map_or((pair, None), |(port, target)| (port, Some(target)));
    let number: u16 = port.parse().map_err(|_| {
        let range = port.parse::<i128>().is_ok_and(|number| number >= 0);
        let what = if range { "value out of range" } else { "invalid syntax" };
        message(format!("strconv.ParseUint: parsing {port:?}: {what}"))
    })?;
    let Some(target) = target else { return Ok((number, number.into())) };
    let wrong = match target.parse::<i64>() {
        Ok(number) => api::names::port_number(number),
        Err(_) => api::names::port_name(target),
    };
    if !wrong.is_empty() {
        return Err(message(wrong.join(",")));
    }
    Ok((number, int_or_string(target)))
}

/// A number where the text is one.
pub(crate) fn int_or_string(text: &str) -> Value {
    text.parse::<i32>().map_or_else(|_| text.into(), Value::from)
}

/// The parts of `host/path=service:port[,tls[=secret]]`.
struct Rule<'a> {
    host: &'a str,
    path: &'a str,
    service: &'a str,
    port: &'a str,
    /// The secret of `tls`, empty where it names none.
    tls: Option<&'a str>,
}

/// Parses a rule; nothing but `tls` may follow the comma.
fn rule(text: &str) -> Option<Rule<'_>> {
    let (rest, tls) = match text.split_once(',') {
        Some((rest, "tls")) => (rest, Some("")),
        Some((rest, tls)) => (rest, Some(tls.strip_prefix("tls=").filter(|name| !name.is_empty())?)),
        None => (text, None),
    };
    let (host, rest) = rest.split_once('/')?;
    let (path, backend) = rest.split_once('=')?;
    let (service, port) =
        backend.split_once(':').filter(|(name, port)| !name.is_empty() && !port.is_empty())?;
    Some(Rule { host, path, service, port, tls })
}

fn backend(service: &str, port: &str) -> Value {
    let port = match port.parse::<i32>() {
        Ok(number) => json!({"number": number}),
        Err(_) => json!({"name": port}),
    };
    json!({"service": {"name": service, "port": port}})
}

fn ingress(given: &Given<'_>) -> Result<Value, Error> {
    let (texts, default) = (given.values("rule"), given.value("default-backend"));
    if texts.is_empty() && default.is_empty() {
        return Err(message(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
        ));
    }
    let mut rules = Vec::new();
    for text in &texts {
        rules.push(rule(text).ok_or_else(|| {
            message(format!(
                "rule {text} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
            ))
        })?);
    }
    let mut metadata = given.metadata();
    let mut annotations = Map::new();
    for text in given.values("annotation") {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            message(format!("annotation {text} is invalid and should be in format key=[value]"))
        })?;
        annotations.insert(key.to_owned(), value.into());
    }
    if !annotations.is_empty() {
        metadata["annotations"] = annotations.into();
    }
    let mut spec = json!({});
    if !given.value("class").is_empty() {
        spec["ingressClassName"] = given.value("class").into();
    }
    if !default.is_empty() {
        let (service, port) = default
            .split_once(':')
            .filter(|(name, port)| !name.is_empty() && !port.is_empty() && !port.contains(':'))
            .ok_or_else(|| message("default-backend should be in format servicename:serviceport"))?;
        spec["defaultBackend"] = backend(service, port);
    }
    let tls = certificates(&rules);
    if !tls.is_empty() {
        spec["tls"] = tls.into();
    }
    if !rules.is_empty() {
        spec["rules"] = hosts(&rules).into();
    }
    Ok(object(
        "networking.k8s.io/v1",
        "Ingress",
        metadata,
        json!({"spec": spec, "status": {"loadBalancer": {}}}),
    ))
}

/// Hosts by secret; a host is named once.
fn certificates(rules: &[Rule<'_>]) -> Vec<Value> {
    let mut seen: Vec<&str> = Vec::new();
    let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
    for (host, secret) in rules.iter().filter_map(|rule| Some((rule.host, rule.tls?))) {
        if seen.contains(&host) {
            continue;
        }
        seen.push(host);
        match out.iter_mut().find(|(known, _)| *known == secret) {
            Some((_, hosts)) => hosts.push(host),
            None if host.is_empty() && secret.is_empty() => {}
            None => out.push((secret, if host.is_empty() { Vec::new() } else { vec![host] })),
        }
    }
    let show = |(secret, hosts): (&str, Vec<&str>)| {
        let mut one = json!({});
        if !hosts.is_empty() {
            one["hosts"] = hosts.into();
        }
        if !secret.is_empty() {
            one["secretName"] = secret.into();
        }
        one
    };
    out.into_iter().map(show).collect()
}

/// Paths by host.
fn hosts(rules: &[Rule<'_>]) -> Vec<Value> {
    let mut out: Vec<(&str, Vec<Value>)> = Vec::new();
    for rule in rules {
        let path = format!("/{}", rule.path);
        let (path, kind) = match path.strip_suffix('*') {
            Some(prefix) => (prefix, "Prefix"),
            None => (path.as_str(), "Exact"),
        };
        let path = json!({"path": path, "pathType": kind, "backend": backend(rule.service, rule.port)});
        match out.iter_mut().find(|(host, _)| *host == rule.host) {
            Some((_, paths)) => paths.push(path),
            None => out.push((rule.host, vec![path])),
        }
    }
    let show = |(host, paths): (&str, Vec<Value>)| {
        let mut one = json!({"http": {"paths": paths}});
        if !host.is_empty() {
            one["host"] = host.into();
        }
        one
    };
    out.into_iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let read = |text| rule(text).map(|r| (r.host, r.path, r.service, r.port, r.tls));
        assert_eq!(read("a.com/x=s:80"), Some(("a.com", "x", "s", "80", None)));
        assert_eq!(read("/*=s:http,tls"), Some(("", "*", "s", "http", Some(""))));
        assert_eq!(read("a.com/=s:80,tls=t"), Some(("a.com", "", "s", "80", Some("t"))));
        for wrong in ["a.com", "a.com/x", "a.com/x=s", "a.com/x=s:", "a.com/x=s:80,other"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ports_are_pairs() {
        assert_eq!(port_pair("80").unwrap(), (80, json!(80)));
        assert_eq!(port_pair("80:8080").unwrap(), (80, json!(8080)));
        assert_eq!(port_pair("80:http").unwrap(), (80, json!("http")));
        for wrong in ["x", "80:70000", "70000", "80:-"] {
            assert!(port_pair(wrong).is_err(), "{wrong}");
        }
    }
}
