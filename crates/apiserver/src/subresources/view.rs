//! Subresources that are another view of a stored object: get, update, patch.
//!
//! **Contract**: a patch is a patch of the view; it is tried again when another writer was faster.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/rest` (`Getter`, `Updater`).

use crate::admission::{Sent, Shown};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::decode;
use crate::handlers::{self, options, read_body};
use crate::negotiate::{Negotiated, Protobuf, Shape, Target, negotiate};
use crate::patch::Patch;
use crate::patch::apply::{self, Apply};
use crate::registry::{Cell, Column, Object, Store, Tracking, UpdateOptions, WriteOptions, table};
use crate::request::RequestInfo;
use crate::server::Server;
use api::kind::{GroupVersionKind, Resource, Scope};
use api::meta;
use api::status::Status;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// How an object is looked at and changed through its view.
pub(super) trait View: Send + Sync {
    /// The view's group, version and kind.
    fn kind(&self) -> (&'static str, &'static str, &'static str);

    /// Why an object cannot be looked at in this way.
    fn check(&self, _object: &Value) -> Result<(), Status> {
        Ok(())
    }

    /// What a client sees.
    fn show(&self, object: &Value) -> Value;

    /// The object as a client's view of it makes it, or what is wrong with the view.
    fn take(&self, object: &Value, view: &Value) -> Result<Value, Status>;

    /// What of the object an applied view names; `None` if the view cannot be applied.
    fn configuration(&self, _view: &Value) -> Option<Value> {
        None
    }

    /// The columns of its own table; `None`: what is shown is the object, and so is its table.
    fn columns(&self) -> Option<&'static [Column]> {
        None
    }

    /// The cells of its own table.
    fn row(&self, _view: &Value, _now: Timestamp) -> Vec<Cell> {
        Vec::new()
    }

    /// Whether the store looks at what changed as if the object itself had been written.
    fn what(&self) -> UpdateOptions;
}

/// A view as admission sees the object.
struct Seen<'a>(&'a dyn View);

impl Shown for Seen<'_> {
    fn kind(&self) -> GroupVersionKind {
        let (group, version, kind) = self.0.kind();
        GroupVersionKind::new(group, version, kind)
    }

    fn show(&self, object: &Value) -> Value {
        self.0.show(object)
    }

    fn take(&self, object: &Value, view: &Value) -> Result<Value, Status> {
        self.0.take(object, view)
    }
}

/// What a client wants the view to be.
enum Wish {
    Whole(Value),
    Patch(Patch),
    /// An apply, with the configuration of the view.
    Apply(Value),
}

impl Wish {
    async fn of(view: &dyn View, info: &RequestInfo, request: Request) -> Result<Self, Status> {
        let resource = resource(view);
        if info.verb == "patch" {
            let applies = view.configuration(&Value::Null).is_some();
            let content_type = match applies {
                true => Patch::content_type_or_apply(request.headers(), &resource)?,
                false => Patch::content_type(request.headers(), &resource)?,
            };
            let body = read_body(request).await?;
            if content_type == apply::CONTENT_TYPE {
                options::WriteQuery::parse_apply(&info.query)?;
                return apply::parse(&body).map(Self::Apply);
            }
            options::WriteQuery::parse(&info.query, "PatchOptions")?;
            return Ok(Self::Patch(Patch::parse(content_type, &resource, &body)?));
        }
        let wanted = decode::object_of(request, &resource.api_version(), &resource.kind).await?;
        let named = meta::name(&wanted);
        if !named.is_empty() && named != info.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({named}) does not match the name on the URL ({})",
                info.name
            )));
        }
        Ok(Self::Whole(wanted))
    }

    fn view(&self, current: Value) -> Result<Value, Status> {
        match self {
            Self::Whole(wanted) => Ok(wanted.clone()),
            Self::Patch(patch) => {
                let mut view = current;
                patch.apply(&mut view)?;
                Ok(view)
            }
            Self::Apply(_) => Ok(current),
        }
    }
}

