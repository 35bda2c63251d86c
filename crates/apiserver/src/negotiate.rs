//! What the client wants back: JSON, YAML or protobuf; the object itself, a table, or its metadata only.
//!
//! **Contract**: pure. Clauses of `Accept` are tried by quality, then in their order.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use api::status::Status;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};

/// What can be read and sent. **Upstream**: `MediaTypesForSerializer`.
pub const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", api::protobuf::MEDIA_TYPE];
/// The same for kinds that have no protobuf form.
pub const MEDIA_TYPES_WITHOUT_PROTOBUF: [&str; 2] = ["application/json", "application/yaml"];

/// The encoding of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    #[default]
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// Whether what is asked for has a protobuf form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protobuf {
    /// It has.
    Offered,
    /// Its metadata has.
    OnlyMetadata,
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
    /// JSON, YAML or protobuf.
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
            Encoding::Protobuf => api::protobuf::MEDIA_TYPE,
        }
    }
}

/// Agrees on a response; 406 if nothing that the client accepts can be sent.
pub fn negotiate(
    headers: &HeaderMap,
    pretty: Option<bool>,
    target: Target,
    protobuf: Protobuf,
) -> Result<Negotiated, Status> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let accept = accept(headers);
    let (encoding, shape, asked_pretty) = if accept.trim().is_empty() {
        (Encoding::Json, Shape::Object, false)
    } else {
        clauses(&accept).into_iter().find_map(|clause| accepted(&clause, target, protobuf)).ok_or_else(
            || match protobuf {
                Protobuf::Offered => Status::not_acceptable(&MEDIA_TYPES),
                Protobuf::OnlyMetadata => Status::not_acceptable(&MEDIA_TYPES_WITHOUT_PROTOBUF),
            },
        )?
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

/// The encoding of something that has no other shape: a failure, the answer of a review.
pub fn plain(headers: &HeaderMap) -> Result<Encoding, Status> {
    let accept = accept(headers);
    if accept.trim().is_empty() {
        return Ok(Encoding::Json);
    }
    clauses(&accept)
        .iter()
        .filter_map(|clause| accepted(clause, Target::Object, Protobuf::Offered))
        .find_map(|(encoding, shape, _)| (shape == Shape::Object).then_some(encoding))
        .ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))
}

/// The form of a page that tells about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Text for people.
    Text,
    /// An object of this version of `config.k8s.io`.
    Object(&'static str, Encoding),
}

/// What pages can be sent as.
const PAGE_MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", "text/plain"];
/// The versions of their objects.
const PAGE_VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];

/// Agrees on the form of a page whose object is of this kind.
pub(crate) fn page(headers: &HeaderMap, kind: &str) -> Result<Page, Status> {
    let accept = accept(headers);
    if accept.trim().is_empty() {
        return Ok(Page::Text);
    }
    let clauses = clauses(&accept);
    let found = clauses.iter().find_map(|clause| {
        let parameter = |name: &str| {
            clause.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
        };
        PAGE_MEDIA_TYPES.iter().filter(|offered| covers(clause.media_type, offered)).find_map(|offered| {
            let encoding = match *offered {
                "application/json" => Encoding::Json,
                "application/yaml" => Encoding::Yaml,
                _ => return parameter("as").is_empty().then_some(Page::Text),
            };
            let is_ours = parameter("as") == kind && parameter("g") == "config.k8s.io";
            let version = PAGE_VERSIONS.iter().find(|version| is_ours && **version == parameter("v"));
            version.map(|version| Page::Object(version, encoding))
        })
    });
    found.ok_or_else(|| Status::not_acceptable(&PAGE_MEDIA_TYPES))
}

/// Whether a media type, which may be `*/*` or `text/*`, covers another.
fn covers(accepted: &str, offered: &str) -> bool {
    accepted == "*/*"
        || accepted == offered
        || accepted.strip_suffix("/*").is_some_and(|main| offered.split('/').next() == Some(main))
}

