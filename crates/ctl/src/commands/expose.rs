//! `expose`: a Service in front of what has pods.
//!
//! **Upstream.** `kubectl/pkg/cmd/expose` (behaviour).

use clap::ArgMatches;
use http::Method;
use serde_json::{Map, Value, json};

use super::create::networking::int_or_string;
use super::{Command, Context, apply, create};
use crate::cli::{self, DryRun, value};
use crate::connection::JSON;
use crate::output::name;
use crate::overrides;
use crate::report::{Error, message};
use crate::resolve::Target;
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "expose", build, run: |context, matches| Box::pin(run(context, matches)) };

/// The longest name of a service.
const LONGEST_NAME: usize = 63;

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Take a replication controller, service, deployment or pod and expose it as a new Kubernetes service")
        .arg(cli::arguments("(-f FILENAME | TYPE NAME) [--port=port]"))
        .args(cli::files())
        .args(selection::change_flags("kubectl-expose"))
        .arg(create::save_config_flag())
        .arg(cli::text("protocol", "The network protocol for the service to be created. Default is 'TCP'."))
        .arg(cli::text("port", "The port that the service should serve on. Copied from the resource being exposed, if unspecified"))
        .arg(cli::text("type", "Type for this service: ClusterIP, NodePort, LoadBalancer, or ExternalName. Default is 'ClusterIP'."))
        .arg(cli::text("load-balancer-ip", "IP to assign to the LoadBalancer. If empty, an ephemeral IP will be created and used (cloud-provider specific)."))
        .arg(cli::text("selector", "A label selector to use for this service. Only equality-based selector requirements are supported. If empty (the default) infer the selector from the resource being exposed."))
        .arg(cli::text("labels", "Labels to apply to the service created by this call.").short('l'))
        .arg(cli::text("target-port", "Name or number for the port on the container that the service should direct traffic to. Optional."))
        .arg(cli::text("external-ip", "Additional external IP address (not managed by Kubernetes) to accept for the service."))
        .arg(cli::text("name", "The name for the newly created object."))
        .arg(cli::text("session-affinity", "If non-empty, set the session affinity for the service to this; legal values: 'None', 'ClientIP'"))
        .args(overrides::flags())
        .arg(cli::text("cluster-ip", "ClusterIP to be assigned to the service. Leave empty to auto-allocate, or set to 'None' to create a headless service."))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let change = Change::from_matches(matches)?;
    let (targets, mut errors) = selection::named(context, matches).await?;
    let connection = context.connection().await?;
    for target in targets {
        let exposed = async {
            let object = connection.get(&target.path(), JSON).await?;
            let mut service = overrides::apply(matches, service(&target, &object, matches)?)?;
            if change.dry_run == DryRun::Client {
                if let Some(namespace) = &context.globals.namespace {
                    service["metadata"]["namespace"] = namespace.as_str().into();
                }
                return Ok(service);
            }
            if matches.get_flag("save-config") {
                apply::remember(&mut service);
            }
            let path = change.query(&format!("/api/v1/namespaces/{}/services", context.namespace()));
            connection.request(Method::POST, &path, JSON, Some(&service)).await
        };
        match exposed.await {
            Ok(mut service) => change.print(context, &mut service, "exposed")?,
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}

/// `a=b,c=d`
fn map(text: &str) -> Result<Map<String, Value>, Error> {
    let mut map = Map::new();
    for pair in text.split(',') {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, value)| !key.is_empty() && !value.contains('='))
            .ok_or_else(|| message(format!("unexpected label spec: {pair}")))?;
        map.insert(key.to_owned(), value.into());
    }
    Ok(map)
}

/// The labels of the pods behind an object.
fn selector(object: &Value) -> Result<Value, String> {
    let spec = &object["spec"];
    let some = |labels: &Value, why: &str| match labels.as_object() {
        Some(map) if !map.is_empty() => Ok(labels.clone()),
        _ => Err(why.to_owned()),
    };
    match object["kind"].as_str().unwrap_or("") {
        "Pod" => some(&object["metadata"]["labels"], "the pod has no labels and cannot be exposed"),
        "Service" => some(&spec["selector"], "the service has no pod selector set"),
        "ReplicationController" => Ok(spec["selector"].clone()),
        kind => {
            let kind = kind.to_lowercase();
            let none = format!("invalid {kind}: no selectors, therefore cannot be exposed");
            let labels = some(&spec["selector"]["matchLabels"], &none)?;
            match spec["selector"]["matchExpressions"].as_array() {
                Some(all) if !all.is_empty() => {
                    let shown = crate::output::plain(&spec["selector"]["matchExpressions"]);
                    Err(format!("couldn't convert expressions - \"{shown}\" to map-based selector format"))
                }
                _ => Ok(labels),
            }
        }
    }
}

