//! THE LIST: kinds whose objects are made when somebody asks for them, and never stored.
//!
//! **Contract**: discovery lists them like any other; they can be got and listed, as objects, tables or metadata, and
//! selected by labels and by name. They have no revision, so there is nothing to watch.
//! **Upstream**: what servers of aggregated APIs do with `rest.Getter` and `rest.Lister`.

mod answer;
pub(crate) mod resource_metrics;

use crate::body::{Request, Response};
use crate::discovery::ResourceFacts;
use crate::dispatch;
use crate::handlers::options::ListOptions;
use crate::negotiate::{Protobuf, Target, negotiate};
use crate::registry::{Strategy, Version};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::watch_cache::Selection;
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// The verbs of every such kind, sorted.
pub(crate) const VERBS: &[&str] = &["get", "list"];

/// Where the objects of a kind come from.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// The selected objects in the order of their names, without `kind` and `apiVersion`.
    async fn list(&self, server: &Arc<Server>, selection: &Selection) -> Result<Vec<Value>, Status>;

    /// One object, without `kind` and `apiVersion`.
    async fn get(&self, server: &Arc<Server>, namespace: &str, name: &str) -> Result<Value, Status>;
}

/// One kind: its names and table, and where its objects come from.
pub(crate) struct Computed {
    version: Version,
    source: Box<dyn Source>,
}

impl Computed {
    fn new(strategy: impl Strategy, source: impl Source + 'static) -> Self {
        let strategy: Arc<dyn Strategy> = Arc::new(strategy);
        Self { version: Version::stored(&strategy), source: Box::new(source) }
    }

    /// Its API group.
    pub(crate) fn group(&self) -> &str {
        &self.version.resource().group
    }

    /// What discovery publishes.
    pub(crate) fn facts(&self) -> Vec<ResourceFacts> {
        ResourceFacts::of(std::slice::from_ref(&self.version))
    }

    /// Whether a request is about this kind.
    pub(crate) fn is_asked_by(&self, info: &RequestInfo) -> bool {
        let resource = self.version.resource();
        resource.group == info.group && resource.version == info.version && resource.plural == info.resource
    }

    /// Serves an authorized request.
    pub(crate) async fn serve(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        request: Request,
    ) -> Result<Response, Status> {
        let resource = self.version.resource();
        let misplaced = !resource.namespaced() && !info.namespace.is_empty();
        if misplaced || !info.subresource.is_empty() || !info.rest.is_empty() {
            return Err(Status::no_such_path());
        }
        if !VERBS.contains(&info.verb) {
            return Err(dispatch::method_not_allowed());
        }
        let target = if info.verb == "list" { Target::List } else { Target::Object };
        let pretty = info.query.optional_flag("pretty");
        let form = negotiate(request.headers(), pretty, target, Protobuf::OnlyMetadata)?;
        let answer = if target == Target::List {
            let options = ListOptions::parse(&info.query, false)?;
            let (labels, fields) = (&options.label_selector, &options.field_selector);
            let selection =
                Selection::parse(&self.version, &info.namespace, labels, fields)?.named(&info.name);
            let objects = self.source.list(server, &selection).await?;
            answer::list(&self.version, &form, info, objects, server.context.clock.now())?
        } else {
            let object = self.source.get(server, &info.namespace, &info.name).await?;
            answer::one(&self.version, &form, info, object, server.context.clock.now())?
        };
        Ok(answer::send(&form, &answer))
    }
}

/// Every such kind.
pub(crate) fn all() -> Vec<Computed> {
    resource_metrics::kinds().into()
}
