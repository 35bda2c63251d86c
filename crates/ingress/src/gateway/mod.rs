//! The Gateway API on the same router: GatewayClass, Gateway, HTTPRoute and ReferenceGrant.
//!
//! **Contract**: nothing is followed before the kinds exist, whoever has installed them: [`definitions`] are ours, upstream's
//! do as well. What objects mean is decided by [`attach`] (who may lead where, and the statuses), [`matching`] and
//! [`filters`], which are pure; [`controller`] follows the API and opens ports. What is not supported is said in a status,
//! never ignored.
//! **Not here**: GRPCRoute, TLSRoute, and channels other than the standard one.
//! **Upstream**: `sigs.k8s.io/gateway-api`, API version 1.

mod attach;
mod controller;
mod definitions;
mod filters;
mod hosts;
mod matching;
mod status;
mod types;

pub(crate) use controller::run;
pub use controller::{CLASS, CONTROLLER};
pub use definitions::definitions;

use crate::body::ResponseBody;
use crate::proxy::{Proxy, Visit, authority, host, redirected, said};
use filters::Filters;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use matching::Matcher;
use std::collections::HashMap;
use std::sync::Arc;

/// What the listeners of each port do.
pub(crate) type Ports = HashMap<u16, Port>;

/// The listeners of a port, those with longer hosts first.
#[derive(Debug, Default)]
pub(crate) struct Port(pub(crate) Vec<Listening>);

/// A listener with the routes that are attached to it.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Empty: every host.
    pub(crate) host: String,
    /// In the order in which they are tried.
    pub(crate) routes: Vec<Route>,
}

/// A match of a rule for a host.
#[derive(Debug)]
pub(crate) struct Route {
    /// Empty: every host of the listener.
    pub(crate) host: String,
    pub(crate) matcher: Matcher,
    pub(crate) rule: Arc<Rule>,
}

/// What becomes of the requests of a rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) filters: Filters,
    /// With their shares; none where a backend cannot be used.
    pub(crate) backends: Vec<(u32, Option<Arc<crate::routes::Target>>)>,
}

impl Port {
    /// Who answers such a request, and the prefix that was matched.
    pub(crate) fn find<'a>(&'a self, host: &str, request: &http::request::Parts) -> Option<&'a Route> {
        let listener = self.0.iter().find(|listener| hosts::covers(&listener.host, host))?;
        listener
            .routes
            .iter()
            .find(|route| hosts::covers(&route.host, host) && route.matcher.matches(request))
    }
}

impl Rule {
    /// The backend at a point between 0 and the sum of all shares.
    fn backend(&self, mut point: u64) -> Option<&Arc<crate::routes::Target>> {
        for (weight, target) in &self.backends {
            match point.checked_sub(u64::from(*weight)) {
                Some(rest) => point = rest,
                None => return target.as_ref(),
            }
        }
        None
    }

    fn weight(&self) -> u64 {
        self.backends.iter().map(|(weight, _)| u64::from(*weight)).sum()
    }
}

/// Answers a request that came in at a listener's port.
pub(crate) async fn answer(
    proxy: &Proxy,
    ports: &Ports,
    visit: &Visit,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let authority = authority(&request);
    let entrance = &visit.entrance;
    let host = host(authority.to_str().unwrap_or_default());
    let (mut head, body) = request.into_parts();
    let found = ports.get(&entrance.port).and_then(|port| port.find(&host, &head));
    let Some(route) = found else { return said(StatusCode::NOT_FOUND, "404 Not Found") };
    let (rule, prefix) = (route.rule.clone(), route.matcher.prefix());
    if let Some(redirect) = &rule.filters.redirect {
        let (status, to) = redirect.to(&host, &head.uri, prefix, entrance.secure, entrance.port);
        return redirected(status, &to);
    }
    let rewritten = rule.filters.path.as_ref().map(|path| path.apply(head.uri.path(), prefix));
    rule.filters.request.apply(&mut head.headers);
    let weight = rule.weight();
    let chosen = (weight > 0).then(|| rule.backend(proxy.below(weight))).flatten();
    let Some(target) = chosen else {
        return said(
            StatusCode::INTERNAL_SERVER_ERROR,
            "500 Internal Server Error: the route has no backend",
        );
    };
    let mut response =
        proxy.forward(target, rewritten, authority.clone(), visit, Request::from_parts(head, body)).await;
    rule.filters.response.apply(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_as_weights_say() {
        let target = |name: &str| {
            Some(Arc::new(crate::routes::Target {
                backend: crate::routes::BackendKey {
                    service: client::Key::new("n", name),
                    port: crate::endpoints::PortRef::Number(80),
                },
                upstream: Arc::default(),
                settings: crate::annotations::Settings::default(),
                secure: false,
            }))
        };
        let backends = vec![(1, target("a")), (0, target("never")), (2, target("b")), (1, None)];
        let rule = Rule { filters: Filters::default(), backends };
        let led: Vec<Option<&str>> = (0..=rule.weight())
            .map(|point| rule.backend(point).map(|target| target.backend.service.name.as_str()))
            .collect();
        assert_eq!(led, [Some("a"), Some("b"), Some("b"), None, None]);
    }
}