/// Ports with their protocols, in the object's order, a port once.
fn ports(object: &Value) -> Vec<(i64, Vec<String>)> {
    let spec = &object["spec"];
    let (pods, field) = match object["kind"].as_str().unwrap_or("") {
        "Service" => (vec![spec], "port"),
        "Pod" => (spec["containers"].as_array().into_iter().flatten().collect(), "containerPort"),
        _ => (
            spec["template"]["spec"]["containers"].as_array().into_iter().flatten().collect(),
            "containerPort",
        ),
    };
    let mut found: Vec<(i64, Vec<String>)> = Vec::new();
    for port in pods.into_iter().flat_map(|one: &Value| one["ports"].as_array().into_iter().flatten()) {
        let Some(number) = port[field].as_i64() else { continue };
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        match found.iter_mut().find(|(known, _)| *known == number) {
            Some((_, protocols)) => protocols.push(protocol),
            None => found.push((number, vec![protocol])),
        }
    }
    found
}

fn service(target: &Target, object: &Value, matches: &ArgMatches) -> Result<Value, Error> {
    let resource = &target.resource;
    let known = matches!(
        (resource.group.as_str(), resource.kind.as_str()),
        ("", "ReplicationController" | "Service" | "Pod") | ("apps", "Deployment" | "ReplicaSet")
    );
    if !known {
        let kind = name::with_group(&resource.kind, &resource.group);
        return Err(message(format!("cannot expose a {kind}")));
    }
    let selector = match value(matches, "selector") {
        "" => selector(object).map_err(|why| {
            message(format!("couldn't retrieve selectors via --selector flag or introspection: {why}"))
        })?,
        text => map(text)?.into(),
    };
    let own = ports(object);
    let asked = value(matches, "port");
    let address = value(matches, "cluster-ip");
    let numbers: Vec<i64> = match asked {
        "" if own.is_empty() && address != "None" => {
            return Err(message("couldn't find port via --port flag or introspection"));
        }
        "" => own.iter().map(|(number, _)| *number).collect(),
        text => {
            let number = |text: &str| {
                text.parse().map_err(|_| message(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
            };
            text.split(',').map(number).collect::<Result<_, _>>()?
        }
    };
    let wanted = value(matches, "protocol");
    let target_port = value(matches, "target-port");
    let mut made = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        let protocols = own.iter().find(|(known, _)| known == number).map(|(_, protocols)| protocols.clone());
        let protocols = match (wanted, protocols) {
            ("", Some(protocols)) => protocols,
            ("", None) => vec!["TCP".to_owned()],
            (given, _) => vec![given.to_owned()],
        };
        for protocol in &protocols {
            let name = match (protocols.len(), numbers.len()) {
                (1, 1) => String::new(),
                (1, _) => format!("port-{}", index + 1),
                _ => format!("port-{}-{}", index + 1, protocol.to_lowercase()),
            };
            let mut port = json!({"port": number, "protocol": protocol});
            if !name.is_empty() {
                port["name"] = name.into();
            }
            port["targetPort"] =
                if target_port.is_empty() { (*number).into() } else { int_or_string(target_port) };
            made.push(port);
        }
    }
    let mut name = target.name.clone().unwrap_or_default();
    name.truncate(LONGEST_NAME);
    if !value(matches, "name").is_empty() {
        value(matches, "name").clone_into(&mut name);
    }
    let mut metadata = json!({"name": name});
    let labels = match value(matches, "labels") {
        "" => object["metadata"]["labels"].clone(),
        text => map(text)?.into(),
    };
    if labels.as_object().is_some_and(|map| !map.is_empty()) {
        metadata["labels"] = labels;
    }
    let mut spec = json!({"selector": selector});
    if !made.is_empty() {
        spec["ports"] = made.into();
    }
    let mut set = |field: &str, value: Value| spec[field] = value;
    if !value(matches, "external-ip").is_empty() {
        set("externalIPs", json!([value(matches, "external-ip")]));
    }
    let kind = value(matches, "type");
    if !kind.is_empty() {
        set("type", kind.into());
    }
    if kind == "LoadBalancer" && !value(matches, "load-balancer-ip").is_empty() {
        set("loadBalancerIP", value(matches, "load-balancer-ip").into());
    }
    match value(matches, "session-affinity") {
        "" => {}
        affinity @ ("None" | "ClientIP") => set("sessionAffinity", affinity.into()),
        other => return Err(message(format!("unknown session affinity: {other}"))),
    }
    if !address.is_empty() {
        set("clusterIP", address.into());
    }
    Ok(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_from_containers_and_services() {
        let deployment = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [
            {"ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}, {"ports": [{"containerPort": 53}]}]}}}});
        let text = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(ports(&deployment), [(80, text(&["TCP"])), (53, text(&["UDP", "TCP"]))]);
        assert_eq!(
            ports(&json!({"kind": "Service", "spec": {"ports": [{"port": 1}]}})),
            [(1, text(&["TCP"]))]
        );
        assert!(ports(&json!({"kind": "Pod"})).is_empty());
    }

    #[test]
    fn selectors_come_from_what_is_exposed() {
        let pod = json!({"kind": "Pod", "metadata": {"labels": {"a": "b"}}});
        assert_eq!(selector(&pod).unwrap(), json!({"a": "b"}));
        assert!(selector(&json!({"kind": "Pod"})).unwrap_err().contains("no labels"));
        assert!(selector(&json!({"kind": "Service", "spec": {}})).unwrap_err().contains("no pod selector"));
        assert!(
            selector(&json!({"kind": "Deployment", "spec": {}}))
                .unwrap_err()
                .starts_with("invalid deployment")
        );
    }
}
