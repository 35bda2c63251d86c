//! Whether a request is what a rule of an HTTPRoute is about: path, method, headers, query.
//!
//! **Contract**: pure. Which of several matches comes first is [`Matcher::rank`].
//! **Upstream**: `HTTPRouteMatch`, with its order of precedence.

use super::types::{HttpMatch, NameMatch};
use http::request::Parts;
use http::{HeaderName, Method};
use regex::{Regex, RegexBuilder};
use std::cmp::Reverse;

/// The longest compiled expression, bytes.
const LONGEST_REGEX: usize = 1 << 20;

#[derive(Debug)]
enum Path {
    Exact(String),
    /// Without a slash at the end.
    Prefix(String),
    Regex(Regex),
}

#[derive(Debug)]
enum Value {
    Exact(String),
    Regex(Regex),
}

/// All that a request must have.
#[derive(Debug)]
pub(crate) struct Matcher {
    path: Path,
    method: Option<Method>,
    headers: Vec<(HeaderName, Value)>,
    query: Vec<(String, Value)>,
}

/// Less is tried earlier.
pub(crate) type Rank = (u8, Reverse<usize>, Reverse<bool>, Reverse<usize>, Reverse<usize>);

impl Matcher {
    /// What the API says.
    ///
    /// # Errors
    /// What of it cannot be understood.
    pub(crate) fn new(wanted: &HttpMatch) -> Result<Self, String> {
        let (kind, path) = match &wanted.path {
            Some(path) => (path.kind.as_deref(), path.value.as_deref().unwrap_or("/")),
            None => (None, "/"),
        };
        let path = match kind.unwrap_or("PathPrefix") {
            "Exact" => Path::Exact(path.to_owned()),
            "PathPrefix" => Path::Prefix(path.trim_end_matches('/').to_owned()),
            "RegularExpression" => Path::Regex(regex(path)?),
            other => return Err(format!("path type {other:?} is not supported")),
        };
        let method = wanted.method.as_ref().map(|method| method.parse()).transpose();
        let mut headers: Vec<(HeaderName, Value)> = Vec::new();
        for header in &wanted.headers {
            let name =
                header.name.parse().map_err(|_| format!("{:?} is no name of a header", header.name))?;
            // Of several with one name only the first counts.
            if !headers.iter().any(|(known, _)| *known == name) {
                headers.push((name, value(header)?));
            }
        }
        let mut query: Vec<(String, Value)> = Vec::new();
        for parameter in &wanted.query_params {
            if !query.iter().any(|(known, _)| *known == parameter.name) {
                query.push((parameter.name.clone(), value(parameter)?));
            }
        }
        Ok(Self { path, method: method.map_err(|_| "the method is none".to_owned())?, headers, query })
    }

    /// Its place among others.
    pub(crate) fn rank(&self) -> Rank {
        let (kind, length) = match &self.path {
            Path::Exact(path) => (0, path.len()),
            Path::Regex(regex) => (1, regex.as_str().len()),
            Path::Prefix(path) => (2, path.len()),
        };
        let Self { method, headers, query, .. } = self;
        (kind, Reverse(length), Reverse(method.is_some()), Reverse(headers.len()), Reverse(query.len()))
    }

    /// The prefix that is matched, without a slash at its end.
    pub(crate) fn prefix(&self) -> &str {
        match &self.path {
            Path::Prefix(prefix) => prefix,
            Path::Exact(_) | Path::Regex(_) => "",
        }
    }

    /// Whether a request has all of it.
    pub(crate) fn matches(&self, request: &Parts) -> bool {
        let path = request.uri.path();
        let by_path = match &self.path {
            Path::Exact(exact) => path == exact,
            Path::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Path::Regex(regex) => regex.is_match(path),
        };
        by_path
            && self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.headers.iter().all(|(name, wanted)| {
                let all: Vec<&str> =
                    request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
                !all.is_empty() && wanted.matches(&all.join(","))
            })
            && self.query.iter().all(|(name, wanted)| {
                let query = request.uri.query().unwrap_or_default();
                let mut pairs = form_urlencoded::parse(query.as_bytes());
                pairs.find(|(key, _)| key == name).is_some_and(|(_, value)| wanted.matches(&value))
            })
    }
}

