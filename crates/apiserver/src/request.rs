//! What a request asks for, told from its method, path and query alone.
//!
//! **Contract**: pure. The verb is the one that authorization and metrics speak of: a GET without a name is a `list`,
//! or a `watch` if the query says so; a DELETE without a name is a `deletecollection`.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/request` (`RequestInfo`).

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

/// The query of a request: names and values, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes `a=1&b=x%20y`.
    pub fn parse(query: &str) -> Self {
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        Self(
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of a name, `""` if there is none.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A boolean as upstream reads it: absent, `0` and `false` are false, everything else is true.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    /// A boolean, or `None` if the name is absent.
    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|_| self.flag(name))
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource (`/api/v1/pods`) and not, say, `/healthz` or `/apis/apps`.
    pub is_resource: bool,
    /// The path as sent.
    pub path: String,
    /// `get list watch create update patch delete deletecollection`, or nothing; if no resource is named, the method in
    /// lower case.
    pub verb: &'static str,
    /// API group, `""` for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural of the resource.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty. For `/api/v1/namespaces/x` it is `x`, as authorization wants it.
    pub namespace: String,
    /// Name of the object, or empty. A list that selects one name has that name.
    pub name: String,
    /// What follows the subresource (`proxy/<this>`), without the first slash.
    pub rest: String,
    /// The query.
    pub query: Query,
}

impl RequestInfo {
    /// Reads method and address.
    pub fn new(method: &Method, uri: &Uri) -> Self {
        let mut info = Self {
            path: uri.path().to_owned(),
            verb: lower_case(method),
            query: Query::parse(uri.query().unwrap_or("")),
            ..Self::default()
        };
        info.read_path(method);
        info
    }

    fn read_path(&mut self, method: &Method) {
        let path = self.path.clone();
        let segments: Vec<String> = path.trim_matches('/').split('/').map(percent_decode).collect();
        let mut parts: &[String] = &segments;
        match parts {
            [api, version, rest @ ..] if api == "api" && !rest.is_empty() => {
                self.version.clone_from(version);
                parts = rest;
            }
            [apis, group, version, rest @ ..] if apis == "apis" && !rest.is_empty() => {
                self.group.clone_from(group);
                self.version.clone_from(version);
                parts = rest;
            }
            _ => return,
        }
        self.is_resource = true;
        self.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        let watch_path = parts.len() > 1 && parts[0] == "watch";
        if watch_path {
            parts = &parts[1..];
        }
        if let [namespaces, namespace, rest @ ..] = parts
            && namespaces == "namespaces"
        {
            self.namespace.clone_from(namespace);
            if let [sub, ..] = rest
                && !matches!(sub.as_str(), "status" | "finalize")
            {
                parts = rest;
            }
        }
        let mut parts = parts.iter();
        self.resource = parts.next().cloned().unwrap_or_default();
        self.name = parts.next().cloned().unwrap_or_default();
        self.subresource = parts.next().cloned().unwrap_or_default();
        self.rest = parts.map(String::as_str).collect::<Vec<_>>().join("/");
        if watch_path && self.verb == "get" {
            self.verb = "watch";
        } else if self.name.is_empty() {
            self.verb = match self.verb {
                "get" if self.query.flag("watch") => "watch",
                "get" => "list",
                "delete" => "deletecollection",
                other => other,
            };
        }
        if self.name.is_empty() && matches!(self.verb, "list" | "watch" | "deletecollection") {
            self.name = self.selected_name().unwrap_or_default();
        }
    }

    /// The name that a field selector `metadata.name=x` asks for, so that authorization can grant just that one.
    fn selected_name(&self) -> Option<String> {
        self.query.text("fieldSelector").split(',').find_map(|term| {
            let (label, value) = term.split_once('=')?;
            let value = value.strip_prefix('=').unwrap_or(value);
            (label == "metadata.name" && !value.is_empty()).then(|| value.to_owned())
        })
    }
}

