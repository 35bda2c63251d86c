//! PodTemplate: a template for pods, kept on its own.
//!
//! **Upstream**: `pkg/registry/core/podtemplate`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::{cells, pod_template};
use api::field::{ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::Value;

/// The strategy of PodTemplates.
pub(crate) struct PodTemplate(Resource);

impl PodTemplate {
    pub(crate) fn new() -> Self {
        Self(Resource::new("", "v1", "PodTemplate", "podtemplates", "podtemplate", Scope::Namespaced))
    }
}

impl Strategy for PodTemplate {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        pod_template::default_template(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        pod_template::check_template(&mut errors, &Path::new("template"), &object["template"]);
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Containers", "string").text("Names of each container in the template."),
                Column::new("Images", "string").text("Images referenced by each container in the template."),
                Column::new("Pod Labels", "string").text("The labels for the pod template."),
            ]
        }
    }

    fn row(&self, object: &Value, _: Timestamp) -> Vec<Cell> {
        let template = &object["template"];
        let [containers, images] = pod_template::container_cells(template);
        vec![cells::name(object), containers, images, cells::label_map(&template["metadata"]["labels"])]
    }
}
