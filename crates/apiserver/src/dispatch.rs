//! Which part of the server answers a request.
//!
//! **Contract**: knows paths and LISTs, no kinds.

use crate::auth::UserInfo;
use crate::body::{Request, Response};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::subresources::CustomScale;
use crate::{
    aggregation, body, catalog, discovery, handlers, health, metrics, negotiate, openapi, openid, pages,
    request, respond, version,
};
use api::status::Status;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// The paths that `/` lists, besides those of API groups and of health.
const INDEX: [&str; 14] = [
    "/.well-known/openid-configuration",
    "/api",
    "/api/v1",
    "/apis",
    "/apis/",
    "/flagz",
    "/metrics",
    "/metrics/slis",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/statusz",
    "/version",
];

/// Serves an authorized request.
pub(crate) async fn dispatch(
    server: &Arc<Server>,
    info: &RequestInfo,
    user: &UserInfo,
    request: Request,
) -> Result<Response, Status> {
    match answer(server, info, user, request).await {
        // Elsewhere upstream answers in HTTP's own words.
        Err(status) if status.is_no_such_path() && !answers_with_status(server, &info.path) => {
            Ok(respond::text(404, "404 page not found\n"))
        }
        answer => answer,
    }
}

/// Whether a path belongs to a part that says in a `Status` what it does not have: `/api`, a built-in group, `/version`.
fn answers_with_status(server: &Server, path: &str) -> bool {
    match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        ["api" | "version", ..] => true,
        ["apis", group, ..] if !group.is_empty() => {
            let is_ours =
                discovery::is_built_in(group) || server.computed.iter().any(|kind| kind.group() == *group);
            is_ours && catalog::of(server).facts().iter().any(|facts| facts.resource.group == *group)
        }
        _ => false,
    }
}

async fn answer(
    server: &Arc<Server>,
    info: &RequestInfo,
    user: &UserInfo,
    request: Request,
) -> Result<Response, Status> {
    if let Some(escape) = request::invalid_escape(&info.path) {
        return Err(Status::bad_request(format!("invalid URL escape {escape:?}")));
    }
    let path = info.path.trim_end_matches('/');
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let group_version = match segments.as_slice() {
        _ if info.is_resource => Some((&*info.group, &*info.version)),
        ["apis", group, version] => Some((*group, *version)),
        ["openapi", ..] => aggregation::document_group_version(path),
        _ => None,
    };
    let others = server.aggregator.as_deref().filter(|aggregator| aggregator.has_remotes());
    if let (Some((group, version)), Some(aggregator)) = (group_version, others)
        && let Some(remote) = aggregator.remote(group, version)
        && let Some(remote) = &*remote
    {
        return aggregation::pass_on(server, aggregator, remote, user, request).await;
    }
    if info.is_resource {
        return resource(server, info, user, request).await;
    }
    match segments.as_slice() {
        [] => Ok(index(server)),
        ["api" | "apis", ..] => discovery::serve(server, info, &request),
        ["openapi", "v3"] if others.is_some() => {
            let catalog = catalog::of(server);
            let add = |index: &mut Value| {
                if let Some(others) = others {
                    aggregation::add_paths(others, index);
                }
            };
            Ok(openapi::index(request.headers(), catalog.resources(), &add).map(body::full))
        }
        ["openapi", "v2"] if others.is_some() => {
            let catalog = catalog::of(server);
            let add = |document: &mut Value| {
                if let Some(others) = others {
                    aggregation::add_documents(others, document);
                }
            };
            Ok(openapi::serve_v2(request.headers(), catalog.resources(), &add).map(body::full))
        }
        ["openapi", ..] => {
            let catalog = catalog::of(server);
            let query = request.uri().query();
            let now = server.context.clock.now();
            let found = openapi::serve(&info.path, request.headers(), query, catalog.resources(), now);
            found.map(|response| response.map(body::full)).ok_or_else(Status::no_such_path)
        }
        ["healthz" | "livez" | "readyz", ..] => health::serve(server, info),
        ["debug", "api_priority_and_fairness", page] => {
            let with_details = !info.query.text("includeRequestDetails").is_empty();
            let flow = server.flow.as_ref();
            let text = flow.and_then(|flow| flow.debug_page(page, with_details));
            text.map(|text| respond::text(200, text)).ok_or_else(Status::no_such_path)
        }
        ["debug", page @ ..] => {
            let found = server.context.pages.read(page);
            found.map(|page| respond::json(200, &page)).ok_or_else(Status::no_such_path)
        }
        ["flagz"] => pages::flags(server, request.headers()),
        ["statusz"] => pages::status(server, request.headers(), &paths(server)),
        ["version"] => {
            only_get(&request, "application/json")?;
            Ok(respond::indented(200, &version::version()))
        }
        // Upstream empties its counters then; nobody does that here.
        ["metrics", ..] if info.verb == "delete" => Err(Status::no_such_path()),
        ["metrics", "slis"] => Ok(metrics::respond(server.indicators.metrics(), request.headers())),
        ["metrics"] => Ok(metrics::respond(&server.context.metrics, request.headers())),
        ["openid", "v1", "jwks"] => {
            only_get(&request, openid::KEYS)?;
            openid::keys(server)
        }
        [".well-known", "openid-configuration"] => {
            only_get(&request, "application/json")?;
            Ok(openid::configuration(server))
        }
        _ => Err(Status::no_such_path()),
    }
}

