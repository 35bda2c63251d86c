//! Discovery: which groups, versions, resources and subresources are served.
//!
//! **Contract**: everything follows from the LISTs; documents are made from [`ResourceFacts`] by pure functions.
//! A client that asks for `apidiscovery.k8s.io/v2`, be it as its last choice, gets everything in two documents; every
//! other client (v2beta1 included, which 1.36 no longer serves) gets the legacy ones.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/discovery`.

mod aggregated;
mod facts;
mod legacy;

use aggregated::Document;
pub(crate) use aggregated::Documents;
pub(crate) use facts::is_built_in;
pub use facts::{ResourceFacts, SubresourceFacts, facts};

use crate::aggregation::{self, Aggregator};
use crate::body::{Request, Response, empty};
use crate::catalog::Catalog;
use crate::negotiate::{Encoding, Negotiated};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::{catalog, dispatch, negotiate, respond};
use api::status::Status;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use std::net::SocketAddr;

/// Answers a request below `/api` or `/apis` that names no resource.
pub fn serve(server: &Server, info: &RequestInfo, request: &Request) -> Result<Response, Status> {
    // What lists groups asks nobody for the method; everything else is a route for GET.
    let lists_groups = matches!(
        info.path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice(),
        ["apis"] | ["apis", _]
    );
    if !lists_groups && *request.method() != Method::GET {
        return Err(dispatch::method_not_allowed());
    }
    let others = Others { aggregator: server.aggregator.as_deref() };
    let address = SocketAddr::new(server.config.advertise_address, server.config.advertise_port).to_string();
    let pretty = info.query.optional_flag("pretty");
    let asked = Asked { headers: request.headers(), pretty, address: &address };
    answer(&info.path, asked, &catalog::of(server), &others)?.ok_or_else(Status::no_such_path)
}

/// What the documents depend on besides what is served.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    headers: &'a HeaderMap,
    /// What the query says of indenting.
    pretty: Option<bool>,
    /// Where the server is, as host and port.
    address: &'a str,
}

/// What other servers add to the documents.
#[derive(Clone, Copy, Default)]
pub(crate) struct Others<'a> {
    aggregator: Option<&'a Aggregator>,
}

impl Others<'_> {
    fn has_any(&self) -> bool {
        self.aggregator.is_some_and(Aggregator::has_remotes)
    }

    fn add(&self, add: impl FnOnce(&Aggregator, &mut Value), mut document: Value) -> Value {
        if let Some(aggregator) = self.aggregator {
            add(aggregator, &mut document);
        }
        document
    }
}

/// The answer to a GET; `None` if nothing is there, 406 if it is there in no form that the client accepts.
pub(crate) fn answer(
    path: &str,
    asked: Asked<'_>,
    catalog: &Catalog,
    others: &Others<'_>,
) -> Result<Option<Response>, Status> {
    let Asked { headers, pretty, address } = asked;
    let facts = catalog.facts();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (segments.as_slice(), negotiate::asked_as(headers, pretty, aggregated::KIND)) {
        (["api"], Some(form)) => {
            return Ok(Some(with_etag(catalog.aggregated().core(facts), headers, form)));
        }
        (["apis"], Some(form)) => {
            if !others.has_any() {
                return Ok(Some(with_etag(catalog.aggregated().groups(facts), headers, form)));
            }
            let groups = others.add(aggregation::add_groups, aggregated::groups(facts));
            return Ok(Some(with_etag(&Document::of(&groups), headers, form)));
        }
        _ => {}
    }
    let local = legacy(&segments, address, facts);
    let merged = match (segments.as_slice(), local, others.aggregator) {
        (["apis"], Some(document), _) => Some(others.add(aggregation::add_legacy_groups, document)),
        (["apis", group], local, Some(aggregator)) => aggregation::group(aggregator, local, group),
        (_, local, _) => local,
    };
    let Some(mut document) = merged else { return Ok(None) };
    let form = match segments.as_slice() {
        ["apis"] | ["apis", _] => negotiate::plain(headers, pretty)?,
        _ => negotiate::routed(headers, pretty)?,
    };
    if form.encoding == Encoding::Protobuf {
        // Upstream leaves it out of some documents, but not of its envelope.
        document["apiVersion"] = "v1".into();
    }
    let mut response = respond::object(200, &document, form);
    if segments.len() == 1 {
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    Ok(Some(response))
}

fn legacy(segments: &[&str], address: &str, facts: &[ResourceFacts]) -> Option<Value> {
    match segments {
        ["api"] => Some(legacy::core_versions(address)),
        ["apis"] => Some(legacy::groups(facts)),
        ["apis", group] => legacy::group(facts, group),
        ["api", version] => legacy::resources(facts, "", version),
        ["apis", group, version] if !group.is_empty() => legacy::resources(facts, group, version),
        _ => None,
    }
}

/// A document that clients keep and ask again for.
fn with_etag(document: &Document, headers: &HeaderMap, form: Negotiated) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == document.etag);
    let mut response = if known {
        let mut response = http::Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        document.show(form)
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.insert(header::ETAG, document.etag.clone());
    response
}

#[cfg(test)]
mod tests;
