//! A container's environment: services, `envFrom`, `env`, in upstream's order, and `$(VAR)` in every word.
//!
//! **Contract**: pure. What is missing is an error in the words of a `CreateContainerConfigError`.
//! **Upstream**: `makeEnvironmentVariables` of `pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/envvars`,
//! `third_party/forked/golang/expansion`.

use crate::container_config::NodeContext;
use crate::env_file;
use crate::fields;
use crate::references::{Held, Missing};
use crate::volumes::{EnvFiles, config_map_data, secret_data};
use api::k8s_openapi::api::core::v1::{Container, EnvVarSource, FileKeySelector, Pod, Service};
use runtime::EnvVar;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The service that every pod is told of.
const MASTER_SERVICE: (&str, &str) = ("default", "kubernetes");

/// The values of ConfigMaps, Secrets and files.
pub(crate) trait Objects {
    /// A ConfigMap's values.
    fn config_map(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Missing>;
    /// A Secret's values.
    fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Missing>;
    /// Files of the pod's volumes; none on a node on paper, where nobody has written any.
    fn files(&self) -> Option<&EnvFiles>;
}

/// What a container's environment is taken from.
pub(crate) struct Sources<'a> {
    pub(crate) held: &'a Held,
    pub(crate) files: Option<EnvFiles>,
}

impl Objects for Sources<'_> {
    fn config_map(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
        self.held.config_map(name).map(|object| config_map_data(&object))
    }

    fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
        self.held.secret(name).map(|object| secret_data(&object))
    }

    fn files(&self) -> Option<&EnvFiles> {
        self.files.as_ref()
    }
}

/// The environment in order; later variables may use earlier ones.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    node: &NodeContext,
    objects: &dyn Objects,
    services: &[Arc<Service>],
) -> Result<Vec<EnvVar>, String> {
    let mut env = Environment::default();
    let links = pod.spec.as_ref().and_then(|s| s.enable_service_links) != Some(false);
    for (name, value) in service_variables(pod, links, services) {
        env.set(&name, value);
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (found, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(r), _) => (objects.config_map(&r.name), r.optional == Some(true)),
            (None, Some(r)) => (objects.secret(&r.name), r.optional == Some(true)),
            (None, None) => continue,
        };
        match found {
            Ok(data) => {
                for (key, value) in data {
                    env.set(&format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
                }
            }
            Err(Missing::NotFound { .. }) if optional => {}
            Err(missing) => return Err(missing.to_string()),
        }
    }
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            None => Some(expand(var.value.as_deref().unwrap_or_default(), &env.map())),
            Some(source) => value_from(source, pod, container, node, objects)?,
        };
        if let Some(value) = value {
            env.set(&var.name, value);
        }
    }
    Ok(env.0)
}

#[derive(Default)]
struct Environment(Vec<EnvVar>);

impl Environment {
    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|var| var.name == name) {
            Some(var) => var.value = value,
            None => self.0.push(EnvVar::new(name, value)),
        }
    }

    fn map(&self) -> HashMap<&str, &str> {
        self.0.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect()
    }
}

/// The value of a reference; none: it is optional and not there.
fn value_from(
    source: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    node: &NodeContext,
    objects: &dyn Objects,
) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (kind, found, name, key, optional) = match source {
        EnvVarSource { field_ref: Some(field), .. } => {
            return fields::field(pod, &field.field_path, node).map(Some);
        }
        EnvVarSource { resource_field_ref: Some(selector), .. } => {
            let spec = pod.spec.iter();
            let mut all = spec.flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
            let of = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
                Some(name) => all.find(|c| c.name == name).ok_or(format!("container {name} not found"))?,
                None => container,
            };
            return fields::resource(pod, of, selector, node).map(Some);
        }
        EnvVarSource { config_map_key_ref: Some(r), .. } => {
            ("ConfigMap", objects.config_map(&r.name), &r.name, &r.key, r.optional)
        }
        EnvVarSource { secret_key_ref: Some(r), .. } => {
            ("Secret", objects.secret(&r.name), &r.name, &r.key, r.optional)
        }
        EnvVarSource { file_key_ref: Some(file), .. } => return from_file(file, objects),
        _ => return Ok(None),
    };
    let optional = optional == Some(true);
    match found {
        Ok(data) => match data.get(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
        },
        Err(Missing::NotFound { .. }) if optional => Ok(None),
        Err(missing) => Err(missing.to_string()),
    }
}

