//! Claims and Ingresses that name no class get the default one.
//!
//! **Contract**: of several defaults the newest counts, of equally old ones the first by name.
//! **Upstream**: `plugin/pkg/admission/storage/storageclass/setdefault`, `plugin/pkg/admission/network/defaultingressclass`.

use super::refusal::is_about;
use super::{Attributes, Operation, Plugin};
use api::meta;
use api::status::Status;
use serde_json::Value;
use std::cmp::Reverse;
use std::sync::Arc;

const BETA_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// The plugin for claims.
pub(super) struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, claim: &mut Value) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !is_about(attributes, "", "persistentvolumeclaims") {
            return Ok(());
        }
        // An empty class is a choice: a volume without a class.
        let chosen = !claim["spec"]["storageClassName"].is_null()
            || meta::annotation(claim, BETA_STORAGE_CLASS).is_some();
        if chosen || !claim["spec"].is_object() {
            return Ok(());
        }
        let annotations = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        if let Some(class) = default_class(attributes, "storage.k8s.io", "storageclasses", &annotations) {
            claim["spec"]["storageClassName"] = class["metadata"]["name"].clone();
        }
        Ok(())
    }
}

/// The plugin for Ingresses.
pub(super) struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn mutate(&self, attributes: &mut Attributes<'_>, ingress: &mut Value) -> Result<(), Status> {
        let group = "networking.k8s.io";
        if attributes.operation != Operation::Create || !is_about(attributes, group, "ingresses") {
            return Ok(());
        }
        let chosen = !ingress["spec"]["ingressClassName"].is_null()
            || meta::annotation(ingress, INGRESS_CLASS).is_some();
        if chosen || !ingress["spec"].is_object() {
            return Ok(());
        }
        let annotations = ["ingressclass.kubernetes.io/is-default-class"];
        if let Some(class) = default_class(attributes, group, "ingressclasses", &annotations) {
            ingress["spec"]["ingressClassName"] = class["metadata"]["name"].clone();
        }
        Ok(())
    }
}

fn default_class(
    attributes: &Attributes<'_>,
    group: &str,
    plural: &str,
    annotations: &[&str],
) -> Option<Arc<Value>> {
    let classes = attributes.lookup.list(group, plural, "").into_iter();
    let is_default =
        |class: &Value| annotations.iter().any(|name| meta::annotation(class, name) == Some("true"));
    classes.filter(|class| is_default(class)).min_by_key(|class| {
        (Reverse(meta::creation_timestamp(class).to_owned()), meta::name(class).to_owned())
    })
}
