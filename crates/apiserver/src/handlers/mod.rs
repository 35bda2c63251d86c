//! The verbs, for every kind alike.
//!
//! **Contract**: the request is authenticated and authorized. No handler names a kind.
//! **Not here**: subresources other than `status` (`subresources`), non-resource paths.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/handlers`.

mod apply;
#[cfg(test)]
mod apply_tests;
mod create;
pub mod decode;
mod delete;
mod get;
mod list;
#[cfg(test)]
mod mutation_tests;
pub mod options;
mod patch;
mod respond;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
mod update;
#[cfg(test)]
mod version_tests;
mod watch;

pub(crate) use respond::encode;

use crate::admission::{Chain, Part, Sent};
use crate::auth::UserInfo;
use crate::body::{self, ReadError, Request, Response};
use crate::negotiate::{Negotiated, Protobuf, Target, negotiate};
use crate::protobuf;
use crate::registry::{Registry, Store, Tracking, UpdateOptions, Version, WriteOptions};
use crate::request::RequestInfo;
use crate::server::Server;
use api::status::Status;
use bytes::Bytes;
use component_base::Context;
use http::HeaderMap;
use std::sync::Arc;

/// Bytes of the largest body. **Upstream**: `MaxRequestBodyBytes`.
pub const MAX_BODY: usize = 3 << 20;

/// Serves one request for a resource, or for the status of one.
pub async fn handle(
    server: &Arc<Server>,
    info: &RequestInfo,
    user: &UserInfo,
    request: Request,
) -> Result<Response, Status> {
    dispatch(&server.registry, &server.admission, &server.context, info, user, request).await
}

/// What a verb's handler works with.
struct Call<'a> {
    registry: &'a Arc<Registry>,
    store: &'a Arc<Store>,
    /// The version that the client speaks.
    version: &'a Version,
    admission: &'a Chain,
    context: &'a Context,
    info: &'a RequestInfo,
    user: &'a UserInfo,
    headers: HeaderMap,
    /// Who owns the fields that a write changes.
    manager: String,
    negotiated: Negotiated,
    /// Empty for a cluster-scoped kind.
    namespace: &'a str,
}

/// The same without a whole server.
pub(crate) async fn dispatch(
    registry: &Arc<Registry>,
    admission: &Chain,
    context: &Context,
    info: &RequestInfo,
    user: &UserInfo,
    request: Request,
) -> Result<Response, Status> {
    let served = registry.served(&info.group, &info.version, &info.resource);
    let (store, version) = served.ok_or_else(Status::no_such_path)?;
    let (store, version) = (&store, &version);
    let resource = version.resource();
    let status = info.subresource == "status";
    let namespaced = !info.namespace.is_empty();
    if !info.rest.is_empty() || !(info.subresource.is_empty() || status && version.has_status()) {
        return Err(Status::no_such_path());
    }
    let namespace = if resource.namespaced() { info.namespace.as_str() } else { "" };
    // Below a namespace there are namespaced kinds only; the namespace itself is no exception to that.
    if namespaced && !resource.namespaced() && info.namespace != info.name {
        return Err(Status::no_such_path());
    }
    let across = resource.namespaced() && !namespaced;
    if across && !info.name.is_empty() && !matches!(info.verb, "list" | "watch" | "deletecollection") {
        return Err(Status::no_such_path());
    }
    let served = if status {
        matches!(info.verb, "get" | "update" | "patch")
    } else {
        store.strategy().verbs().contains(&info.verb)
    };
    let create_by_name = info.verb == "create" && !info.name.is_empty();
    let write_without_name = matches!(info.verb, "update" | "patch") && info.name.is_empty();
    let across_is_read_only = across && matches!(info.verb, "create" | "deletecollection");
    if !served || create_by_name || write_without_name || across_is_read_only {
        let mut refusal = crate::dispatch::method_not_allowed();
        if let Some(why) = store.strategy().refusal(info.verb) {
            refusal.message = why;
        }
        return Err(refusal);
    }
    let target = match info.verb {
        "watch" => Target::Watch,
        "list" => Target::List,
        _ => Target::Object,
    };
    let protobuf = match protobuf::type_of(resource) {
        Some(_) => Protobuf::Offered,
        None => Protobuf::OnlyMetadata,
    };
    let negotiated = negotiate(request.headers(), info.query.optional_flag("pretty"), target, protobuf)?;
    let headers = request.headers().clone();
    let manager = options::field_manager(&info.query, &headers, user);
    let call = Call {
        registry,
        store,
        version,
        admission,
        context,
        info,
        user,
        headers,
        manager,
        negotiated,
        namespace,
    };
    let what = if status { UpdateOptions::Status } else { UpdateOptions::Object };
    // The larger ones are boxed: every request's future would be as large as the largest of them, and is moved.
    let mut response = match info.verb {
        "get" => get::get(&call).await,
        "list" => list::list(&call).await,
        "watch" => watch::watch(&call, request).await,
        "create" => Box::pin(create::create(&call, request)).await,
        "update" => Box::pin(update::update(&call, what, request)).await,
        "patch" => Box::pin(patch::patch(&call, what, request)).await,
        "delete" => Box::pin(delete::delete(&call, request)).await,
        "deletecollection" => Box::pin(delete::delete_collection(&call, request)).await,
        _ => Err(crate::dispatch::method_not_allowed()),
    }?;
    let deprecation = version.deprecation().map(str::to_owned);
    crate::respond::add_warnings(response.headers_mut(), deprecation.as_slice());
    Ok(response)
}

impl<'a> Call<'a> {
    fn write_options(&'a self, dry_run: bool) -> WriteOptions<'a> {
        WriteOptions {
            user: self.user,
            admission: Some((self.admission, &**self.registry)),
            dry_run,
            part: Part::All,
            sent: Sent::of(self.info),
            subresource: &self.info.subresource,
            shown: None,
            version: (!self.version.is_stored()).then_some(self.version),
            tracking: Tracking::Update(&self.manager),
            warnings: Vec::new(),
        }
    }
}

/// The body of a request, within the limit.
pub(crate) async fn read_body(request: Request) -> Result<Bytes, Status> {
    body::read(request.into_body(), MAX_BODY).await.map_err(|error| match error {
        ReadError::TooLarge(limit) => Status::too_large(limit),
        ReadError::Broken(_) => Status::bad_request("the body of the request could not be read"),
    })
}
