//! What a kustomization does to every object: namespace, names, labels, annotations, images, replicas.
//!
//! **Upstream.** `kustomize/api/internal/builtins`, `kustomize/api/filters` (behaviour).

use regex::Regex;
use serde_json::{Map, Value};

use crate::config::{Config, FieldSpec};
use crate::fields::{Make, change};
use crate::kustomization::{self, Image, Label, Replica};
use crate::resource::{Resource, Set};
use crate::{Error, invalid};

/// Moves everything into a namespace.
pub(crate) fn namespace(set: &mut Set, name: &str, config: &Config) -> Result<(), Error> {
    for place in 0..set.0.len() {
        let one = &mut set.0[place];
        one.remember();
        // A kind of another group may be called Namespace, too.
        let core = one.object["apiVersion"] == "v1";
        if !one.gvk().is_cluster_scoped() {
            one.set_metadata("namespace", name);
        }
        if matches!(one.kind(), "RoleBinding" | "ClusterRoleBinding") {
            for subject in one.object["subjects"].as_array_mut().into_iter().flatten() {
                if subject["name"] == "default"
                    && let Some(map) = subject.as_object_mut()
                {
                    map.insert("namespace".to_owned(), name.into());
                }
            }
        }
        for spec in &config.namespace {
            let is_name = spec.path == "metadata/name";
            if spec.path == "metadata/namespace" || is_name && !core || spec.path == "subjects/namespace" {
                continue;
            }
            change(one, spec, Make::Text, &mut |field| scalar(field, name))
                .map_err(|error| error.within("namespace transformation failed"))?;
        }
        let id = set.0[place].id();
        if set.0.iter().filter(|other| other.id() == id).count() > 1 {
            return invalid(format!("namespace transformation produces ID conflict: {id}"));
        }
    }
    Ok(())
}

fn scalar(field: &mut Value, text: &str) -> Result<(), Error> {
    if field.is_object() || field.is_array() {
        return invalid("namespace field specs must target scalar nodes");
    }
    *field = text.into();
    Ok(())
}

/// Which end of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Prefix,
    Suffix,
}

