//! A small API server for tests: the objects and tables of `testdata/cluster.json`, on a port of its own.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Whether the server knows aggregated discovery.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Discovery {
    Aggregated,
    Legacy,
}

/// The server; it ends with the test's runtime.
pub(super) struct Fake {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub(super) async fn start(discovery: Discovery) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let data: Arc<Value> =
            Arc::new(serde_json::from_str(include_str!("../../testdata/cluster.json")).unwrap());
        let log = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, data.clone(), discovery, log.clone()));
            }
        });
        Self { url, requests }
    }

    /// `METHOD path?query body` of each request so far, discovery left out.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().filter(|line| !line.contains("timeout=32s")).cloned().collect()
    }
}

async fn serve(mut stream: TcpStream, data: Arc<Value>, discovery: Discovery, log: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    let (head, body) = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length =
                header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0_usize);
            if bytes.len() >= end + 4 + length {
                break (head, String::from_utf8_lossy(&bytes[end + 4..]).into_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    };
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    log.lock().unwrap().push(format!("{method} {target} {body}").trim_end().to_owned());
    let (code, media, text) =
        answer(&data, discovery, method, target, &header(&head, "accept").unwrap_or_default(), &body);
    let warning = if body.contains("\"warned\"") { "Warning: 299 - \"be careful\"\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: {media}\r\n{warning}Content-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

type Answer = (u16, String, String);

fn ok(value: &Value) -> Answer {
    (200, "application/json".to_owned(), value.to_string())
}

fn failure(code: u16, reason: &str, message: &str, details: Value) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "details": details, "code": code});
    (code, "application/json".to_owned(), status.to_string())
}

