//! Subresources that are another view of a stored object: get, update, patch.
//!
//! **Contract**: a patch is a patch of the view; it is tried again when another writer was faster.
//! **Upstream**: `k8s.io/apiserver/pkg/registry/rest` (`Getter`, `Updater`).

use crate::admission::{Sent, Shown};
use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::decode;
use crate::handlers::{options, read_body};
use crate::negotiate;
use crate::patch::Patch;
use crate::patch::apply::{self, Apply};
use crate::registry::{Tracking, UpdateOptions, WriteOptions};
use crate::request::RequestInfo;
use crate::respond;
use crate::server::Server;
use api::kind::{GroupVersionKind, Resource, Scope};
use api::meta;
use api::status::Status;
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
        let (group, version, kind) = view.kind();
        let resource = Resource::new(group, version, kind, "", "", Scope::Namespaced);
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
        let wanted = decode::object_of(request, &resource.api_version(), kind).await?;
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
    let encoding = negotiate::plain(request.headers())?;
    let store = super::store(server, &info.group, &info.resource)?;
    if info.verb == "get" {
        let object = store.get(&info.namespace, &info.name).await?;
        let object = object.to_value();
        view.check(&object)?;
        return Ok(respond::object(200, &view.show(&object), encoding));
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
        sent: Sent::of(&info.query),
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
    Ok(respond::object(200, &view.show(&updated.object.to_value()), encoding))
}

/// An applied view as a configuration of the object itself.
fn configured(
    view: &dyn View,
    server: &Server,
    info: &RequestInfo,
    resource: &Resource,
    manager: &str,
    config: &Value,
) -> Result<Apply, Status> {
    let (group, version, kind) = view.kind();
    apply::check(&Resource::new(group, version, kind, "", "", Scope::Namespaced), config)?;
    let mut config = view.configuration(config).unwrap_or_default();
    config["kind"] = (&*resource.kind).into();
    config["apiVersion"] = resource.api_version().into();
    config["metadata"] = json!({"name": info.name});
    Ok(Apply {
        config,
        manager: manager.to_owned(),
        subresource: info.subresource.clone(),
        force: info.query.flag("force"),
        time: api::time::format(server.context.clock.now()),
    })
}
