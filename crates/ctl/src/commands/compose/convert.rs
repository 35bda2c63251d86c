//! A Compose file as objects: pure but for the files that it names.
//!
//! A service becomes a Deployment, and a Service where it has ports; a named volume becomes a claim, a secret and a config
//! what they are called here.
//! **Upstream.** The Compose specification; `kompose convert` for what is usual.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::service;

/// A claim's size: Compose knows none.
const SIZE: &str = "1Gi";

/// Reads a file beside the Compose file.
pub(super) type Read<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// One service's objects.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) objects: Vec<Value>,
    /// Services that must be healthy before.
    pub(super) after_healthy: Vec<String>,
}

/// Everything, in the order in which it is to be made.
#[derive(Debug)]
pub(super) struct Converted {
    /// Claims, Secrets, ConfigMaps.
    pub(super) shared: Vec<Value>,
    pub(super) services: Vec<Service>,
}

impl Converted {
    /// All objects, in order.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Value> {
        self.shared.iter().chain(self.services.iter().flat_map(|service| &service.objects))
    }
}

/// Converts a file; an error is everything that cannot be mapped.
pub(super) fn convert(
    document: &Value,
    folder: &Path,
    read: Read,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Converted, Vec<String>> {
    let mut problems = Vec::new();
    let document = interpolated(document, variable, &mut problems);
    for (key, value) in document.as_object().into_iter().flatten() {
        let known =
            matches!(key.as_str(), "version" | "name" | "services" | "volumes" | "secrets" | "configs")
                || key.starts_with("x-")
                || key == "networks" && is_default_network(value);
        if !known {
            problems.push(format!("{key}: not mapped"));
        }
    }
    let mut shared = Vec::new();
    for (name, given) in entries(&document["volumes"]) {
        unknown(given, &[], &format!("volumes.{name}"), &mut problems);
        shared.push(claim(&object_name(name)));
    }
    for (list, kind) in [("secrets", "Secret"), ("configs", "ConfigMap")] {
        for (name, given) in entries(&document[list]) {
            let path = format!("{list}.{name}");
            unknown(given, &["file", "content", "environment"], &path, &mut problems);
            let content =
                match (given["file"].as_str(), given["content"].as_str(), given["environment"].as_str()) {
                    (Some(file), None, None) => read(file),
                    (None, Some(content), None) => Ok(content.to_owned()),
                    (None, None, Some(name)) => {
                        variable(name).ok_or_else(|| format!("the variable {name} is not set"))
                    }
                    _ => Err("give one of file, content and environment".to_owned()),
                };
            match content {
                Ok(content) => {
                    let field = if kind == "Secret" { "stringData" } else { "data" };
                    shared.push(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": object_name(name)}, field: {name: content}}));
                }
                Err(why) => problems.push(format!("{path}: {why}")),
            }
        }
    }
    let mut services = Vec::new();
    for (name, given) in entries(&document["services"]) {
        let mut made = service::convert(name, given, &document, folder, read, &mut problems);
        shared.append(&mut made.shared);
        services.push((made.service, made.after));
    }
    if services.is_empty() {
        problems.push("services: there are none".to_owned());
    }
    let services = ordered(services, &mut problems);
    if problems.is_empty() { Ok(Converted { shared, services }) } else { Err(problems) }
}

/// Services behind those that they depend on.
fn ordered(mut left: Vec<(Service, Vec<String>)>, problems: &mut Vec<String>) -> Vec<Service> {
    let all: Vec<String> = left.iter().map(|(service, _)| service.name.clone()).collect();
    for (service, after) in &left {
        for other in after.iter().filter(|other| !all.contains(other)) {
            problems.push(format!("services.{}.depends_on: there is no service {other:?}", service.name));
        }
    }
    let mut done: Vec<Service> = Vec::new();
    while !left.is_empty() {
        let ready = |after: &[String]| {
            after.iter().all(|other| done.iter().any(|one| one.name == *other) || !all.contains(other))
        };
        let Some(place) = left.iter().position(|(_, after)| ready(after)) else {
            let names: Vec<&str> = left.iter().map(|(service, _)| service.name.as_str()).collect();
            problems.push(format!("services: {} depend on each other", names.join(", ")));
            return done;
        };
        done.push(left.remove(place).0);
    }
    done
}

/// A map's entries; an entry may be empty.
pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Names every field that is not among the known ones.
pub(super) fn unknown(given: &Value, known: &[&str], path: &str, problems: &mut Vec<String>) {
    for key in given.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !known.contains(&key.as_str()) && !key.starts_with("x-") {
            problems.push(format!("{path}.{key}: not mapped"));
        }
    }
}

/// One network for all is what a cluster is.
fn is_default_network(value: &Value) -> bool {
    entries(value).all(|(name, given)| name == "default" && given.as_object().is_none_or(Map::is_empty))
}

/// A name that an object may have.
pub(super) fn object_name(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

pub(super) fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": SIZE}}},
    })
}

/// The document with `${NAME}`, `${NAME:-default}` and `$NAME` in texts replaced; `$$` is a dollar.
fn interpolated(
    value: &Value,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> Value {
    match value {
        Value::String(text) => match expand(text, variable) {
            Ok(text) => text.into(),
            Err(why) => {
                problems.push(why);
                Value::Null
            }
        },
        Value::Array(items) => items.iter().map(|item| interpolated(item, variable, problems)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), interpolated(value, variable, problems))).collect()
        }
        other => other.clone(),
    }
}

fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (inner, after) =
                after.split_once('}').ok_or_else(|| format!("{text:?}: a brace is not closed"))?;
            rest = after;
            let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
            let (name, operator) = inner.split_at(end);
            let value = variable(name);
            let filled = value.clone().filter(|value| !value.is_empty());
            out += &match operator.as_bytes() {
                [] => value.unwrap_or_default(),
                [b':', b'-', ..] => filled.unwrap_or_else(|| operator[2..].to_owned()),
                [b'-', ..] => value.unwrap_or_else(|| operator[1..].to_owned()),
                [b':', b'?', ..] => {
                    filled.ok_or_else(|| format!("the variable {name} is not set: {}", &operator[2..]))?
                }
                [b'?', ..] => {
                    value.ok_or_else(|| format!("the variable {name} is not set: {}", &operator[1..]))?
                }
                _ => return Err(format!("{text:?}: {operator:?} is not mapped")),
            };
        } else {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            if end == 0 {
                out.push('$');
            }
            out += &variable(&rest[..end]).unwrap_or_default();
            rest = &rest[end..];
        }
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Converted, Vec<String>> {
        let document = crate::yaml_input::parse(text).unwrap();
        let read = |name: &str| match name {
            "a.env" => Ok("X=1\n# comment\nY=2\n".to_owned()),
            "s.txt" => Ok("secret".to_owned()),
            other => Err(format!("open {other}: no such file or directory")),
        };
        convert(&document, Path::new("/srv"), &read, &|name| (name == "TAG").then(|| "7".to_owned()))
    }

    #[test]
    fn services_become_deployments_in_the_order_of_their_dependencies() {
        let made = run(r#"
services:
  web:
    image: web:${TAG}
    command: serve --port 80
    entrypoint: ["/bin/app"]
    environment: {A: "1", B: null, PRICE: "$$5"}
    env_file: a.env
    ports: ["8080:80", "127.0.0.1:9090:90/udp"]
    volumes: ["data:/data", "./conf:/etc/app:ro", "/cache"]
    depends_on: {db: {condition: service_healthy}}
    deploy: {replicas: 3, resources: {limits: {cpus: "0.5", memory: 64M}}}
    secrets: [key]
  db:
    image: db
    healthcheck: {test: [CMD, ready], interval: 5s, retries: 2, start_period: 1m}
    expose: ["5432"]
volumes: {data: }
secrets: {key: {file: s.txt}}
"#)
        .unwrap();
        assert_eq!(made.services.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["db", "web"]);
        assert_eq!(made.services[1].after_healthy, ["db"]);
        let deployment = &made.services[1].objects[0];
        assert_eq!(deployment["spec"]["replicas"], 3);
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["image"], "web:7");
        assert_eq!(
            (&container["command"], &container["args"]),
            (&json!(["/bin/app"]), &json!(["serve", "--port", "80"]))
        );
        assert_eq!(
            container["env"],
            json!([{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}, {"name": "A", "value": "1"}, {"name": "PRICE", "value": "$5"}])
        );
        assert_eq!(container["resources"], json!({"limits": {"cpu": "0.5", "memory": "64M"}}));
        assert_eq!(pod["volumes"][1], json!({"name": "volume-1", "hostPath": {"path": "/srv/conf"}}));
        assert_eq!(container["volumeMounts"][1]["readOnly"], true);
        let service = &made.services[1].objects[1];
        assert_eq!(service["spec"]["type"], "LoadBalancer");
        assert_eq!(
            service["spec"]["ports"][1],
            json!({"name": "9090-udp", "port": 9090, "protocol": "UDP", "targetPort": 90})
        );
        let db = &made.services[0].objects;
        assert_eq!(db[1]["spec"]["ports"][0]["port"], 5432);
        let probe = &db[0]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"];
        assert_eq!(
            probe,
            &json!({"exec": {"command": ["ready"]}, "periodSeconds": 5, "failureThreshold": 2, "initialDelaySeconds": 60})
        );
        assert_eq!(made.shared[0]["kind"], "PersistentVolumeClaim");
        assert_eq!(made.shared[1]["stringData"], json!({"key": "secret"}));
    }

    #[test]
    fn what_cannot_be_mapped_is_named() {
        let table = [
            ("services: {a: {build: .}}", "services.a.build: not mapped"),
            ("services: {a: {image: i, network_mode: host}}", "services.a.network_mode: not mapped"),
            ("services: {a: {image: i, deploy: {mode: global}}}", "services.a.deploy.mode: not mapped"),
            ("services: {a: {image: i}}\nnetworks: {front: {}}", "networks: not mapped"),
            (
                "services: {a: {image: i, depends_on: [b]}}",
                "services.a.depends_on: there is no service \"b\"",
            ),
            (
                "services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [a]}}",
                "services: a, b depend on each other",
            ),
            (
                "services: {a: {image: i, volumes: [\"nope:/x\"]}}",
                "services.a.volumes: there is no volume \"nope\"",
            ),
            ("services: {a: {image: i, ports: [\"x\"]}}", "services.a.ports: \"x\" is no port"),
            ("services: {a: {image: \"${NOPE:?must be set}\"}}", "the variable NOPE is not set: must be set"),
            (
                "services: {a: {image: i, env_file: none.env}}",
                "services.a.env_file: open none.env: no such file or directory",
            ),
            ("{}", "services: there are none"),
        ];
        for (text, wanted) in table {
            let problems = run(text).expect_err(text);
            assert!(problems.iter().any(|problem| problem == wanted), "{text}: {problems:?}");
        }
    }
}
