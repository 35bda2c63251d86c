//! One service of a Compose file: a Deployment, and a Service where it has ports.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::convert::{Read, Service, claim, entries, object_name, unknown};
use crate::duration;

/// What a service may say.
const KNOWN: [&str; 28] = [
    "image",
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "ports",
    "expose",
    "volumes",
    "depends_on",
    "healthcheck",
    "deploy",
    "scale",
    "restart",
    "secrets",
    "configs",
    "labels",
    "hostname",
    "user",
    "working_dir",
    "stdin_open",
    "tty",
    "privileged",
    "read_only",
    "cap_add",
    "cap_drop",
    "stop_grace_period",
    "container_name",
    "pull_policy",
];

/// A service's objects, those that it needs besides, and the services that come before it.
pub(super) struct Made {
    pub(super) service: Service,
    pub(super) shared: Vec<Value>,
    pub(super) after: Vec<String>,
}

struct Builder<'a> {
    path: String,
    given: &'a Value,
    problems: &'a mut Vec<String>,
}

impl Builder<'_> {
    fn problem(&mut self, field: &str, why: impl std::fmt::Display) {
        self.problems.push(format!("{}.{field}: {why}", self.path));
    }

    /// A list, or one text for a list of one.
    fn list(&mut self, field: &str) -> Vec<Value> {
        match &self.given[field] {
            Value::Null => Vec::new(),
            Value::Array(items) => items.clone(),
            text @ Value::String(_) => vec![text.clone()],
            _ => {
                self.problem(field, "it is no list");
                Vec::new()
            }
        }
    }

    /// `a=b` of a list, or a map.
    fn pairs(&mut self, field: &str) -> Vec<(String, Option<String>)> {
        match &self.given[field] {
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
            _ => {
                let items = self.list(field);
                let texts = items.iter().filter_map(Value::as_str);
                texts
                    .map(|text| match text.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                        None => (text.to_owned(), None),
                    })
                    .collect()
            }
        }
    }

    /// A command's words, of a list or of one text.
    fn words(&mut self, field: &str) -> Option<Vec<String>> {
        match &self.given[field] {
            Value::Null => None,
            Value::String(text) => match split(text) {
                Some(words) => Some(words),
                None => {
                    self.problem(field, "a quote is not closed");
                    None
                }
            },
            Value::Array(items) => Some(items.iter().filter_map(plain).collect()),
            _ => {
                self.problem(field, "it is no list");
                None
            }
        }
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Words as a shell splits them.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for letter in text.chars() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (None, '\'' | '"') => (quote, open) = (Some(letter), true),
            (None, letter) if letter.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, letter) => word.push(letter),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

