//! What a rule of an HTTPRoute makes of requests and answers: headers, paths, redirects.
//!
//! **Contract**: pure. A filter that is not supported is an error, with which its route is not accepted.
//! **Upstream**: `HTTPRouteFilter`.

use super::types::{Filter, HeaderFilter, PathModifier, RedirectFilter};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

/// All filters of a rule together.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    /// Headers that backends get.
    pub(crate) request: Headers,
    /// Headers that clients get.
    pub(crate) response: Headers,
    /// Where clients are sent instead.
    pub(crate) redirect: Option<Redirect>,
    /// The path that backends see.
    pub(crate) path: Option<NewPath>,
    /// The host that backends see.
    pub(crate) host: Option<String>,
}

/// Changes of headers.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// Another path.
#[derive(Debug)]
pub(crate) enum NewPath {
    /// This one.
    Full(String),
    /// The same with this in the place of the matched prefix.
    Prefix(String),
}

/// See [`Redirect::to`].
#[derive(Debug)]
pub(crate) struct Redirect {
    scheme: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    path: Option<NewPath>,
    status: StatusCode,
}

impl Filters {
    /// What the API says.
    ///
    /// # Errors
    /// What of it is not supported.
    pub(crate) fn new(filters: &[Filter]) -> Result<Self, String> {
        let mut all = Self::default();
        for filter in filters {
            let lacks = || format!("a filter of type {} says nothing", filter.kind);
            match filter.kind.as_str() {
                "RequestHeaderModifier" => {
                    all.request = Headers::new(filter.request_header_modifier.as_ref().ok_or_else(lacks)?)?;
                }
                "ResponseHeaderModifier" => {
                    all.response = Headers::new(filter.response_header_modifier.as_ref().ok_or_else(lacks)?)?;
                }
                "RequestRedirect" => {
                    all.redirect = Some(Redirect::new(filter.request_redirect.as_ref().ok_or_else(lacks)?)?);
                }
                "URLRewrite" => {
                    let rewrite = filter.url_rewrite.as_ref().ok_or_else(lacks)?;
                    all.path = rewrite.path.as_ref().map(NewPath::new).transpose()?;
                    all.host.clone_from(&rewrite.hostname);
                }
                other => return Err(format!("filters of type {other} are not supported")),
            }
        }
        Ok(all)
    }
}

impl Headers {
    fn new(filter: &HeaderFilter) -> Result<Self, String> {
        let name =
            |name: &str| name.parse::<HeaderName>().map_err(|_| format!("{name:?} is no name of a header"));
        let pairs = |list: &[super::types::Header]| {
            let pair = |header: &super::types::Header| {
                let value = HeaderValue::from_str(&header.value);
                Ok((
                    name(&header.name)?,
                    value.map_err(|_| format!("{:?} is no value of a header", header.value))?,
                ))
            };
            list.iter().map(pair).collect::<Result<Vec<_>, String>>()
        };
        let remove = filter.remove.iter().map(|text| name(text)).collect::<Result<_, _>>()?;
        Ok(Self { set: pairs(&filter.set)?, add: pairs(&filter.add)?, remove })
    }

    /// Changes headers.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

impl NewPath {
    fn new(modifier: &PathModifier) -> Result<Self, String> {
        let lacks = || format!("a path of type {} is not given", modifier.kind);
        match modifier.kind.as_str() {
            "ReplaceFullPath" => Ok(Self::Full(modifier.replace_full_path.clone().ok_or_else(lacks)?)),
            "ReplacePrefixMatch" => {
                Ok(Self::Prefix(modifier.replace_prefix_match.clone().ok_or_else(lacks)?))
            }
            other => Err(format!("paths of type {other} are not supported")),
        }
    }

    /// The path that comes out, of one whose prefix was matched.
    pub(crate) fn apply(&self, path: &str, prefix: &str) -> String {
        let new = match self {
            Self::Full(full) => full.clone(),
            Self::Prefix(new) => {
                let rest = path.strip_prefix(prefix).unwrap_or(path);
                format!("{}{rest}", new.trim_end_matches('/'))
            }
        };
        if new.starts_with('/') { new } else { format!("/{new}") }
    }
}

impl Redirect {
    fn new(filter: &RedirectFilter) -> Result<Self, String> {
        let status = StatusCode::from_u16(filter.status_code.unwrap_or(302));
        let status = status.ok().filter(|status| status.is_redirection());
        Ok(Self {
            scheme: filter.scheme.clone(),
            host: filter.hostname.clone(),
            port: filter.port,
            path: filter.path.as_ref().map(NewPath::new).transpose()?,
            status: status.ok_or_else(|| "the status of a redirect is none".to_owned())?,
        })
    }