fn accept(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    values.join(",")
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

fn accepted(clause: &Clause<'_>, target: Target, protobuf: Protobuf) -> Option<(Encoding, Shape, bool)> {
    let encoding = match clause.media_type {
        "*/*" | "application/*" | "application/json" => Encoding::Json,
        "application/yaml" if target != Target::Watch => Encoding::Yaml,
        api::protobuf::MEDIA_TYPE => Encoding::Protobuf,
        _ => return None,
    };
    let parameter = |name: &str| clause.parameters.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
    let pretty = parameter("pretty") == Some("1");
    let Some(kind) = parameter("as") else {
        let possible = encoding != Encoding::Protobuf || protobuf == Protobuf::Offered;
        return possible.then_some((encoding, Shape::Object, pretty));
    };
    if parameter("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = match parameter("v")? {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => return None,
    };
    let shape = match (kind, target) {
        ("Table", _) if encoding != Encoding::Protobuf => Shape::Table(version),
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
        let protobuf = |shape| Some((Encoding::Protobuf, shape));
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
                protobuf(Shape::Metadata("v1")),
            ),
            ("application/vnd.kubernetes.protobuf,application/json", Target::Object, protobuf(Shape::Object)),
            ("application/vnd.kubernetes.protobuf;stream=watch", Target::Watch, protobuf(Shape::Object)),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
                Target::List,
                json(Shape::Object),
            ),
            (
                "application/json;q=0.1,application/yaml;q=0.9",
                Target::Object,
                Some((Encoding::Yaml, Shape::Object)),
            ),
            ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Target::List, None),
            ("text/html", Target::Object, None),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", Target::List, None),
        ];
        for (accept, target, expected) in table {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            let got =
                negotiate(&headers, None, target, Protobuf::Offered).ok().map(|n| (n.encoding, n.shape));
            assert_eq!(got, expected, "{accept} for {target:?}");
        }
    }

    #[test]
    fn kinds_without_protobuf_fall_back() {
        let ask = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            negotiate(&headers, None, Target::Object, Protobuf::OnlyMetadata)
        };
        let both = ask("application/vnd.kubernetes.protobuf,application/json").unwrap();
        assert_eq!(both.encoding, Encoding::Json);
        let refused = ask("application/vnd.kubernetes.protobuf").unwrap_err();
        assert_eq!(
            refused.message,
            "only the following media types are accepted: application/json, application/yaml"
        );
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(ask(metadata).unwrap().encoding, Encoding::Protobuf);
    }

    #[test]
    fn what_has_one_shape_is_refused_as_a_table() {
        let ask = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            plain(&headers)
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(ask(table).unwrap_err().code, 406);
        assert_eq!(ask(&format!("{table},application/json")).unwrap(), Encoding::Json);
        assert_eq!(ask("application/vnd.kubernetes.protobuf, */*").unwrap(), Encoding::Protobuf);
        assert_eq!(ask("*/*").unwrap(), Encoding::Json);
    }

    #[test]
    fn a_page_is_text_unless_its_object_is_asked_for() {
        let json = "application/json;v=v1beta1;g=config.k8s.io;as=Flagz";
        for (accept, expected) in [
            ("", Some(Page::Text)),
            ("*/*", Some(Page::Text)),
            ("text/*", Some(Page::Text)),
            ("text/plain;as=Flagz", None),
            ("application/json", None),
            (json, Some(Page::Object("v1beta1", Encoding::Json))),
            (
                "application/yaml;v=v1alpha1;g=config.k8s.io;as=Flagz",
                Some(Page::Object("v1alpha1", Encoding::Yaml)),
            ),
            ("application/json;v=v1;g=config.k8s.io;as=Flagz", None),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Statusz", None),
            ("application/json,text/plain;q=0.5", Some(Page::Text)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            match (page(&headers, "Flagz"), expected) {
                (Ok(page), Some(expected)) => assert_eq!(page, expected, "{accept}"),
                (Err(status), None) => assert_eq!(status.code, 406, "{accept}"),
                (found, _) => panic!("{accept}: {found:?}"),
            }
        }
    }
}
