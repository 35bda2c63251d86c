//! What the client wants back: JSON or YAML; the object itself, a table, or its metadata only.
//!
//! **Contract**: pure. Clauses of `Accept` are tried by quality, then in their order.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use api::status::Status;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};

/// What can be sent.
const OFFERED: [&str; 2] = ["application/json", "application/yaml"];

/// The encoding of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    #[default]
    Json,
    /// `application/yaml`
    Yaml,
}

/// The form in which objects are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    #[default]
    Object,
    /// `Table` in this version of `meta.k8s.io`.
    Table(&'static str),
    /// `PartialObjectMetadata` (or its list) in this version of `meta.k8s.io`.
    Metadata(&'static str),
}

/// What the response is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One object.
    Object,
    /// A list.
    List,
    /// A stream of changes.
    Watch,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// JSON or YAML.
    pub encoding: Encoding,
    /// Object, table or metadata.
    pub shape: Shape,
    /// Whether to indent.
    pub pretty: bool,
    /// Whether the body may be compressed.
    pub gzip: bool,
}

impl Negotiated {
    /// The `Content-Type` of the response.
    pub fn content_type(&self) -> &'static str {
        match self.encoding {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
        }
    }
}

/// Agrees on a response; 406 if nothing that the client accepts can be sent.
pub fn negotiate(headers: &HeaderMap, pretty: Option<bool>, target: Target) -> Result<Negotiated, Status> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let accept = accept.join(",");
    let (encoding, shape, asked_pretty) = if accept.trim().is_empty() {
        (Encoding::Json, Shape::Object, false)
    } else {
        clauses(&accept)
            .into_iter()
            .find_map(|clause| accepted(&clause, target))
            .ok_or_else(|| Status::not_acceptable(&OFFERED))?
    };
    let agent = text(USER_AGENT);
    // People read these; programs do not say so.
    let person = ["curl", "Wget", "Mozilla/5.0"].iter().any(|prefix| agent.starts_with(prefix));
    Ok(Negotiated {
        encoding,
        shape,
        pretty: pretty.unwrap_or(asked_pretty || person) && target != Target::Watch,
        gzip: text(ACCEPT_ENCODING).split(',').any(|e| e.split(';').next().unwrap_or("").trim() == "gzip"),
    })
}

struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<(f32, Clause<'_>)> = accept
        .split(',')
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or("");
            let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
            let quality = parameters.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok());
            (quality.unwrap_or(1.0), Clause { media_type, parameters })
        })
        .filter(|(quality, _)| *quality > 0.0)
        .collect();
    clauses.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    clauses.into_iter().map(|(_, clause)| clause).collect()
}

fn accepted(clause: &Clause<'_>, target: Target) -> Option<(Encoding, Shape, bool)> {
    let encoding = match clause.media_type {
        "*/*" | "application/*" | "application/json" => Encoding::Json,
        "application/yaml" if target != Target::Watch => Encoding::Yaml,
        _ => return None,
    };
    let parameter = |name: &str| clause.parameters.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
    let pretty = parameter("pretty") == Some("1");
    let Some(kind) = parameter("as") else { return Some((encoding, Shape::Object, pretty)) };
    if parameter("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = match parameter("v")? {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => return None,
    };
    let shape = match (kind, target) {
        ("Table", _) => Shape::Table(version),
        ("PartialObjectMetadata", Target::Object | Target::Watch)
        | ("PartialObjectMetadataList", Target::List) => Shape::Metadata(version),
        _ => return None,
    };
    Some((encoding, shape, pretty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_on_what_both_sides_know() {
        let json = |shape| Some((Encoding::Json, shape));
        let table = [
            ("", Target::Object, json(Shape::Object)),
            ("*/*", Target::List, json(Shape::Object)),
            ("application/yaml", Target::Object, Some((Encoding::Yaml, Shape::Object))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Target::List,
                json(Shape::Table("v1")),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Target::Watch,
                json(Shape::Metadata("v1")),
            ),
            ("application/vnd.kubernetes.protobuf,application/json", Target::Object, json(Shape::Object)),
            (
                "application/json;q=0.1,application/yaml;q=0.9",
                Target::Object,
                Some((Encoding::Yaml, Shape::Object)),
            ),
            ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Target::List, None),
            ("application/vnd.kubernetes.protobuf", Target::Object, None),
            ("text/html", Target::Object, None),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", Target::List, None),
        ];
        for (accept, target, expected) in table {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            let got = negotiate(&headers, None, target).ok().map(|n| (n.encoding, n.shape));
            assert_eq!(got, expected, "{accept} for {target:?}");
        }
    }
}