impl Value {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

fn value(wanted: &NameMatch) -> Result<Value, String> {
    match wanted.kind.as_deref().unwrap_or("Exact") {
        "Exact" => Ok(Value::Exact(wanted.value.clone())),
        "RegularExpression" => regex(&wanted.value).map(Value::Regex),
        other => Err(format!("match type {other:?} is not supported")),
    }
}

/// The whole text is matched.
fn regex(text: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(LONGEST_REGEX).build();
    compiled.map_err(|error| format!("{text:?} is not a valid regular expression: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, from_value, json};

    fn matcher(wanted: Json) -> Matcher {
        Matcher::new(&from_value(wanted).expect("a match")).expect("it can be understood")
    }

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_request_has_all_that_is_asked() {
        let prefix = json!({"path": {"type": "PathPrefix", "value": "/a/"}});
        let exact = json!({"path": {"type": "Exact", "value": "/a"}, "method": "POST"});
        let regex = json!({"path": {"type": "RegularExpression", "value": "/v[0-9]+"}});
        let header = json!({"headers": [{"name": "X-Kind", "value": "b"}, {"name": "x-kind", "value": "c"}]});
        let query = json!({"queryParams": [{"name": "q", "type": "RegularExpression", "value": "a.*"}]});
        for (what, wanted, request, expected) in [
            ("everything", json!({}), request("GET", "/x", &[]), true),
            ("prefix", prefix.clone(), request("GET", "/a/b", &[]), true),
            ("prefix itself", prefix.clone(), request("GET", "/a", &[]), true),
            ("by elements", prefix, request("GET", "/ab", &[]), false),
            ("exact", exact.clone(), request("POST", "/a", &[]), true),
            ("other method", exact.clone(), request("GET", "/a", &[]), false),
            ("longer", exact, request("POST", "/a/", &[]), false),
            ("regex", regex.clone(), request("GET", "/v12", &[]), true),
            ("regex, all of it", regex, request("GET", "/v12/x", &[]), false),
            ("header", header.clone(), request("GET", "/", &[("x-kind", "b")]), true),
            ("other header", header.clone(), request("GET", "/", &[("x-kind", "c")]), false),
            ("no header", header, request("GET", "/", &[]), false),
            ("query", query.clone(), request("GET", "/?p=1&q=a%20b", &[]), true),
            ("other query", query.clone(), request("GET", "/?q=b&q=a", &[]), false),
            ("no query", query, request("GET", "/", &[]), false),
        ] {
            assert_eq!(matcher(wanted).matches(&request), expected, "{what}");
        }
    }

    #[test]
    fn what_is_more_exact_is_tried_first() {
        let ordered = [
            json!({"path": {"type": "Exact", "value": "/a"}}),
            json!({"path": {"value": "/a/b"}}),
            json!({"path": {"value": "/a"}, "method": "GET"}),
            json!({"path": {"value": "/a"}, "headers": [{"name": "x", "value": "1"}, {"name": "y", "value": "1"}]}),
            json!({"path": {"value": "/a"}, "headers": [{"name": "x", "value": "1"}]}),
            json!({"path": {"value": "/a"}, "queryParams": [{"name": "x", "value": "1"}]}),
            json!({"path": {"value": "/a"}}),
            json!({}),
        ];
        let ranks: Vec<Rank> = ordered.into_iter().map(|wanted| matcher(wanted).rank()).collect();
        assert!(ranks.is_sorted() && ranks.windows(2).all(|pair| pair[0] != pair[1]));
        let wrong =
            from_value(json!({"path": {"type": "RegularExpression", "value": "("}})).expect("a match");
        assert!(Matcher::new(&wrong).is_err());
    }
}