/// The value that a file of a volume gives a variable.
fn from_file(wanted: &FileKeySelector, objects: &dyn Objects) -> Result<Option<String>, String> {
    let Some(files) = objects.files() else { return Ok(None) };
    let file = files.get(&(wanted.volume_name.clone(), wanted.path.clone()));
    let file = file
        .ok_or_else(|| format!("cannot find the volume {:?} referenced by FileKeyRef", wanted.volume_name))?;
    let optional = wanted.optional == Some(true);
    let Some(text) = &file.text else {
        return if optional { Ok(None) } else { Err("couldn't parse env file".to_owned()) };
    };
    match env_file::value_of(text, &wanted.key) {
        Ok(Some(value)) => Ok(Some(value)),
        Ok(None) if optional => Ok(None),
        Ok(None) => {
            Err(format!("environment variable key {:?} not found in file {:?}", wanted.key, file.path))
        }
        Err(why) => {
            tracing::warn!(file = %file.path.display(), "{why}");
            Err("couldn't parse env file".to_owned())
        }
    }
}

/// `NAME_SERVICE_HOST`, Docker's link variables, …, of the services that the pod is to know.
fn service_variables(pod: &Pod, links: bool, services: &[Arc<Service>]) -> Vec<(String, String)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut known: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let of = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        if (of, name) == MASTER_SERVICE {
            known.entry(name).or_insert(service);
        }
        if links && of == namespace {
            known.insert(name, service);
        }
    }
    known.into_iter().flat_map(|(name, service)| variables_of(name, service)).collect()
}

fn variables_of(name: &str, service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(address) = spec.cluster_ip.as_deref().filter(|ip| !matches!(*ip, "" | "None")) else {
        return Vec::new();
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    let prefix = variable_name(name);
    let mut all = vec![
        (format!("{prefix}_SERVICE_HOST"), address.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            all.push((format!("{prefix}_SERVICE_PORT_{}", variable_name(name)), port.port.to_string()));
        }
    }
    let host = match address.parse() {
        Ok(IpAddr::V6(_)) => format!("[{address}]"),
        _ => address.to_owned(),
    };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            all.push((format!("{prefix}_PORT"), url.clone()));
        }
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        all.push((link.clone(), url));
        all.push((format!("{link}_PROTO"), protocol.to_lowercase()));
        all.push((format!("{link}_PORT"), port.port.to_string()));
        all.push((format!("{link}_ADDR"), address.to_owned()));
    }
    all
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

/// Replaces `$(NAME)` by the variable's value; `$$` is a literal `$`, an unknown name stays as it is.
pub(crate) fn expand(text: &str, vars: &HashMap<&str, &str>) -> String {
    expand_with(text, vars).0
}

/// The same; none if a name is unknown.
pub(crate) fn expand_strict(text: &str, vars: &HashMap<&str, &str>) -> Option<String> {
    let (text, complete) = expand_with(text, vars);
    complete.then_some(text)
}

