//! What may be written in a `kustomization.yaml`.
//!
//! **Contract.** An unknown field is an error, and so is one that is known but not done here: its name is in the message.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::FieldSpec;
use crate::{Error, invalid};

/// The kind that is meant where none is given.
const KIND: &str = "Kustomization";
/// The kind of a folder that changes what others have.
pub(crate) const COMPONENT: &str = "Component";

pub(crate) type Map = BTreeMap<String, String>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Kustomization {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    metadata: Value,
    pub(crate) resources: Vec<String>,
    bases: Vec<String>,
    pub(crate) components: Vec<String>,
    pub(crate) configurations: Vec<String>,
    pub(crate) name_prefix: String,
    pub(crate) name_suffix: String,
    pub(crate) namespace: String,
    pub(crate) common_labels: Map,
    pub(crate) labels: Vec<Label>,
    pub(crate) common_annotations: Map,
    pub(crate) patches: Vec<Patch>,
    pub(crate) patches_strategic_merge: Vec<String>,
    pub(crate) patches_json6902: Vec<Patch>,
    pub(crate) images: Vec<Image>,
    image_tags: Vec<Image>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) replacements: Vec<Replacement>,
    pub(crate) config_map_generator: Vec<Generator>,
    pub(crate) secret_generator: Vec<Generator>,
    pub(crate) generator_options: Option<GeneratorOptions>,
    pub(crate) sort_options: Option<SortOptions>,
    pub(crate) build_metadata: Vec<String>,
    // Known, and refused.
    crds: Vec<Value>,
    vars: Vec<Value>,
    openapi: Value,
    generators: Vec<Value>,
    transformers: Vec<Value>,
    validators: Vec<Value>,
    helm_charts: Vec<Value>,
    helm_globals: Value,
    helm_chart_inflation_generator: Vec<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Label {
    pub(crate) pairs: Map,
    pub(crate) include_selectors: bool,
    pub(crate) include_templates: bool,
    pub(crate) fields: Vec<FieldSpec>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Patch {
    pub(crate) path: String,
    pub(crate) patch: String,
    pub(crate) target: Option<Selector>,
    pub(crate) options: PatchOptions,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct PatchOptions {
    pub(crate) allow_name_change: bool,
    pub(crate) allow_kind_change: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Selector {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) label_selector: String,
    pub(crate) annotation_selector: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) new_name: String,
    pub(crate) new_tag: String,
    pub(crate) tag_suffix: String,
    pub(crate) digest: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) count: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Replacement {
    pub(crate) path: String,
    pub(crate) source: Option<Source>,
    pub(crate) source_value: Option<String>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Source {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) field_path: String,
    pub(crate) options: FieldOptions,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) select: Option<Selector>,
    pub(crate) reject: Vec<Selector>,
    pub(crate) field_paths: Vec<String>,
    pub(crate) options: FieldOptions,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct FieldOptions {
    pub(crate) delimiter: String,
    pub(crate) index: i64,
    pub(crate) encoding: String,
    pub(crate) create: bool,
}

/// Whether a generated object is new, or what it does to one that is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Behavior {
    #[default]
    #[serde(alias = "", alias = "unspecified")]
    Create,
    Replace,
    Merge,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Generator {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) behavior: Behavior,
    pub(crate) literals: Vec<String>,
    pub(crate) files: Vec<String>,
    pub(crate) envs: Vec<String>,
    pub(crate) env: String,
    /// Of a Secret.
    #[serde(rename = "type")]
    pub(crate) secret_type: String,
    pub(crate) options: Option<GeneratorOptions>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct GeneratorOptions {
    pub(crate) labels: Map,
    pub(crate) annotations: Map,
    pub(crate) disable_name_suffix_hash: bool,
    pub(crate) immutable: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct SortOptions {
    pub(crate) order: String,
    pub(crate) legacy_sort_options: Option<LegacySortOptions>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct LegacySortOptions {
    pub(crate) order_first: Vec<String>,
    pub(crate) order_last: Vec<String>,
}

impl Kustomization {
    /// Reads one, moves what is out of use to where it belongs now, and tells of it.
    pub(crate) fn read(document: Value, root: &str, warn: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        const NOTHING: &str = "kustomization.yaml is empty";
        let Value::Object(mut fields) = document else {
            return if document.is_null() {
                invalid(NOTHING)
            } else {
                invalid("invalid Kustomization: it is no map")
            };
        };
        // `key:` with nothing behind it is as good as not there.
        fields.retain(|_, value| !value.is_null());
        let given: Vec<String> = fields.keys().cloned().collect();
        let mut read: Self =
            serde_json::from_value(Value::Object(fields)).map_err(|error| misread(&error))?;
        if given.iter().all(|key| matches!(key.as_str(), "apiVersion" | "kind")) {
            return invalid(NOTHING);
        }
        for (field, instead) in [
            ("bases", "resources"),
            ("commonLabels", "labels"),
            ("imageTags", "images"),
            ("patchesJson6902", "patches"),
            ("patchesStrategicMerge", "patches"),
        ] {
            if given.iter().any(|key| key == field) {
                warn(&format!(
                    "# Warning: '{field}' is deprecated. Please use '{instead}' instead. Run 'kustomize edit fix' to update your Kustomization automatically."
                ));
            }
        }
        read.check(root)?;
        read.resources.append(&mut read.bases);
        read.images.append(&mut read.image_tags);
        Ok(read)
    }

    fn check(&mut self, root: &str) -> Result<(), Error> {
        if self.kind.is_empty() {
            KIND.clone_into(&mut self.kind);
        }
        let version = if self.kind == COMPONENT { "v1alpha1" } else { "v1beta1" };
        let wanted = format!("kustomize.config.k8s.io/{version}");
        let mut wrong = Vec::new();
        if self.kind != KIND && self.kind != COMPONENT {
            wrong.push("kind should be Kustomization or Component".to_owned());
        }
        if !self.api_version.is_empty() && self.api_version != wanted {
            wrong.push(format!("apiVersion for {} should be {wanted}", self.kind));
        }
        if !wrong.is_empty() {
            return invalid(format!("Failed to read kustomization file under {root}:\n{}", wrong.join("\n")));
        }
        for (field, given) in [
            ("crds", !self.crds.is_empty()),
            ("vars", !self.vars.is_empty()),
            ("openapi", !self.openapi.is_null()),
            ("generators", !self.generators.is_empty()),
            ("transformers", !self.transformers.is_empty()),
            ("validators", !self.validators.is_empty()),
            ("helmCharts", !self.helm_charts.is_empty()),
            ("helmGlobals", !self.helm_globals.is_null()),
            ("helmChartInflationGenerator", !self.helm_chart_inflation_generator.is_empty()),
        ] {
            if given {
                return invalid(format!("invalid Kustomization: field {field:?} is not supported"));
            }
        }
        match self.build_metadata.iter().find(|option| *option != "managedByLabel") {
            Some(option) => {
                invalid(format!("invalid Kustomization: buildMetadata option {option:?} is not supported"))
            }
            None => Ok(()),
        }
    }
}

/// A field that is wrong, as Go's JSON decoder says it where it is an unknown one.
pub(crate) fn misread(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let text = match text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => format!("unknown field {field:?}"),
        None => text,
    };
    Error::Invalid(format!("invalid Kustomization: json: {text}"))
}