fn lower_case(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "unknown",
    }
}

/// The first `%` of a path that two hexadecimal digits do not follow, with what follows it.
pub(crate) fn invalid_escape(path: &str) -> Option<&str> {
    path.match_indices('%').map(|(at, _)| &path[at..]).find_map(|rest| {
        let digits = rest.bytes().skip(1).take(2).filter(u8::is_ascii_hexdigit).count();
        let end = rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at);
        (digits != 2).then_some(&rest[..end])
    })
}

/// Decodes `%41`; what is not a valid escape stays as it is.
pub(crate) fn percent_decode<S: AsRef<str> + ?Sized>(text: &S) -> String {
    percent_decode_str(text.as_ref()).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_escapes_that_are_none() {
        for (path, expected) in
            [("/a%41", None), ("/%zz/b", Some("%zz")), ("/a%4", Some("%4")), ("/%41%é", Some("%é"))]
        {
            assert_eq!(invalid_escape(path), expected, "{path}");
        }
    }

    #[test]
    fn tells_verb_resource_and_name_from_method_and_path() {
        // method, uri, resource?, verb, group, namespace, resource, name, subresource
        let table = [
            ("GET", "/api/v1/pods", true, "list", "", "", "pods", "", ""),
            ("GET", "/api/v1/namespaces/a/pods?watch=1", true, "watch", "", "a", "pods", "", ""),
            ("GET", "/api/v1/namespaces/a/pods/x?watch=0", true, "get", "", "a", "pods", "x", ""),
            ("GET", "/api/v1/namespaces/a/pods/x/log", true, "get", "", "a", "pods", "x", "log"),
            ("DELETE", "/api/v1/namespaces/a/pods", true, "deletecollection", "", "a", "pods", "", ""),
            ("PUT", "/api/v1/namespaces/a", true, "update", "", "a", "namespaces", "a", ""),
            ("PUT", "/api/v1/namespaces/a/finalize", true, "update", "", "a", "namespaces", "a", "finalize"),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                true,
                "get",
                "rbac.authorization.k8s.io",
                "",
                "clusterroles",
                "system:node",
                "",
            ),
            ("GET", "/api/v1/watch/pods", true, "watch", "", "", "pods", "", ""),
            (
                "GET",
                "/api/v1/pods?fieldSelector=metadata.name%3Dx&watch",
                true,
                "watch",
                "",
                "",
                "pods",
                "x",
                "",
            ),
            ("HEAD", "/api/v1/pods", true, "list", "", "", "pods", "", ""),
            ("OPTIONS", "/api/v1/pods", true, "", "", "", "pods", "", ""),
            ("OPTIONS", "/version", false, "options", "", "", "", "", ""),
            ("GET", "/apis/apps/v1", false, "get", "", "", "", "", ""),
            ("GET", "/api/v1", false, "get", "", "", "", "", ""),
            ("GET", "/healthz", false, "get", "", "", "", "", ""),
            (
                "POST",
                "/apis/apps/v1/namespaces/a/deployments",
                true,
                "create",
                "apps",
                "a",
                "deployments",
                "",
                "",
            ),
        ];
        for (method, uri, is_resource, verb, group, namespace, resource, name, subresource) in table {
            let info = RequestInfo::new(&method.parse().unwrap(), &uri.parse().unwrap());
            let got = (
                info.is_resource,
                info.verb,
                info.group.as_str(),
                info.namespace.as_str(),
                info.resource.as_str(),
                info.name.as_str(),
                info.subresource.as_str(),
            );
            assert_eq!(
                got,
                (is_resource, verb, group, namespace, resource, name, subresource),
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn reads_queries() {
        let query = Query::parse("a=1&b=x%20y+z&c&d=false&a=2");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.text("b"), "x y z");
        assert!(query.flag("c") && !query.flag("d") && !query.flag("e"));
    }
}