/// The text, and whether every name in it was known.
fn expand_with(text: &str, vars: &HashMap<&str, &str>) -> (String, bool) {
    let mut out = String::with_capacity(text.len());
    let mut complete = true;
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match vars.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    complete = false;
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    (out, complete)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::EnvFile;
    use serde_json::json;
    use std::path::PathBuf;
    use std::sync::LazyLock;

    struct Fixed;

    impl Objects for Fixed {
        fn config_map(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
            match name {
                "map" => Ok([("k".to_owned(), b"v".to_vec()), ("l.m".to_owned(), b"w".to_vec())].into()),
                _ => Err(Missing::NotFound { kind: "configmap", name: name.to_owned() }),
            }
        }
        fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
            match name {
                "sec" => Ok([("p".to_owned(), b"secret".to_vec())].into()),
                _ => Err(Missing::NotFound { kind: "secret", name: name.to_owned() }),
            }
        }
        fn files(&self) -> Option<&EnvFiles> {
            static FILES: LazyLock<EnvFiles> = LazyLock::new(|| {
                let file = |name: &str, text: Option<&str>| {
                    let path = PathBuf::from("/v").join(name);
                    (("v".to_owned(), name.to_owned()), EnvFile { path, text: text.map(str::to_owned) })
                };
                [file("good", Some("F='from file'\n")), file("bad", Some("F=bare")), file("none", None)]
                    .into()
            });
            Some(&FILES)
        }
    }

    fn run(container: serde_json::Value, links: bool) -> Result<Vec<String>, String> {
        let mut container = container;
        container["name"] = "c".into();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"enableServiceLinks": links, "containers": [container]}
        }))
        .expect("a pod");
        let service = |namespace: &str, name: &str, ip: &str| -> Arc<Service> {
            let value = json!({
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"clusterIP": ip, "ports": [{"name": "http-x", "port": 80, "protocol": "TCP"}]}
            });
            Arc::new(serde_json::from_value(value).expect("a service"))
        };
        let services = [
            service("default", "kubernetes", "10.96.0.1"),
            service("default", "other", "10.96.0.2"),
            service("ns", "my-db", "10.96.0.3"),
            service("ns", "headless", "None"),
        ];
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        let env = environment(&pod, container, &NodeContext::default(), &Fixed, &services)?;
        Ok(env.iter().map(|e| format!("{}={}", e.name, e.value)).collect())
    }

    #[test]
    fn variables_come_from_everywhere_and_the_nearest_wins() {
        let env = run(
            json!({
                "envFrom": [{"prefix": "P_", "configMapRef": {"name": "map"}}, {"secretRef": {"name": "sec"}},
                    {"configMapRef": {"name": "none", "optional": true}}],
                "env": [
                    {"name": "p", "value": "own"},
                    {"name": "A", "value": "$(P_k)-$(MY_DB_SERVICE_HOST)-$(B)"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "p"}}},
                    {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "none", "optional": true}}},
                    {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "E", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "good", "key": "F"}}},
                    {"name": "C1", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "none", "key": "F", "optional": true}}}]
            }),
            true,
        )
        .expect("an environment");
        for expected in [
            "KUBERNETES_SERVICE_HOST=10.96.0.1",
            "MY_DB_SERVICE_PORT_HTTP_X=80",
            "MY_DB_PORT=tcp://10.96.0.3:80",
            "MY_DB_PORT_80_TCP_ADDR=10.96.0.3",
            "P_k=v",
            "P_l.m=w",
            "p=own",
            "A=v-10.96.0.3-$(B)",
            "B=secret",
            "D=p",
            "E=from file",
        ] {
            assert!(env.iter().any(|e| e == expected), "{expected}: {env:#?}");
        }
        assert!(
            !env.iter().any(|e| e.starts_with('C') || e.starts_with("OTHER") || e.starts_with("HEADLESS"))
        );
        let without = run(json!({}), false).expect("an environment");
        assert!(without.iter().all(|e| e.starts_with("KUBERNETES_")), "{without:?}");
    }

    #[test]
    fn what_is_missing_is_said_in_upstreams_words() {
        let from_file = |path: &str, key: &str| {
            let source = json!({"volumeName": "v", "path": path, "key": key});
            json!({"env": [{"name": "A", "valueFrom": {"fileKeyRef": source}}]})
        };
        for (container, message) in [
            (json!({"envFrom": [{"configMapRef": {"name": "none"}}]}), "configmap \"none\" not found"),
            (
                json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]}),
                "secret \"none\" not found",
            ),
            (
                json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "x"}}}]}),
                "couldn't find key x in ConfigMap ns/map",
            ),
            (from_file("good", "G"), "environment variable key \"G\" not found in file \"/v/good\""),
            (from_file("bad", "F"), "couldn't parse env file"),
            (from_file("none", "F"), "couldn't parse env file"),
        ] {
            assert_eq!(run(container, true), Err(message.to_owned()));
        }
    }

    #[test]
    fn expands_as_upstream_does() {
        let vars = HashMap::from([("A", "1"), ("EMPTY", "")]);
        for (text, expanded, complete) in [
            ("$(A)", "1", true),
            ("x$(A)y$(EMPTY)z", "x1yz", true),
            ("$$(A)", "$(A)", true),
            ("$(NONE)", "$(NONE)", false),
            ("$A $", "$A $", true),
            ("$(A", "$(A", true),
            ("$$$(A)", "$1", true),
        ] {
            assert_eq!(expand(text, &vars), expanded, "{text}");
            assert_eq!(expand_strict(text, &vars).is_some(), complete, "{text}");
        }
    }
}
