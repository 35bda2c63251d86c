//! `scale` of every workload that has a number of replicas: one struct, one row a kind; and of kinds that were added at run
//! time, whose definitions say where the numbers are.
//!
//! **Upstream**: `pkg/registry/apps/deployment/storage` (`ScaleREST`), `pkg/apis/autoscaling/validation`.

use super::view::{self, View};
use super::{Facts, Subresource};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::crd;
use crate::registry::{Cell, Column, UpdateOptions};
use crate::request::RequestInfo;
use crate::resources::cells;
use crate::server::Server;
use api::field::{Error, Path};
use api::kind::GroupVersionKind;
use api::selector::LabelSelector;
use api::status::Status;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The subresource of one kind.
pub(super) struct Scale {
    group: &'static str,
    plural: &'static str,
}

impl Scale {
    /// Of this resource; all of them are v1 and namespaced.
    pub(super) const fn of(group: &'static str, plural: &'static str) -> Self {
        Self { group, plural }
    }
}

#[async_trait]
impl Subresource for Scale {
    fn facts(&self) -> Facts {
        Facts {
            group: self.group,
            version: "v1",
            plural: self.plural,
            name: "scale",
            namespaced: true,
            kind: GroupVersionKind::new("autoscaling", "v1", "Scale"),
            verbs: &["get", "patch", "update"],
        }
    }

    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        user: &UserInfo,
        request: Request,
    ) -> Result<Response, Status> {
        view::serve(self, server, info, user, request).await
    }
}

/// A selector as a string: of a map of labels (ReplicationController), or of a LabelSelector.
fn selector(spec: &Value) -> Option<String> {
    let selector = &spec["selector"];
    if !selector.is_object() {
        return None;
    }
    let is_map = selector.as_object().is_some_and(|fields| fields.values().all(Value::is_string));
    if is_map {
        return Some(LabelSelector::from_map(selector).to_string());
    }
    LabelSelector::from_json(selector).ok().map(|selector| selector.to_string())
}

/// A scale as it is shown.
fn shown(object: &Value, replicas: Option<i64>, current: Option<i64>, selector: Option<String>) -> Value {
    let from = &object["metadata"];
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = from.get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut spec = Map::new();
    if let Some(replicas) = replicas.filter(|n| *n != 0) {
        spec.insert("replicas".to_owned(), replicas.into());
    }
    let mut status = json!({"replicas": current.unwrap_or(0)});
    if let Some(selector) = selector.filter(|text| !text.is_empty()) {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// The columns of a scale.
const COLUMNS: &[Column] = &[
    Column { format: "", ..Column::NAME },
    Column::new("Desired", "integer").field("spec.replicas"),
    Column::new("Available", "integer").field("status.replicas"),
    cells::AGE,
];

/// The cells of [`COLUMNS`].
fn row(scale: &Value, now: Timestamp) -> Vec<Cell> {
    let number = |value: &Value| value.as_i64().unwrap_or(0).into();
    let (desired, available) = (number(&scale["spec"]["replicas"]), number(&scale["status"]["replicas"]));
    vec![cells::name(scale), desired, available, cells::age(scale, now)]
}

/// The number of replicas that a client wants, or what is wrong with it.
fn wanted(object: &Value, view: &Value) -> Result<i64, Status> {
    let replicas = match &view["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().filter(|n| i32::try_from(*n).is_ok()).ok_or_else(|| {
            Status::bad_request(
                "Scale in version \"v1\" cannot be handled as a Scale: spec.replicas is no int32",
            )
        })?,
    };
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        let error = Error::invalid(&path, replicas, "must be greater than or equal to 0");
        let name = object["metadata"]["name"].as_str().unwrap_or("");
        return Err(Status::invalid("autoscaling", "Scale", name, &vec![error]));
    }
    Ok(replicas)
}

/// The scale of a kind whose definition says where its numbers are.
///
/// **Upstream**: `apiextensions-apiserver/pkg/registry/customresource/etcd.go` (`ScaleREST`).
pub(crate) struct CustomScale(pub(crate) crd::Scale);

impl CustomScale {
    /// Serves it.
    pub(crate) async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        user: &UserInfo,
        request: Request,
    ) -> Result<Response, Status> {
        view::serve(self, server, info, user, request).await
    }
}

impl View for CustomScale {
    fn kind(&self) -> (&'static str, &'static str, &'static str) {
        ("autoscaling", "v1", "Scale")
    }

    fn check(&self, object: &Value) -> Result<(), Status> {
        let path = &self.0.spec_replicas_path;
        let missing = || Status::internal(&format!("the spec replicas field {path:?} does not exist"));
        crd::at(object, path).map(drop).ok_or_else(missing)
    }

