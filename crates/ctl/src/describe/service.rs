//! The description of a service, with the endpoints of its slices.

use serde_json::Value;

use super::{Describe, annotations, events, items, labels, text};
use crate::connection::{JSON, with_query};
use crate::output::table::format_labels;
use crate::report::Error;

/// So many endpoints are shown a port.
const MAX_ENDPOINTS: usize = 3;

/// The service's text.
pub(super) async fn describe(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let slices = slices(describe, object).await;
    let mut out = layout(object, &slices);
    out += &events::section(describe, object, &[text(&object["metadata"], "uid")]).await;
    Ok(out)
}

/// The service's slices; none where they cannot be had.
async fn slices(describe: &Describe<'_>, object: &Value) -> Vec<Value> {
    let (namespace, name) = (text(&object["metadata"], "namespace"), text(&object["metadata"], "name"));
    let path = with_query(
        &format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
        &[("labelSelector", format!("kubernetes.io/service-name={name}")), ("limit", "500".to_owned())],
    );
    let Ok(connection) = describe.context.connection().await else { return Vec::new() };
    connection.get(&path, JSON).await.map_or_else(|_| Vec::new(), |list| items(&list, "items").to_vec())
}

fn layout(object: &Value, slices: &[Value]) -> String {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let mut out = format!("Name:\t{}\nNamespace:\t{}\n", text(metadata, "name"), text(metadata, "namespace"));
    out += &labels("Labels", &metadata["labels"]);
    out += &annotations(&metadata["annotations"]);
    out += &format!("Selector:\t{}\nType:\t{}\n", format_labels(&spec["selector"]), text(spec, "type"));
    if spec["ipFamilyPolicy"].is_string() {
        out += &format!("IP Family Policy:\t{}\n", text(spec, "ipFamilyPolicy"));
    }
    out += &format!("IP Families:\t{}\n", joined(spec, "ipFamilies").unwrap_or("<none>".to_owned()));
    out += &format!("IP:\t{}\n", text(spec, "clusterIP"));
    out += &format!("IPs:\t{}\n", joined(spec, "clusterIPs").unwrap_or("<none>".to_owned()));
    if let Some(addresses) = joined(spec, "externalIPs") {
        out += &format!("External IPs:\t{addresses}\n");
    }
    for (title, field) in [("Desired LoadBalancer IP", "loadBalancerIP"), ("External Name", "externalName")] {
        if !text(spec, field).is_empty() {
            out += &format!("{title}:\t{}\n", text(spec, field));
        }
    }
    let ingress = ingress(&object["status"]["loadBalancer"]);
    if !ingress.is_empty() {
        out += &format!("LoadBalancer Ingress:\t{ingress}\n");
    }
    for port in items(spec, "ports") {
        out += &port_lines(port, slices);
    }
    out += &format!("Session Affinity:\t{}\n", text(spec, "sessionAffinity"));
    for (title, field) in [
        ("External Traffic Policy", "externalTrafficPolicy"),
        ("Internal Traffic Policy", "internalTrafficPolicy"),
        ("TrafficDistribution", "trafficDistribution"),
    ] {
        if !text(spec, field).is_empty() {
            out += &format!("{title}:\t{}\n", text(spec, field));
        }
    }
    if let Some(port) = spec["healthCheckNodePort"].as_i64().filter(|port| *port != 0) {
        out += &format!("HealthCheck NodePort:\t{port}\n");
    }
    if let Some(ranges) = joined(spec, "loadBalancerSourceRanges") {
        out += &format!("LoadBalancer Source Ranges:\t{ranges}\n");
    }
    out
}

fn joined(value: &Value, field: &str) -> Option<String> {
    let parts: Vec<&str> = items(value, field).iter().filter_map(Value::as_str).collect();
    (!parts.is_empty()).then(|| parts.join(","))
}

fn ingress(status: &Value) -> String {
    let shown = items(status, "ingress").iter().map(|one| match text(one, "ip") {
        "" => text(one, "hostname").to_owned(),
        ip => match text(one, "ipMode") {
            "" => ip.to_owned(),
            mode => format!("{ip} ({mode})"),
        },
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn port_lines(port: &Value, slices: &[Value]) -> String {
    let name = if text(port, "name").is_empty() { "<unset>" } else { text(port, "name") };
    let protocol = text(port, "protocol");
    let mut out = format!("Port:\t{name}\t{}/{protocol}\n", port["port"]);
    let target = match &port["targetPort"] {
        Value::String(name) => name.clone(),
        number => number.to_string(),
    };
    out += &format!("TargetPort:\t{target}/{protocol}\n");
    if let Some(number) = port["nodePort"].as_i64().filter(|number| *number != 0) {
        out += &format!("NodePort:\t{name}\t{number}/{protocol}\n");
    }
    out + &format!("Endpoints:\t{}\n", endpoints(slices, text(port, "name")))
}

/// The ready endpoints of one port: the first three and how many more.
pub(super) fn endpoints(slices: &[Value], port: &str) -> String {
    if slices.is_empty() {
        return "<none>".to_owned();
    }
    let mut found = Vec::new();
    for slice in slices {
        let ready = items(slice, "endpoints")
            .iter()
            .filter(|one| one["conditions"]["ready"].as_bool().unwrap_or(true))
            .map(|one| one["addresses"][0].as_str().unwrap_or(""));
        if items(slice, "ports").is_empty() {
            found.extend(ready.map(str::to_owned));
            continue;
        }
        for one in items(slice, "ports").iter().filter(|one| text(one, "name") == port) {
            found.extend(ready.clone().map(|address| match address.contains(':') {
                true => format!("[{address}]:{}", one["port"]),
                false => format!("{address}:{}", one["port"]),
            }));
        }
    }
    let shown = found[..found.len().min(MAX_ENDPOINTS)].join(",");
    match found.len().saturating_sub(MAX_ENDPOINTS) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shows_three_ready_endpoints_and_counts_the_rest() {
        let slice = json!({
            "ports": [{"name": "http", "port": 80}, {"name": "other", "port": 81}],
            "endpoints": [
                {"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["fd00::3"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.4"]},
                {"addresses": ["10.0.0.5"]},
            ],
        });
        assert_eq!(endpoints(&[slice], "http"), "10.0.0.1:80,[fd00::3]:80,10.0.0.4:80 + 1 more...");
        assert_eq!(endpoints(&[], "http"), "<none>");
    }

    #[test]
    fn tells_what_a_service_has() {
        let service = json!({
            "metadata": {"name": "s", "namespace": "n"},
            "spec": {
                "type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "selector": {"a": "b"},
                "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP", "nodePort": 30000}],
            },
        });
        insta::assert_snapshot!(layout(&service, &[]), @r"
        Name:	s
        Namespace:	n
        Labels:	<none>
        Annotations:	<none>
        Selector:	a=b
        Type:	NodePort
        IP Family Policy:	SingleStack
        IP Families:	IPv4
        IP:	10.0.0.1
        IPs:	10.0.0.1
        Port:	<unset>	80/TCP
        TargetPort:	http/TCP
        NodePort:	<unset>	30000/TCP
        Endpoints:	<none>
        Session Affinity:	None
        ");
    }
}