/// Refuses what a route for GET, which produces this media type, does not take: a HEAD, too.
fn only_get(request: &Request, produced: &str) -> Result<(), Status> {
    if *request.method() != Method::GET {
        return Err(method_not_allowed());
    }
    negotiate::routable(request.headers(), &[produced])
}

/// Whether a kind was added at run time: to requests for it upstream leads by their verb alone, without a router.
fn is_custom(server: &Server, info: &RequestInfo) -> bool {
    let served = server.registry.served(&info.group, &info.version, &info.resource);
    served.is_some_and(|(_, version)| crate::protobuf::type_of(version.resource()).is_none())
}

async fn resource(
    server: &Arc<Server>,
    info: &RequestInfo,
    user: &UserInfo,
    request: Request,
) -> Result<Response, Status> {
    // There is a right to a HEAD, that of a GET, but no route for it.
    let routed = (*request.method() == Method::HEAD && !is_custom(server, info))
        .then(|| RequestInfo { verb: "head", ..info.clone() });
    let info = routed.as_ref().unwrap_or(info);
    let review = server.reviews.iter().find(|review| {
        let resource = review.resource();
        resource.group == info.group && resource.version == info.version && resource.plural == info.resource
    });
    if let Some(review) = review {
        return Box::pin(crate::reviews::serve(server, &**review, info, user, request)).await;
    }
    if let Some(kind) = server.computed.iter().find(|kind| kind.is_asked_by(info)) {
        return kind.serve(server, info, request).await;
    }
    if !matches!(&*info.subresource, "" | "status") {
        let found = server.subresources.iter().find(|subresource| {
            let facts = subresource.facts();
            facts.group == info.group
                && facts.version == info.version
                && facts.plural == info.resource
                && facts.name == info.subresource
        });
        let Some(subresource) = found else { return custom_scale(server, info, user, request).await };
        if !subresource.serves(info.verb) {
            return Err(method_not_allowed());
        }
        return subresource.handle(server, info, user, request).await;
    }
    handlers::handle(server, info, user, request).await
}

/// `scale` of a kind that was added at run time, if it has one.
async fn custom_scale(
    server: &Arc<Server>,
    info: &RequestInfo,
    user: &UserInfo,
    request: Request,
) -> Result<Response, Status> {
    let served = server.registry.served(&info.group, &info.version, &info.resource);
    let paths =
        served.and_then(|(_, version)| version.scale().cloned()).filter(|_| info.subresource == "scale");
    let Some(paths) = paths else { return Err(Status::no_such_path()) };
    if !matches!(info.verb, "get" | "patch" | "update") {
        return Err(method_not_allowed());
    }
    CustomScale(paths).handle(server, info, user, request).await
}

/// 405, as upstream words it where no store is asked.
pub(crate) fn method_not_allowed() -> Status {
    let mut status = Status::new(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    );
    status.details = Some(Box::default());
    status
}

/// What `/` answers.
fn index(server: &Server) -> Response {
    respond::indented(200, &json!({ "paths": paths(server) }))
}

