//! The parameters that a binding gives to its policy.
//!
//! **Upstream**: `CollectParams`.

use crate::admission::{Attributes, request};
use crate::registry::{Object, Registry, Store, Version};
use crate::resources::edit::text;
use api::selector::LabelSelector;
use serde_json::Value;
use std::sync::Arc;

/// A binding's `paramRef`.
#[derive(Debug)]
pub(super) struct ParamRef {
    name: String,
    namespace: String,
    selector: LabelSelector,
    /// Whether a request is refused if there is no parameter.
    denies_missing: bool,
}

impl ParamRef {
    pub(super) fn read(reference: &Value) -> Option<Self> {
        reference.is_object().then(|| Self {
            name: text(reference, "name").to_owned(),
            namespace: text(reference, "namespace").to_owned(),
            // Validated before it was stored.
            selector: LabelSelector::from_json(&reference["selector"])
                .unwrap_or_else(|_| LabelSelector::nothing()),
            denies_missing: reference["parameterNotFoundAction"] == "Deny",
        })
    }
}

/// Why there are no parameters, and whose fault that is.
#[derive(Debug)]
pub(super) enum Error {
    Policy(String),
    Binding(String),
}

/// The parameters; one `None` if the policy is asked without.
pub(super) async fn collect(
    registry: &Registry,
    kind: Option<&(String, String)>,
    reference: Option<&ParamRef>,
    attributes: &Attributes<'_>,
) -> Result<Vec<Option<Arc<Value>>>, Error> {
    let (Some((api_version, kind)), Some(reference)) = (kind, reference) else { return Ok(vec![None]) };
    let Some((store, version)) = served(registry, api_version, kind) else {
        let why = format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'");
        return Err(Error::Policy(why));
    };
    let namespace =
        match (store.resource().namespaced(), reference.namespace.as_str(), request::namespace(attributes)) {
            (false, "", _) => "",
            (false, _, _) => {
                let why = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
                return Err(Error::Binding(why.to_owned()));
            }
            (true, "", "") => {
                let why =
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
                return Err(Error::Binding(why.to_owned()));
            }
            (true, "", own) => own,
            (true, named, _) => named,
        };
    let objects: Vec<Arc<Object>> = match reference.name.as_str() {
        "" => {
            let all = store.snapshot();
            let selected =
                all.namespace(namespace).filter(|object| reference.selector.matches(|key| object.label(key)));
            selected.cloned().collect()
        }
        name => store.cached(namespace, name).into_iter().collect(),
    };
    if objects.is_empty() && reference.denies_missing {
        let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
        return Err(Error::Binding(why.to_owned()));
    }
    let shown = version.show_all(objects).await.map_err(|status| Error::Binding(status.message))?;
    Ok(shown.into_iter().map(|object| Some(Arc::new(object.to_value()))).collect())
}

/// The store of a kind, and the version of that name.
pub(super) fn served(registry: &Registry, api_version: &str, kind: &str) -> Option<(Arc<Store>, Version)> {
    registry.stores().iter().find_map(|store| {
        let of_kind = |version: &&Version| {
            let resource = version.resource();
            resource.kind == kind && resource.api_version() == api_version
        };
        Some((Arc::clone(store), store.versions().iter().find(of_kind)?.clone()))
    })
}