    /// Where a request is sent that came in for this host, over TLS or not, at a listener's port.
    pub(crate) fn to(
        &self,
        host: &str,
        uri: &Uri,
        prefix: &str,
        secure: bool,
        listener: u16,
    ) -> (StatusCode, String) {
        let scheme = self.scheme.as_deref().unwrap_or(if secure { "https" } else { "http" });
        let usual = if scheme == "https" { 443 } else { 80 };
        // **Upstream**: `HTTPRequestRedirectFilter.port`.
        let port = self.port.unwrap_or(if self.scheme.is_some() { usual } else { listener });
        let port = if port == usual { String::new() } else { format!(":{port}") };
        let path = match &self.path {
            Some(path) => path.apply(uri.path(), prefix),
            None => uri.path().to_owned(),
        };
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let host = self.host.as_deref().unwrap_or(host);
        (self.status, format!("{scheme}://{host}{port}{path}{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn filters(list: Value) -> Result<Filters, String> {
        Filters::new(&from_value::<Vec<Filter>>(list).expect("filters"))
    }

    #[test]
    fn redirects_name_all_that_changes() {
        let path = |kind: &str, field: &str, value: &str| json!({"type": kind, field: value});
        for (redirect, secure, listener, expected) in [
            (json!({"scheme": "https"}), false, 80, (302, "https://h/a/b?c")),
            (json!({"hostname": "o", "statusCode": 301}), false, 80, (301, "http://o/a/b?c")),
            (json!({}), false, 8080, (302, "http://h:8080/a/b?c")),
            (json!({"scheme": "https"}), false, 8080, (302, "https://h/a/b?c")),
            (json!({"port": 8443}), true, 443, (302, "https://h:8443/a/b?c")),
            (
                json!({"path": path("ReplacePrefixMatch", "replacePrefixMatch", "/x/")}),
                true,
                443,
                (302, "https://h/x/b?c"),
            ),
            (
                json!({"path": path("ReplaceFullPath", "replaceFullPath", "/x")}),
                true,
                443,
                (302, "https://h/x?c"),
            ),
        ] {
            let made = filters(json!([{"type": "RequestRedirect", "requestRedirect": redirect}]));
            let made = made.expect("supported").redirect.expect("one");
            let (status, to) = made.to("h", &"/a/b?c".parse().expect("a URI"), "/a", secure, listener);
            assert_eq!((status.as_u16(), to.as_str()), expected, "{redirect}");
        }
    }

    #[test]
    fn prefixes_are_replaced_as_a_whole() {
        for (new, path, prefix, expected) in [
            ("/x", "/a/b", "/a", "/x/b"),
            ("/x", "/a", "/a", "/x"),
            ("/", "/a", "/a", "/"),
            ("/", "/a/b", "/a", "/b"),
            ("/x", "/b", "", "/x/b"),
        ] {
            assert_eq!(NewPath::Prefix(new.to_owned()).apply(path, prefix), expected, "{new} {path}");
        }
    }

    #[test]
    fn headers_are_set_added_and_removed() {
        let made = filters(json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": {
            "set": [{"name": "a", "value": "1"}], "add": [{"name": "B", "value": "2"}], "remove": ["c"],
        }}]));
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "old"), ("b", "old"), ("c", "old")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        made.expect("supported").request.apply(&mut headers);
        let b: Vec<_> = headers.get_all("b").iter().collect();
        assert_eq!(b, ["old", "2"]);
        assert!(headers["a"] == "1" && !headers.contains_key("c"));
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let told = filters(json!([{"type": "RequestMirror"}])).expect_err("refused");
        assert_eq!(told, "filters of type RequestMirror are not supported");
        assert!(filters(json!([{"type": "URLRewrite"}])).is_err());
    }
}