/// Converts one.
pub(super) fn convert(
    name: &str,
    given: &Value,
    document: &Value,
    folder: &Path,
    read: Read,
    problems: &mut Vec<String>,
) -> Made {
    let path = format!("services.{name}");
    unknown(given, &KNOWN, &path, problems);
    let own = object_name(name);
    let mut builder = Builder { path, given, problems };
    let mut container = Map::new();
    container.insert("name".to_owned(), own.as_str().into());
    match given["image"].as_str() {
        Some(image) => drop(container.insert("image".to_owned(), image.into())),
        None => builder.problem("image", "there is none"),
    }
    // Compose takes the image that the engine has; Kubernetes would ask the registry for the newest.
    let policy = match given["pull_policy"].as_str().unwrap_or("missing") {
        "missing" | "if_not_present" => "IfNotPresent",
        "always" => "Always",
        "never" => "Never",
        other => {
            builder.problem("pull_policy", format!("{other:?} is not always, missing or never"));
            ""
        }
    };
    container.insert("imagePullPolicy".to_owned(), policy.into());
    for (field, target) in [("entrypoint", "command"), ("command", "args")] {
        if let Some(words) = builder.words(field) {
            container.insert(target.to_owned(), json!(words));
        }
    }
    let env = environment(&mut builder, read);
    if !env.is_empty() {
        container.insert("env".to_owned(), env.into());
    }
    let ports = ports(&mut builder);
    if !ports.is_empty() {
        let all: Vec<Value> = ports
            .iter()
            .map(|port| json!({"containerPort": port.target, "protocol": port.protocol}))
            .collect();
        container.insert("ports".to_owned(), all.into());
    }
    if let Some(directory) = given["working_dir"].as_str() {
        container.insert("workingDir".to_owned(), directory.into());
    }
    for (field, target) in [("stdin_open", "stdin"), ("tty", "tty")] {
        if given[field] == true {
            container.insert(target.to_owned(), true.into());
        }
    }
    security(&mut builder, &mut container);
    healthcheck(&mut builder, &mut container);
    let replicas = deploy(&mut builder, &mut container);
    let (volumes, mounts, shared) = volumes(&mut builder, &own, document, folder);
    if !mounts.is_empty() {
        container.insert("volumeMounts".to_owned(), mounts.into());
    }
    let (after, after_healthy) = dependencies(&mut builder);
    if !matches!(given["restart"].as_str(), None | Some("always" | "unless-stopped" | "on-failure")) {
        builder.problem(
            "restart",
            "only always, unless-stopped and on-failure are mapped: a deployment's pods restart",
        );
    }

    let mut pod = json!({"containers": [container]});
    if !volumes.is_empty() {
        pod["volumes"] = volumes.into();
    }
    if let Some(hostname) = given["hostname"].as_str() {
        pod["hostname"] = hostname.into();
    }
    if let Some(grace) = given["stop_grace_period"].as_str() {
        match duration::parse(grace) {
            Some(grace) => pod["terminationGracePeriodSeconds"] = grace.as_secs().into(),
            None => builder.problem("stop_grace_period", format!("{grace:?} is no duration")),
        }
    }
    let annotations: Map<String, Value> = builder
        .pairs("labels")
        .into_iter()
        .map(|(key, value)| (key, value.unwrap_or_default().into()))
        .collect();
    let labels = json!({"app.kubernetes.io/name": own});
    let mut metadata = json!({"name": own, "labels": labels});
    if !annotations.is_empty() {
        metadata["annotations"] = annotations.into();
    }
    let mut objects = vec![json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })];
    if !ports.is_empty() {
        let all: Vec<Value> = ports.iter().map(Port::of_service).collect();
        let kind = if ports.iter().any(|port| port.published) { "LoadBalancer" } else { "ClusterIP" };
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": own, "labels": labels},
            "spec": {"type": kind, "selector": labels, "ports": all},
        }));
    }
    let service = Service {
        name: name.to_owned(),
        objects,
        after_healthy: after_healthy.iter().map(|name| object_name(name)).collect(),
    };
    Made { service, shared, after }
}

fn environment(builder: &mut Builder, read: Read) -> Vec<Value> {
    let mut all: Vec<(String, String)> = Vec::new();
    for file in builder.list("env_file") {
        let name = file.as_str().or(file["path"].as_str()).unwrap_or("").to_owned();
        match read(&name) {
            Ok(text) => {
                let lines =
                    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                all.extend(
                    lines
                        .filter_map(|line| line.split_once('='))
                        .map(|(key, value)| (key.to_owned(), value.to_owned())),
                );
            }
            Err(why) => builder.problem("env_file", why),
        }
    }
    // A variable without a value is that of whoever starts it: nobody's, in a cluster.
    all.extend(builder.pairs("environment").into_iter().filter_map(|(key, value)| Some((key, value?))));
    all.into_iter().map(|(key, value)| json!({"name": key, "value": value})).collect()
}

struct Port {
    number: u16,
    target: u16,
    protocol: String,
    published: bool,
}

impl Port {
    fn of_service(&self) -> Value {
        let name = format!("{}-{}", self.number, self.protocol.to_lowercase());
        json!({"name": name, "port": self.number, "protocol": self.protocol, "targetPort": self.target})
    }
}

