//! RuntimeClass: a way to run containers.
//!
//! **Upstream**: `pkg/registry/node/runtimeclass`, `ValidateRuntimeClass`.

use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{entries, items, text};
use crate::resources::pod_spec::{canonical_amounts, check_amount, check_toleration};
use crate::resources::{cells, check, edit};
use api::field::{ErrorList, Path};
use api::kind::{Resource, Scope};
use jiff::Timestamp;
use serde_json::Value;

/// The strategy of RuntimeClasses.
pub(crate) struct RuntimeClass(Resource);

impl RuntimeClass {
    pub(crate) fn new() -> Self {
        let (plural, singular) = ("runtimeclasses", "runtimeclass");
        Self(Resource::new("node.k8s.io", "v1", "RuntimeClass", plural, singular, Scope::Cluster))
    }
}

impl Strategy for RuntimeClass {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn default(&self, object: &mut Value) {
        if let Some(amounts) = edit::child(object, "overhead").and_then(|o| edit::child(o, "podFixed")) {
            canonical_amounts(amounts);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let handler = text(object, "handler");
        check::invalid(&mut errors, &Path::new("handler"), &handler.into(), check::label(handler));
        let path = Path::new("overhead").child("podFixed");
        for (name, amount) in entries(&object["overhead"], "podFixed") {
            check_amount(&mut errors, &path.key(name), name, amount);
        }
        let (scheduling, path) = (&object["scheduling"], Path::new("scheduling"));
        check::labels(&mut errors, &path.child("nodeSelector"), scheduling, "nodeSelector");
        for (i, toleration) in items(scheduling, "tolerations").iter().enumerate() {
            check_toleration(&mut errors, &path.child("tolerations").index(i), toleration);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        check::immutable(&mut errors, &Path::new("handler"), &object["handler"], &old["handler"]);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("Handler", "string"), cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        vec![cells::name(object), text(object, "handler").into(), cells::age(object, now)]
    }
}