    fn show(&self, object: &Value) -> Value {
        let number = |path: &str| crd::at(object, path).and_then(Value::as_i64);
        let selector = self.0.label_selector_path.as_deref().and_then(|path| crd::at(object, path)?.as_str());
        let (spec, status) = (&self.0.spec_replicas_path, &self.0.status_replicas_path);
        shown(object, number(spec), number(status), selector.map(str::to_owned))
    }

    fn take(&self, object: &Value, view: &Value) -> Result<Value, Status> {
        let replicas = wanted(object, view)?;
        let mut object = object.clone();
        put(&mut object, &self.0.spec_replicas_path, replicas);
        Ok(object)
    }

    fn configuration(&self, view: &Value) -> Option<Value> {
        let mut configuration = json!({});
        if let Some(replicas) = view["spec"]["replicas"].as_i64() {
            put(&mut configuration, &self.0.spec_replicas_path, replicas);
        }
        Some(configuration)
    }

    fn columns(&self) -> Option<&'static [Column]> {
        Some(COLUMNS)
    }

    fn row(&self, view: &Value, now: Timestamp) -> Vec<Cell> {
        row(view, now)
    }

    fn what(&self) -> UpdateOptions {
        UpdateOptions::Object
    }
}

/// Sets what stands at a simple path; what is not there on the way is made.
fn put(object: &mut Value, path: &str, number: i64) {
    let mut at = object;
    for name in path.trim_start_matches('.').split('.') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    *at = number.into();
}

impl View for Scale {
    fn kind(&self) -> (&'static str, &'static str, &'static str) {
        ("autoscaling", "v1", "Scale")
    }

    fn show(&self, object: &Value) -> Value {
        let (spec, status) = (&object["spec"], &object["status"]);
        shown(object, spec["replicas"].as_i64(), status["replicas"].as_i64(), selector(spec))
    }

    fn take(&self, object: &Value, view: &Value) -> Result<Value, Status> {
        let replicas = wanted(object, view)?;
        let mut object = object.clone();
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.insert("replicas".to_owned(), replicas.into());
        }
        Ok(object)
    }

    fn configuration(&self, view: &Value) -> Option<Value> {
        let replicas = view["spec"].get("replicas");
        Some(replicas.map_or_else(|| json!({}), |replicas| json!({"spec": {"replicas": replicas}})))
    }

    fn columns(&self) -> Option<&'static [Column]> {
        Some(COLUMNS)
    }

    fn row(&self, view: &Value, now: Timestamp) -> Vec<Cell> {
        row(view, now)
    }

    fn what(&self) -> UpdateOptions {
        UpdateOptions::Object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_takes_the_number_of_replicas() {
        let scale = Scale::of("apps", "deployments");
        let object = json!({"metadata": {"name": "d", "uid": "u", "labels": {"a": "b"}}, "status": {"replicas": 2},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["d", "e"]}]}}});
        let shown = scale.show(&object);
        assert_eq!(shown["metadata"], json!({"name": "d", "uid": "u"}));
        assert_eq!(shown["spec"], json!({"replicas": 3}));
        assert_eq!(shown["status"], json!({"replicas": 2, "selector": "a=b,c in (d,e)"}));
        let taken = scale.take(&object, &json!({"spec": {"replicas": 5}})).unwrap();
        assert_eq!(taken["spec"]["replicas"], 5);
        let error = scale.take(&object, &json!({"spec": {"replicas": -1}})).unwrap_err();
        assert_eq!(
            error.message,
            "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
        let custom = CustomScale(crd::Scale {
            spec_replicas_path: ".spec.size.wanted".to_owned(),
            status_replicas_path: ".status.size".to_owned(),
            label_selector_path: Some(".status.selector".to_owned()),
        });
        let object = json!({"metadata": {"name": "c"}, "spec": {"size": {"wanted": 3}},
            "status": {"size": 2, "selector": "a=b"}});
        let shown = custom.show(&object);
        assert_eq!(shown["spec"], json!({"replicas": 3}));
        assert_eq!(shown["status"], json!({"replicas": 2, "selector": "a=b"}));
        let taken = custom.take(&json!({}), &json!({"spec": {"replicas": 5}})).unwrap();
        assert_eq!(taken, json!({"spec": {"size": {"wanted": 5}}}));
        assert!(
            custom.check(&json!({})).unwrap_err().message.contains("\".spec.size.wanted\" does not exist")
        );
        let rc = json!({"spec": {"selector": {"a": "b"}}});
        assert_eq!(scale.show(&rc)["status"]["selector"], "a=b");
    }
}
