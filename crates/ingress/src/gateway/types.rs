//! The kinds of the Gateway API, as far as they mean something here. Statuses stay JSON: several controllers write them.

use kube::Resource;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The group of all of them.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $version:literal, $plural:literal, $scope:ty, $spec:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        pub(crate) struct $name {
            /// What every object has.
            #[serde(default)]
            pub(crate) metadata: ObjectMeta,
            /// What is wanted.
            #[serde(default)]
            pub(crate) spec: $spec,
            /// What is.
            #[serde(default, skip_serializing_if = "Value::is_null")]
            pub(crate) status: Value,
        }

        impl Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

kind!(
    /// Who makes Gateways work.
    GatewayClass, "GatewayClass", "v1", "gatewayclasses", ClusterResourceScope, ClassSpec
);
kind!(
    /// Where requests come in.
    Gateway, "Gateway", "v1", "gateways", NamespaceResourceScope, GatewaySpec
);
kind!(
    /// Which of them go where.
    HttpRoute, "HTTPRoute", "v1", "httproutes", NamespaceResourceScope, RouteSpec
);
kind!(
    /// Who may refer to objects of another namespace.
    ReferenceGrant, "ReferenceGrant", "v1beta1", "referencegrants", NamespaceResourceScope, GrantSpec
);

macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(crate) struct $name {
            $($(#[$attr])* pub(crate) $field: $type,)*
        }
    };
}

shape!(
    /// Of a GatewayClass.
    ClassSpec { controller_name: String, }
);
shape!(
    /// Of a Gateway.
    GatewaySpec {
        gateway_class_name: String,
        listeners: Vec<Listener>,
        addresses: Vec<Value>,
        infrastructure: Value,
        tls: Value,
        allowed_listeners: Value,
    }
);
shape!(
    /// A port of a Gateway, for some hosts.
    Listener {
        name: String,
        hostname: Option<String>,
        port: u16,
        protocol: String,
        tls: Option<ListenerTls>,
        allowed_routes: Option<AllowedRoutes>,
    }
);
shape!(
    /// What is done about TLS.
    ListenerTls { mode: Option<String>, certificate_refs: Vec<Reference>, options: BTreeMap<String, String>, }
);
shape!(
    /// An object, perhaps of another namespace.
    Reference { group: Option<String>, kind: Option<String>, namespace: Option<String>, name: String, }
);
shape!(
    /// Whose routes may be attached.
    AllowedRoutes { namespaces: Option<AllowedNamespaces>, kinds: Vec<RouteKind>, }
);
shape!(
    /// Of which namespaces.
    AllowedNamespaces { from: Option<String>, selector: Option<Value>, }
);
shape!(
    /// A kind of route.
    RouteKind { group: Option<String>, kind: String, }
);
shape!(
    /// Of an HTTPRoute.
    RouteSpec { parent_refs: Vec<ParentRef>, hostnames: Vec<String>, rules: Vec<RouteRule>, }
);
shape!(
    /// What a route is to be attached to.
    ParentRef {
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        section_name: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    }
);
shape!(
    /// Which requests, and what becomes of them.
    RouteRule {
        matches: Vec<HttpMatch>,
        filters: Vec<Filter>,
        backend_refs: Vec<BackendRef>,
        timeouts: Option<Timeouts>,
    }
);
shape!(
    /// All of these.
    HttpMatch {
        path: Option<PathMatch>,
        method: Option<String>,
        headers: Vec<NameMatch>,
        query_params: Vec<NameMatch>,
    }
);
shape!(
    /// A path.
    PathMatch { #[serde(rename = "type")] kind: Option<String>, value: Option<String>, }
);
shape!(
    /// A header, or a parameter of the query.
    NameMatch { #[serde(rename = "type")] kind: Option<String>, name: String, value: String, }
);
shape!(
    /// A Service with its share.
    BackendRef {
        group: Option<String>,
        kind: Option<String>,
        namespace: Option<String>,
        name: String,
        port: Option<i32>,
        weight: Option<u32>,
        filters: Vec<Filter>,
    }
);
shape!(
    /// How long requests may take: durations such as `10s`.
    Timeouts { request: Option<String>, backend_request: Option<String>, }
);
shape!(
    /// One filter.
    Filter {
        #[serde(rename = "type")]
        kind: String,
        request_header_modifier: Option<HeaderFilter>,
        response_header_modifier: Option<HeaderFilter>,
        request_redirect: Option<RedirectFilter>,
        url_rewrite: Option<RewriteFilter>,
    }
);
shape!(
    /// Changes of headers.
    HeaderFilter { set: Vec<Header>, add: Vec<Header>, remove: Vec<String>, }
);
shape!(
    /// A header.
    Header { name: String, value: String, }
);
shape!(
    /// Where clients are sent.
    RedirectFilter {
        scheme: Option<String>,
        hostname: Option<String>,
        path: Option<PathModifier>,
        port: Option<u16>,
        status_code: Option<u16>,
    }
);
shape!(
    /// What backends see.
    RewriteFilter { hostname: Option<String>, path: Option<PathModifier>, }
);
shape!(
    /// Another path.
    PathModifier {
        #[serde(rename = "type")]
        kind: String,
        replace_full_path: Option<String>,
        replace_prefix_match: Option<String>,
    }
);
shape!(
    /// Of a ReferenceGrant.
    GrantSpec { from: Vec<GrantFrom>, to: Vec<GrantTo>, }
);
shape!(
    /// Who may refer.
    GrantFrom { group: String, kind: String, namespace: String, }
);
shape!(
    /// To what.
    GrantTo { group: String, kind: String, name: Option<String>, }
);