/// Path, kind, singular, whether it has namespaces, short names, categories.
type Served =
    (&'static str, &'static str, &'static str, bool, &'static [&'static str], &'static [&'static str]);

/// Every collection.
const SERVED: &[Served] = &[
    ("api/v1/configmaps", "ConfigMap", "configmap", true, &["cm"], &[]),
    ("api/v1/events", "Event", "event", true, &["ev"], &[]),
    ("api/v1/namespaces", "Namespace", "namespace", false, &["ns"], &[]),
    ("api/v1/nodes", "Node", "node", false, &["no"], &[]),
    ("api/v1/pods", "Pod", "pod", true, &["po"], &["all"]),
    ("api/v1/secrets", "Secret", "secret", true, &[], &[]),
    ("api/v1/services", "Service", "service", true, &["svc"], &["all"]),
    ("apis/apps/v1/deployments", "Deployment", "deployment", true, &["deploy"], &["all"]),
    ("apis/coordination.k8s.io/v1/leases", "Lease", "lease", true, &[], &[]),
    (
        "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicy",
        false,
        &[],
        &["api-extensions"],
    ),
];

fn served(root: &str) -> Vec<Value> {
    SERVED
        .iter()
        .filter(|one| one.0.rsplit_once('/').is_some_and(|(parent, _)| parent == root))
        .map(|(path, kind, singular, namespaced, short, categories)| {
            let name = path.rsplit('/').next().unwrap();
            let verbs = ["create", "delete", "get", "list", "watch"];
            json!({
                "resource": name, "responseKind": {"kind": kind}, "scope": if *namespaced { "Namespaced" } else { "Cluster" },
                "name": name, "singularName": singular, "kind": kind, "namespaced": namespaced,
                "singularResource": singular, "shortNames": short, "categories": categories, "verbs": verbs,
            })
        })
        .collect()
}

const GROUPS: &[&str] = &["apps", "admissionregistration.k8s.io", "coordination.k8s.io"];

fn discovery_answer(discovery: Discovery, path: &str, accept: &str) -> Option<Answer> {
    let aggregated = discovery == Discovery::Aggregated
        && accept.contains("g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList".to_owned();
    let list = |items: Vec<Value>| json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items});
    let version = |root: &str| json!([{"version": "v1", "resources": served(root), "freshness": "Current"}]);
    match path {
        "api" if aggregated => {
            Some((200, media, list(vec![json!({"metadata": {}, "versions": version("api/v1")})]).to_string()))
        }
        "apis" if aggregated => {
            let items = GROUPS.iter().map(|group| json!({"metadata": {"name": group}, "versions": version(&format!("apis/{group}/v1"))}));
            Some((200, media, list(items.collect()).to_string()))
        }
        "api" => Some(ok(&json!({"kind": "APIVersions", "versions": ["v1"]}))),
        "apis" => {
            let groups: Vec<Value> = GROUPS
                .iter()
                .map(|group| json!({"name": group, "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}))
                .collect();
            Some(ok(&json!({"kind": "APIGroupList", "groups": groups})))
        }
        "api/v1" => Some(ok(&json!({"kind": "APIResourceList", "resources": served(path)}))),
        "version" => Some(ok(&json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2"}))),
        _ if path.starts_with("apis/") && path.split('/').count() == 3 => {
            Some(ok(&json!({"kind": "APIResourceList", "resources": served(path)})))
        }
        _ => None,
    }
}

fn answer(
    data: &Value,
    discovery: Discovery,
    method: &str,
    target: &str,
    accept: &str,
    body: &str,
) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_matches('/');
    if let Some(found) = discovery_answer(discovery, path, accept) {
        return found;
    }
    let parts: Vec<&str> = path.split('/').collect();
    let root_length = if parts[0] == "api" { 2 } else { 3 };
    if parts.len() <= root_length {
        return failure(404, "NotFound", "the server could not find the requested resource", json!({}));
    }
    let (root, mut rest) = (parts[..root_length].join("/"), &parts[root_length..]);
    let mut namespace = None;
    if rest[0] == "namespaces" && rest.len() >= 3 {
        namespace = Some(rest[1]);
        rest = &rest[2..];
    }
    let resource = rest[0];
    match namespace {
        Some("forbidden") => {
            let text = "pods is forbidden: User \"u\" cannot list resource \"pods\" in API group \"\" in the namespace \"forbidden\"";
            return failure(403, "Forbidden", text, json!({"kind": "pods"}));
        }
        Some("unauthorized") => return failure(401, "Unauthorized", "Unauthorized", json!({})),
        Some("invalid") => {
            let causes = json!([{"message": "Required value", "field": "spec.a"}, {"message": "Invalid value: 1: no", "field": "spec.b"}]);
            return failure(
                422,
                "Invalid",
                "Pod \"x\" is invalid",
                json!({"name": "x", "kind": "Pod", "causes": causes}),
            );
        }
        _ => {}
    }
    let all: Vec<&Value> = data["objects"][format!("{root}/{resource}")]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|object| namespace.is_none_or(|name| object["metadata"]["namespace"] == name))
        .collect();
    let table = accept.contains("as=Table");
    if method == "POST" {
        let mut object: Value = serde_json::from_str(body).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
        if all.iter().any(|one| one["metadata"]["name"] == name) {
            let details = json!({"name": name, "kind": resource});
            return failure(409, "AlreadyExists", &format!("{resource} {name:?} already exists"), details);
        }
        object["metadata"]["uid"] = "made".into();
        return ok(&object);
    }
    if let Some(name) = rest.get(1) {
        let Some(object) = all.iter().find(|one| one["metadata"]["name"] == *name) else {
            let details = json!({"name": name, "kind": resource});
            return failure(404, "NotFound", &format!("{resource} {name:?} not found"), details);
        };
        if rest.get(2) == Some(&"log") {
            return (200, "text/plain".to_owned(), format!("{query}\nlast"));
        }
        if method == "DELETE" {
            return ok(
                &json!({"kind": "Status", "status": "Success", "details": {"name": name, "uid": "gone"}}),
            );
        }
        return ok(&if table { as_table(data, resource, &[object], true) } else { (*object).clone() });
    }
    let query = query.replace("%3D", "=").replace("%2C", ",").replace("%21", "!");
    let value = |key: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(&format!("{key}="))).unwrap_or("").to_owned()
    };
    let found: Vec<&Value> = all
        .into_iter()
        .filter(|object| selected(object, &value("labelSelector"), &value("fieldSelector")))
        .collect();
    if query.contains("watch=true") {
        let mut lines = String::new();
        for (index, object) in found.iter().enumerate() {
            let object =
                if table { as_table(data, resource, &[object], index == 0) } else { (*object).clone() };
            lines += &format!(
                "{}\n",
                json!({"type": if index == 0 { "MODIFIED" } else { "DELETED" }, "object": object})
            );
        }
        return (200, "application/json".to_owned(), lines);
    }
    // Pages of two, to see that all of them are asked for.
    let start: usize = value("continue").parse().unwrap_or(0);
    let page = &found[start.min(found.len())..found.len().min(start + 2)];
    let mut metadata = json!({"resourceVersion": "500"});
    if start + 2 < found.len() {
        metadata["continue"] = (start + 2).to_string().into();
    }
    let mut list = if table {
        as_table(data, resource, page, true)
    } else {
        let kind = SERVED.iter().find(|one| one.0 == format!("{root}/{resource}")).map_or("", |one| one.1);
        let items: Vec<Value> = page
            .iter()
            .map(|object| {
                let mut object = (*object).clone();
                object.as_object_mut().unwrap().retain(|key, _| key != "kind" && key != "apiVersion");
                object
            })
            .collect();
        json!({"kind": format!("{kind}List"), "apiVersion": root.split_once('/').unwrap().1, "items": items})
    };
    list["metadata"] = metadata;
    ok(&list)
}

fn selected(object: &Value, labels: &str, fields: &str) -> bool {
    let label = labels.split(',').filter(|term| !term.is_empty()).all(|term| {
        let (key, value) = term.split_once('=').unwrap_or((term, ""));
        object["metadata"]["labels"][key] == value.trim_start_matches('=')
    });
    label
        && fields.split(',').filter(|term| !term.is_empty()).all(|term| {
            let (key, value) = term.split_once('=').unwrap_or((term, ""));
            let found = key.trim_end_matches('!').split('.').fold(object, |value, name| &value[name]);
            (found.as_str().unwrap_or("") == value) != key.ends_with('!')
        })
}

fn as_table(data: &Value, resource: &str, objects: &[&Value], columns: bool) -> Value {
    let known = &data["tables"][resource];
    let definitions = if known.is_null() {
        json!([{"name": "Name", "type": "string", "format": "name", "priority": 0}])
    } else {
        known["columnDefinitions"].clone()
    };
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = &known["cells"][object["metadata"]["name"].as_str().unwrap()];
            let cells = if cells.is_null() { json!([object["metadata"]["name"]]) } else { cells.clone() };
            json!({"cells": cells, "object": {"kind": "PartialObjectMetadata", "metadata": object["metadata"]}})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "500"},
        "columnDefinitions": if columns { definitions } else { json!([]) }, "rows": rows,
    })
}