fn ports(builder: &mut Builder) -> Vec<Port> {
    let mut found: Vec<Port> = Vec::new();
    let number = |value: &Value| plain(value).and_then(|text| text.parse::<u16>().ok());
    for item in builder.list("ports") {
        if item.is_object() {
            let path = format!("{}.ports", builder.path);
            unknown(&item, &["target", "published", "protocol", "mode", "name"], &path, builder.problems);
            let Some(target) = number(&item["target"]) else {
                builder.problem("ports", "a port has no target");
                continue;
            };
            let protocol = item["protocol"].as_str().unwrap_or("tcp").to_uppercase();
            let number = number(&item["published"]).unwrap_or(target);
            found.push(Port { number, target, protocol, published: true });
            continue;
        }
        let text = plain(&item).unwrap_or_default();
        let (numbers, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        // An address in front says where the host listens; a load balancer has its own.
        let parts: Vec<&str> = numbers.rsplit(':').take(2).collect();
        let parsed: Option<Vec<u16>> = parts.iter().map(|part| part.parse().ok()).collect();
        match parsed.as_deref() {
            Some([target]) => found.push(Port {
                number: *target,
                target: *target,
                protocol: protocol.to_uppercase(),
                published: true,
            }),
            Some([target, number]) => found.push(Port {
                number: *number,
                target: *target,
                protocol: protocol.to_uppercase(),
                published: true,
            }),
            _ => builder.problem("ports", format!("{text:?} is no port")),
        }
    }
    for item in builder.list("expose") {
        match number(&item) {
            Some(target) if found.iter().all(|port| port.target != target) => {
                found.push(Port { number: target, target, protocol: "TCP".to_owned(), published: false });
            }
            Some(_) => {}
            None => builder.problem("expose", format!("{item} is no port")),
        }
    }
    found
}

fn security(builder: &mut Builder, container: &mut Map<String, Value>) {
    let given = builder.given;
    let mut security = Map::new();
    if given["privileged"] == true {
        security.insert("privileged".to_owned(), true.into());
    }
    if given["read_only"] == true {
        security.insert("readOnlyRootFilesystem".to_owned(), true.into());
    }
    let capabilities: Map<String, Value> = [("cap_add", "add"), ("cap_drop", "drop")]
        .into_iter()
        .filter_map(|(field, target)| Some((target.to_owned(), given[field].as_array()?.clone().into())))
        .collect();
    if !capabilities.is_empty() {
        security.insert("capabilities".to_owned(), capabilities.into());
    }
    if let Some(user) = plain(&given["user"]) {
        let (user, group) =
            user.split_once(':').map_or((user.as_str(), None), |(user, group)| (user, Some(group)));
        for (field, text) in [("runAsUser", Some(user)), ("runAsGroup", group)] {
            match text.map(str::parse::<i64>) {
                Some(Ok(id)) => drop(security.insert(field.to_owned(), id.into())),
                Some(Err(_)) => builder
                    .problem("user", "only numbers are mapped: a cluster does not know the image's names"),
                None => {}
            }
        }
    }
    if !security.is_empty() {
        container.insert("securityContext".to_owned(), security.into());
    }
}

/// A health check is a readiness probe: who is not well gets no traffic.
fn healthcheck(builder: &mut Builder, container: &mut Map<String, Value>) {
    let check = &builder.given["healthcheck"];
    if check.is_null() || check["disable"] == true {
        return;
    }
    let path = format!("{}.healthcheck", builder.path);
    unknown(
        check,
        &["test", "interval", "timeout", "retries", "start_period", "disable"],
        &path,
        builder.problems,
    );
    let words: Vec<String> = match &check["test"] {
        Value::String(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        other => other.as_array().into_iter().flatten().filter_map(plain).collect(),
    };
    let command = match words.split_first() {
        Some((first, _)) if first == "NONE" => return,
        Some((first, rest)) if first == "CMD" => rest.to_vec(),
        Some((first, rest)) if first == "CMD-SHELL" => {
            ["/bin/sh".to_owned(), "-c".to_owned()].into_iter().chain(rest.iter().cloned()).collect()
        }
        _ => return builder.problem("healthcheck.test", "it begins with CMD, CMD-SHELL or NONE"),
    };
    let mut probe = json!({"exec": {"command": command}});
    for (field, target) in [
        ("interval", "periodSeconds"),
        ("timeout", "timeoutSeconds"),
        ("start_period", "initialDelaySeconds"),
    ] {
        if let Some(text) = check[field].as_str() {
            match duration::parse(text) {
                Some(span) => probe[target] = span.as_secs().max(1).into(),
                None => builder.problem(&format!("healthcheck.{field}"), format!("{text:?} is no duration")),
            }
        }
    }
    if let Some(retries) = check["retries"].as_u64() {
        probe["failureThreshold"] = retries.max(1).into();
    }
    container.insert("readinessProbe".to_owned(), probe);
}

/// Resources go to the container; the answer is the number of replicas.
fn deploy(builder: &mut Builder, container: &mut Map<String, Value>) -> u64 {
    let deploy = &builder.given["deploy"];
    let path = format!("{}.deploy", builder.path);
    unknown(deploy, &["replicas", "resources"], &path, builder.problems);
    let resources = &deploy["resources"];
    unknown(resources, &["limits", "reservations"], &format!("{path}.resources"), builder.problems);
    let mut made = Map::new();
    for (field, target) in [("limits", "limits"), ("reservations", "requests")] {
        unknown(
            &resources[field],
            &["cpus", "memory"],
            &format!("{path}.resources.{field}"),
            builder.problems,
        );
        let amounts: Map<String, Value> = [("cpus", "cpu"), ("memory", "memory")]
            .into_iter()
            .filter_map(|(from, to)| Some((to.to_owned(), plain(&resources[field][from])?.into())))
            .collect();
        if !amounts.is_empty() {
            made.insert(target.to_owned(), amounts.into());
        }
    }
    if !made.is_empty() {
        container.insert("resources".to_owned(), made.into());
    }
    deploy["replicas"].as_u64().or(builder.given["scale"].as_u64()).unwrap_or(1)
}

fn dependencies(builder: &mut Builder) -> (Vec<String>, Vec<String>) {
    let (mut after, mut healthy) = (Vec::new(), Vec::new());
    if let Value::Object(map) = &builder.given["depends_on"] {
        for (name, how) in map.clone() {
            match how["condition"].as_str() {
                None | Some("service_started") => {}
                Some("service_healthy") => healthy.push(name.clone()),
                Some(other) => builder.problem("depends_on", format!("{other} is not mapped")),
            }
            after.push(name);
        }
    } else {
        after.extend(builder.list("depends_on").iter().filter_map(|name| name.as_str().map(str::to_owned)));
    }
    (after, healthy)
}

/// Volumes of the pod, mounts of the container, and claims of volumes without a name.
fn volumes(
    builder: &mut Builder,
    own: &str,
    document: &Value,
    folder: &Path,
) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
    let (mut volumes, mut mounts, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    for (index, item) in builder.list("volumes").iter().enumerate() {
        let (source, target, read_only) = match item {
            Value::Object(_) => {
                let path = format!("{}.volumes", builder.path);
                unknown(item, &["type", "source", "target", "read_only"], &path, builder.problems);
                let text = |field: &str| item[field].as_str().unwrap_or("").to_owned();
                if text("type") == "tmpfs" {
                    let name = format!("volume-{index}");
                    volumes.push(json!({"name": name, "emptyDir": {"medium": "Memory"}}));
                    mounts.push(json!({"name": name, "mountPath": text("target")}));
                    continue;
                }
                (text("source"), text("target"), item["read_only"] == true)
            }
            _ => {
                let text = item.as_str().unwrap_or("");
                match text.split(':').collect::<Vec<_>>()[..] {
                    [target] => (String::new(), target.to_owned(), false),
                    [source, target] => (source.to_owned(), target.to_owned(), false),
                    [source, target, options] => {
                        (source.to_owned(), target.to_owned(), options.split(',').any(|one| one == "ro"))
                    }
                    _ => {
                        builder.problem("volumes", format!("{text:?} is no volume"));
                        continue;
                    }
                }
            }
        };
        let name = format!("volume-{index}");
        volumes.push(if source.starts_with(['.', '/', '~']) {
            let path = if source.starts_with('/') {
                source
            } else {
                folder.join(source.trim_start_matches("./")).display().to_string()
            };
            let path = std::path::absolute(&path).map_or(path, |path| path.display().to_string());
            json!({"name": name, "hostPath": {"path": path}})
        } else {
            let claimed = if source.is_empty() {
                let claimed = format!("{own}-{name}");
                shared.push(claim(&claimed));
                claimed
            } else {
                if entries(&document["volumes"]).all(|(known, _)| *known != source) {
                    builder.problem("volumes", format!("there is no volume {source:?}"));
                }
                object_name(&source)
            };
            json!({"name": name, "persistentVolumeClaim": {"claimName": claimed}})
        });
        let mut mount = json!({"name": name, "mountPath": target});
        if read_only {
            mount["readOnly"] = true.into();
        }
        mounts.push(mount);
    }
    for (list, kind, field, folder) in
        [("secrets", "secret", "secretName", "/run/secrets"), ("configs", "configMap", "name", "")]
    {
        for item in builder.list(list) {
            let source = item.as_str().or(item["source"].as_str()).unwrap_or("").to_owned();
            let path = format!("{}.{list}", builder.path);
            unknown(&item, &["source", "target"], &path, builder.problems);
            if entries(&document[list]).all(|(known, _)| *known != source) {
                builder.problem(list, format!("there is no {source:?}"));
            }
            let target = match item["target"].as_str() {
                Some(target) if target.starts_with('/') => target.to_owned(),
                target => format!("{folder}/{}", target.unwrap_or(&source)),
            };
            let name = format!("{kind}-{}", object_name(&source)).to_lowercase();
            volumes.push(json!({"name": name, kind: {field: object_name(&source)}}));
            mounts.push(json!({"name": name, "mountPath": target, "subPath": source, "readOnly": true}));
        }
    }
    (volumes, mounts, shared)
}