/// Puts a text in front of names, or behind them.
pub(crate) fn rename(set: &mut Set, text: &str, end: End, config: &Config) -> Result<(), Error> {
    for one in &mut set.0 {
        let original = one.original().gvk;
        let fixed = matches!(original.kind.as_str(), "CustomResourceDefinition" | "Namespace")
            || original.is_selected("apiregistration.k8s.io", "", "APIService");
        if fixed {
            continue;
        }
        one.remember();
        let specs = match end {
            End::Prefix => {
                one.prefixes.push(text.to_owned());
                &config.name_prefix
            }
            End::Suffix => {
                one.suffixes.push(text.to_owned());
                &config.name_suffix
            }
        };
        for spec in specs {
            change(one, spec, Make::Nothing, &mut |field| {
                if let Some(name) = field.as_str() {
                    *field = match end {
                        End::Prefix => format!("{text}{name}"),
                        End::Suffix => format!("{name}{text}"),
                    }
                    .into();
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// `labels` of a kustomization.
pub(crate) fn labels(set: &mut Set, label: &Label, config: &Config) -> Result<(), Error> {
    let mut specs = label.fields.clone();
    specs.extend(config.labels.iter().cloned());
    if label.include_selectors {
        specs.extend(config.common_labels.iter().cloned());
    } else {
        if label.include_templates {
            specs.extend(config.template_labels.iter().cloned());
        }
        specs.push(FieldSpec { path: "metadata/labels".to_owned(), create: true, ..FieldSpec::default() });
    }
    pairs(set, &label.pairs, &specs)
}

/// Sets pairs in every field of these.
pub(crate) fn pairs(set: &mut Set, pairs: &kustomization::Map, specs: &[FieldSpec]) -> Result<(), Error> {
    for one in &mut set.0 {
        for spec in specs {
            change(one, spec, Make::Map, &mut |field| {
                if field.is_null() {
                    *field = Value::Object(Map::new());
                }
                let Some(map) = field.as_object_mut() else {
                    return invalid("wrong node kind: expected MappingNode");
                };
                for (key, value) in pairs {
                    map.insert(key.clone(), value.as_str().into());
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Sets the replicas of what has this name.
pub(crate) fn replicas(set: &mut Set, replica: &Replica, config: &Config) -> Result<(), Error> {
    let mut found = false;
    for spec in &config.replicas {
        let places = set.any_id(|id| {
            id.name == replica.name && id.gvk.is_selected(&spec.group, &spec.version, &spec.kind)
        });
        for place in places {
            found = true;
            change(&mut set.0[place], spec, Make::Text, &mut |field| {
                *field = replica.count.into();
                Ok(())
            })?;
        }
    }
    if found {
        return Ok(());
    }
    let kinds: Vec<String> = ["Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"]
        .map(|kind| format!("{kind}.[noVer].[noGrp]"))
        .into();
    invalid(format!(
        "resource with name {} does not match a config with the following GVK [{}]",
        replica.name,
        kinds.join(" ")
    ))
}

/// Changes names, tags and digests of images.
pub(crate) fn images(set: &mut Set, image: &Image, config: &Config) -> Result<(), Error> {
    let pattern = format!(
        "^{}(:[a-zA-Z0-9_.{{}}-]*)?(@[a-zA-Z0-9]+([.+_-][a-zA-Z0-9]+)*:[a-zA-Z0-9_.{{}}-]*)?$",
        image.name
    );
    // A name that is no pattern matches nothing, as upstream has it.
    let Ok(pattern) = Regex::new(&pattern) else { return Ok(()) };
    for one in set.0.iter_mut().filter(|one| one.kind() != "CustomResourceDefinition") {
        // Any `containers` of any kind first, then the fields of the configuration: what adds to a tag adds twice.
        containers(&mut one.object, &pattern, image);
        for spec in &config.images {
            change_image(one, spec, &pattern, image)?;
        }
    }
    Ok(())
}

fn change_image(one: &mut Resource, spec: &FieldSpec, pattern: &Regex, image: &Image) -> Result<(), Error> {
    change(one, spec, Make::Nothing, &mut |field| {
        if let Some(changed) = field.as_str().and_then(|text| changed(text, pattern, image)) {
            *field = changed.into();
        }
        Ok(())
    })
}

fn containers(value: &mut Value, pattern: &Regex, image: &Image) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| containers(item, pattern, image)),
        Value::Object(map) => {
            for (key, field) in map {
                containers(field, pattern, image);
                if !matches!(key.as_str(), "containers" | "initContainers") {
                    continue;
                }
                for item in field.as_array_mut().into_iter().flatten() {
                    if let Some(changed) = item
                        .get("image")
                        .and_then(Value::as_str)
                        .and_then(|text| changed(text, pattern, image))
                    {
                        item["image"] = changed.into();
                    }
                }
            }
        }
        _ => {}
    }
}

fn changed(text: &str, pattern: &Regex, image: &Image) -> Option<String> {
    if !pattern.is_match(text) {
        return None;
    }
    let (name, mut tag, mut digest) = split(text);
    let mut name = name.to_owned();
    if !image.new_name.is_empty() {
        name.clone_from(&image.new_name);
    }
    match (image.new_tag.as_str(), image.digest.as_str(), image.tag_suffix.as_str()) {
        ("", "", "") => {}
        ("", "", suffix) => {
            tag += suffix;
            digest.clear();
        }
        (new_tag, new_digest, _) => (tag, digest) = (new_tag.to_owned(), new_digest.to_owned()),
    }
    if !tag.is_empty() {
        name = format!("{name}:{tag}");
    }
    if !digest.is_empty() {
        name = format!("{name}@{digest}");
    }
    Some(name)
}

/// `[host[:port]/]name[:tag][@digest]`: name, tag and digest.
fn split(image: &str) -> (&str, String, String) {
    let (rest, digest) = image.split_once('@').unwrap_or((image, ""));
    let path = rest.find('/').filter(|at| *at > 0).unwrap_or(0);
    match rest[path..].find(':') {
        Some(colon) => (&rest[..path + colon], rest[path + colon + 1..].to_owned(), digest.to_owned()),
        None => (rest, String::new(), digest.to_owned()),
    }
}