/// All paths that are no objects.
fn paths(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = INDEX.iter().map(|path| (*path).to_owned()).collect();
    for facts in catalog::of(server).facts() {
        let resource = &facts.resource;
        if !resource.group.is_empty() {
            paths.push(format!("/apis/{}", resource.group));
            paths.push(format!("/apis/{}/{}", resource.group, resource.version));
        }
    }
    paths.extend(health::paths(server));
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use crate::auth::UserInfo;
    use crate::server::testing::{call, root, start};
    use http::Method;
    use serde_json::Value;

    #[tokio::test]
    async fn a_path_that_nothing_serves_is_told_so_in_the_words_of_its_part() {
        let server = start().await;
        for path in
            ["/nonsense", "/healthz/nonsense", "/apis/no.such", "/apis/no.such/v1", "/apis/no.such/v1/things"]
        {
            let answer = call(&server, root(), Method::GET, path, &[], Value::Null).await;
            assert_eq!((answer.code, answer.text.as_str()), (404, "404 page not found\n"), "{path}");
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        }
        for path in [
            "/api/v2",
            "/api/v1/things",
            "/apis/apps/v9",
            "/apis/apps/v1/things",
            "/api/v1/namespaces/default/pods/p/nonsense",
            "/version/nonsense",
        ] {
            let answer = call(&server, root(), Method::GET, path, &[], Value::Null).await;
            let expected = (404, "the server could not find the requested resource");
            assert_eq!((answer.code, answer.message().as_str()), expected, "{path}");
        }
        for path in ["/version", "/api", "/apis/apps/v1"] {
            let answer = call(&server, root(), Method::POST, path, &[], Value::Null).await;
            let expected = (405, "the server does not allow this method on the requested resource");
            assert_eq!((answer.code, answer.message().as_str()), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn a_head_has_the_rights_of_a_get_and_no_route() {
        let server = start().await;
        let pods = "/api/v1/namespaces/default/pods";
        for (path, code) in [
            (pods, 405),
            ("/api/v1/namespaces/default", 405),
            ("/apis/authentication.k8s.io/v1/selfsubjectreviews", 405),
            ("/api/v1/namespaces/default/pods/p/log", 405),
            ("/api/v1/things", 404),
            ("/api/v1", 405),
            ("/apis/apps/v1", 405),
            ("/version", 405),
            ("/openid/v1/jwks", 405),
            ("/apis", 200),
            ("/apis/apps", 200),
            ("/healthz", 200),
            ("/openapi/v3", 200),
        ] {
            let answer = call(&server, root(), Method::HEAD, path, &[], Value::Null).await;
            assert_eq!((answer.code, answer.text.as_str()), (code, ""), "{path}");
        }
        let nobody = UserInfo::authenticated("nobody", []);
        assert_eq!(call(&server, nobody, Method::HEAD, pods, &[], Value::Null).await.code, 403);
    }

    #[tokio::test]
    async fn what_is_no_route_asks_nobody_for_the_method() {
        let server = start().await;
        for path in ["/", "/healthz", "/readyz/ping", "/metrics", "/apis", "/apis/apps", "/openapi/v3"] {
            assert_eq!(call(&server, root(), Method::POST, path, &[], Value::Null).await.code, 200, "{path}");
        }
    }

    #[tokio::test]
    async fn a_route_tells_what_it_produces_to_whoever_wants_something_else() {
        let server = start().await;
        let html = [("accept", "text/html")];
        for (path, available) in [
            ("/version", "application/json"),
            ("/openid/v1/jwks", "application/jwk-set+json"),
            ("/api/v1", "application/json, application/yaml, application/vnd.kubernetes.protobuf"),
        ] {
            let answer = call(&server, root(), Method::GET, path, &html, Value::Null).await;
            let expected = format!("406: Not Acceptable\n\nAvailable representations: {available}");
            assert_eq!((answer.code, answer.message()), (406, expected), "{path}");
        }
    }

    #[tokio::test]
    async fn every_path_of_the_index_is_served() {
        let server = start().await;
        let index = call(&server, root(), Method::GET, "/", &[], Value::Null).await.json();
        let paths: Vec<&str> =
            index["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
        for expected in
            ["/apis/apps/v1", "/healthz/ping", "/livez/etcd", "/readyz/shutdown", "/openid/v1/jwks"]
        {
            assert!(paths.contains(&expected), "{expected}");
        }
        for path in paths {
            assert_eq!(call(&server, root(), Method::GET, path, &[], Value::Null).await.code, 200, "{path}");
        }
    }
}