/// Serves a view.
pub(super) async fn serve(
    view: &dyn View,
    server: &Arc<Server>,
    info: &RequestInfo,
    user: &UserInfo,
    request: Request,
) -> Result<Response, Status> {
    let pretty = info.query.optional_flag("pretty");
    let form = negotiate(request.headers(), pretty, Target::Object, Protobuf::Offered)?;
    let store = super::store(server, &info.group, &info.resource)?;
    if info.verb == "get" {
        let object = store.get(&info.namespace, &info.name).await?;
        view.check(&object.to_value())?;
        return answer(view, server, info, &store, &form, &object);
    }
    let manager = options::field_manager(&info.query, request.headers(), user);
    let wish = Wish::of(view, info, request).await?;
    let apply = match &wish {
        Wish::Apply(config) => Some(configured(view, server, info, store.resource(), &manager, config)?),
        Wish::Whole(_) | Wish::Patch(_) => None,
    };
    let tracking = if apply.is_some() { Tracking::Applied } else { Tracking::Update(&manager) };
    let seen = Seen(view);
    let mut options = WriteOptions {
        admission: Some((&server.admission, &*server.registry)),
        dry_run: super::dry_run(info)?,
        subresource: &info.subresource,
        sent: Sent::of(info),
        shown: Some(&seen),
        tracking,
        ..WriteOptions::new(user)
    };
    let mut change = |old: Option<&Value>| {
        let old = old.ok_or_else(|| Status::not_found(store.resource(), &info.name))?;
        if let Some(apply) = &apply {
            let applied = apply::apply((store.resource(), store.versions()[0].shape()), Some(old), apply)?;
            view.take(old, &view.show(&applied))?;
            return Ok(applied);
        }
        let wanted = wish.view(view.show(old))?;
        let mut object = view.take(old, &wanted)?;
        // What the writer says about identity and version is what the store checks.
        for field in ["uid", "resourceVersion"] {
            match &wanted["metadata"][field] {
                Value::Null => drop(object["metadata"].as_object_mut().map(|m| m.shift_remove(field))),
                value => object["metadata"][field] = json!(value),
            }
        }
        Ok(object)
    };
    let updated = store.update(&mut options, &info.namespace, &info.name, view.what(), &mut change).await?;
    answer(view, server, info, &store, &form, &updated.object)
}

/// An object's view in the form that was agreed on.
fn answer(
    view: &dyn View,
    server: &Server,
    info: &RequestInfo,
    store: &Store,
    form: &Negotiated,
    object: &Object,
) -> Result<Response, Status> {
    let now = server.context.clock.now();
    let shown = || view.show(&object.to_value());
    let body = match form.shape {
        Shape::Object => shown().to_string().into(),
        Shape::Metadata(version) => table::metadata_of(&shown(), version).to_string().into(),
        Shape::Table(version) => {
            let include = table::Include::parse(info.query.text("includeObject"))?;
            match view.columns() {
                None => table::Writer::new(&store.versions()[0], version, include, now).whole(object, object),
                Some(columns) => {
                    let shown = shown();
                    let metadata = json!({"resourceVersion": object.revision().to_string()});
                    let definitions = table::definitions(&resource(view), columns);
                    let rows = std::iter::once((view.row(&shown, now), shown));
                    table::of_objects((version, include), &metadata, &definitions, rows).to_string().into()
                }
            }
        }
    };
    Ok(handlers::encode(form, StatusCode::OK, body))
}

/// The facts of a view's kind that can be told of any.
fn resource(view: &dyn View) -> Resource {
    let (group, version, kind) = view.kind();
    Resource::new(group, version, kind, "", "", Scope::Namespaced)
}

/// An applied view as a configuration of the object itself.
fn configured(
    view: &dyn View,
    server: &Server,
    info: &RequestInfo,
    stored: &Resource,
    manager: &str,
    config: &Value,
) -> Result<Apply, Status> {
    apply::check(&resource(view), config)?;
    let mut config = view.configuration(config).unwrap_or_default();
    config["kind"] = (&*stored.kind).into();
    config["apiVersion"] = stored.api_version().into();
    config["metadata"] = json!({"name": info.name});
    Ok(Apply {
        config,
        manager: manager.to_owned(),
        subresource: info.subresource.clone(),
        force: info.query.flag("force"),
        time: api::time::format(server.context.clock.now()),
    })
}

#[cfg(test)]
mod tests;
