//! What the client wants back: JSON, YAML or protobuf; the object itself, a table, or its metadata only.
//!
//! **Contract**: pure. Clauses of `Accept` are tried by quality, then those that name a type before wildcards, then in
//! their order.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use api::status::Status;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};

/// What can be read and sent. **Upstream**: `MediaTypesForSerializer`.
pub const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", api::protobuf::MEDIA_TYPE];
/// The same for kinds that have no protobuf form.
pub const MEDIA_TYPES_WITHOUT_PROTOBUF: [&str; 2] = ["application/json", "application/yaml"];
/// What changes are streamed as.
const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const STREAMS_WITHOUT_PROTOBUF: [&str; 1] = ["application/json;stream=watch"];

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

impl Encoding {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => api::protobuf::MEDIA_TYPE,
        }
    }
}

impl Negotiated {
    /// What a client gets with which nothing could be agreed on: it is told of that in a form for people.
    pub const FALLBACK: Self =
        Self { encoding: Encoding::Json, shape: Shape::Object, pretty: true, gzip: false };

    /// The `Content-Type` of the response.
    pub fn content_type(&self) -> &'static str {
        self.encoding.media_type()
    }
}

/// Agrees on a response; 406 if nothing that the client accepts can be sent.
pub fn negotiate(
    headers: &HeaderMap,
    pretty: Option<bool>,
    target: Target,
    protobuf: Protobuf,
) -> Result<Negotiated, Status> {
    let accept = accept(headers);
    if protobuf == Protobuf::Offered {
        let streams: &[&str] = if target == Target::Object { &[] } else { &STREAMS };
        routable(headers, &[&MEDIA_TYPES[..], streams].concat())?;
    }
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
    if target == Target::Watch && encoding == Encoding::Yaml {
        return Err(match protobuf {
            Protobuf::Offered => Status::not_acceptable(&STREAMS),
            Protobuf::OnlyMetadata => Status::not_acceptable(&STREAMS_WITHOUT_PROTOBUF),
        });
    }
    let pretty = is_pretty(headers, pretty, asked_pretty) && target != Target::Watch;
    Ok(Negotiated { encoding, shape, pretty, gzip: takes_gzip(headers) })
}

/// Whether a route that produces these media types may answer. Upstream's router asks before anybody else does: it
/// compares types as they are written, without their parameters, and knows no wildcard but `*/*`.
///
/// **Upstream**: `github.com/emicklei/go-restful` (`Route.matchesAccept`).
pub(crate) fn routable(headers: &HeaderMap, produced: &[&str]) -> Result<(), Status> {
    let accept = accept(headers);
    let mut wanted = accept.split(',').map(|clause| clause.split(';').next().unwrap_or_default().trim());
    if accept.is_empty() || wanted.any(|wanted| wanted == "*/*" || produced.contains(&wanted)) {
        return Ok(());
    }
    let available = produced.join(", ");
    let message = format!("406: Not Acceptable\n\nAvailable representations: {available}");
    let mut refusal = Status::new(406, "NotAcceptable", message);
    refusal.details = Some(Box::default());
    Err(refusal)
}

/// The form of something that has no other shape and a route of its own: the answer of a review, a list of resources.
pub fn routed(headers: &HeaderMap, pretty: Option<bool>) -> Result<Negotiated, Status> {
    routable(headers, &MEDIA_TYPES)?;
    plain(headers, pretty)
}

/// The form of something that has no other shape: a failure, a list of groups.
pub fn plain(headers: &HeaderMap, pretty: Option<bool>) -> Result<Negotiated, Status> {
    let accept = accept(headers);
    let (encoding, asked_pretty) = if accept.trim().is_empty() {
        (Encoding::Json, false)
    } else {
        clauses(&accept)
            .iter()
            .filter_map(|clause| accepted(clause, Target::Object, Protobuf::Offered))
            .find_map(|(encoding, shape, pretty)| (shape == Shape::Object).then_some((encoding, pretty)))
            .ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))?
    };
    let pretty = is_pretty(headers, pretty, asked_pretty);
    Ok(Negotiated { encoding, pretty, ..Negotiated::default() })
}

fn is_pretty(headers: &HeaderMap, query: Option<bool>, accept: bool) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    // People read these; programs do not say so.
    let is_person = ["curl", "Wget", "Mozilla/5.0"].iter().any(|prefix| agent.starts_with(prefix));
    accept || query.unwrap_or(is_person)
}

/// Whether a body may be compressed.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|clause| clause.split(';').next().unwrap_or_default().trim() == "gzip")
}

/// The form in which something is asked for `as` this kind (group, version, kind); `None` if no clause does so.
pub(crate) fn asked_as(
    headers: &HeaderMap,
    pretty: Option<bool>,
    kind: (&str, &str, &str),
) -> Option<Negotiated> {
    let encodings = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf];
    clauses(&accept(headers)).iter().find_map(|clause| {
        let parameter = |name| clause.parameter(name).unwrap_or_default();
        let encoding = encodings.iter().find(|encoding| covers(clause.media_type, encoding.media_type()));
        let encoding = *encoding.filter(|_| (parameter("g"), parameter("v"), parameter("as")) == kind)?;
        let pretty = is_pretty(headers, pretty, parameter("pretty") == "1");
        Some(Negotiated { encoding, pretty, ..Negotiated::default() })
    })
}

/// The first of these media types, by the client's order, that it accepts.
pub(crate) fn first_of(headers: &HeaderMap, offered: &[&'static str]) -> Option<&'static str> {
    let accept = accept(headers);
    if accept.trim().is_empty() {
        return offered.first().copied();
    }
    let find = |clause: &Clause<'_>| offered.iter().copied().find(|o| covers(clause.media_type, o));
    clauses(&accept).iter().find_map(find)
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
        let parameter = |name: &str| clause.parameter(name).unwrap_or_default();
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

impl Clause<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
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
    let is_wild =
        |clause: &Clause<'_>| (clause.media_type.starts_with('*'), clause.media_type.ends_with('*'));
    clauses.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| is_wild(x).cmp(&is_wild(y))));
    clauses.into_iter().map(|(_, clause)| clause).collect()
}

fn accepted(clause: &Clause<'_>, target: Target, protobuf: Protobuf) -> Option<(Encoding, Shape, bool)> {
    let encoding = match clause.media_type {
        "*/*" | "application/*" | "application/json" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        api::protobuf::MEDIA_TYPE => Encoding::Protobuf,
        _ => return None,
    };
    let parameter = |name: &str| clause.parameter(name);
    let streams = parameter("stream").is_some_and(|stream| !stream.is_empty());
    if streams && (parameter("stream") != Some("watch") || encoding == Encoding::Yaml) {
        return None;
    }
    let pretty = parameter("pretty") == Some("1");
    let Some(kind) = parameter("as") else {
        let possible = encoding != Encoding::Protobuf || protobuf == Protobuf::Offered;
        let is_plain = parameter("g").is_none() && parameter("v").is_none();
        return (possible && is_plain).then_some((encoding, Shape::Object, pretty));
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
            ("*/*, application/yaml", Target::List, Some((Encoding::Yaml, Shape::Object))),
            ("application/*,application/yaml", Target::Object, Some((Encoding::Yaml, Shape::Object))),
            ("application/json;stream=watch", Target::Object, json(Shape::Object)),
            ("application/json;stream=other", Target::Watch, None),
            ("application/yaml;stream=watch,application/json", Target::Object, json(Shape::Object)),
            ("application/json;g=meta.k8s.io", Target::Object, None),
            ("application/yaml,application/json", Target::Watch, None),
            ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Target::List, None),
            ("text/html", Target::Object, None),
            ("application/*", Target::Object, None),
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
    fn a_route_that_produces_nothing_of_what_is_asked_for_says_what_it_does() {
        let ask = |accept: &'static str, target, protobuf| {
            let headers = HeaderMap::from_iter([(ACCEPT, http::HeaderValue::from_static(accept))]);
            negotiate(&headers, None, target, protobuf).map(drop).map_err(|status| status.message)
        };
        let refused =
            |available: &str| Err(format!("406: Not Acceptable\n\nAvailable representations: {available}"));
        let object = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let list = format!(
            "{object}, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
        assert_eq!(ask("text/html, text/plain", Target::Object, Protobuf::Offered), refused(object));
        assert_eq!(ask("text/html", Target::List, Protobuf::Offered), refused(&list));
        let words = format!("only the following media types are accepted: {object}");
        assert_eq!(ask("application/json;as=Nothing", Target::Object, Protobuf::Offered), Err(words));
        let words =
            "only the following media types are accepted: application/json, application/yaml".to_owned();
        assert_eq!(ask("text/html", Target::List, Protobuf::OnlyMetadata), Err(words));
        assert_eq!(ask("text/html, */*;q=0.8", Target::List, Protobuf::Offered), Ok(()));
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
            plain(&headers, None).map(|form| form.encoding)
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(ask(table).unwrap_err().code, 406);
        assert_eq!(ask(&format!("{table},application/json")).unwrap(), Encoding::Json);
        assert_eq!(ask("application/vnd.kubernetes.protobuf, */*").unwrap(), Encoding::Protobuf);
        assert_eq!(ask("*/*").unwrap(), Encoding::Json);
    }

    #[test]
    fn people_get_indented_documents() {
        for (agent, accept, query, expected) in [
            ("curl/8.0", "*/*", None, true),
            ("curl/8.0", "*/*", Some(false), false),
            ("kubectl/v1.36.0", "application/json", None, false),
            ("kubectl/v1.36.0", "application/json", Some(true), true),
            ("kubectl/v1.36.0", "application/json;pretty=1", None, true),
            ("kubectl/v1.36.0", "application/json;pretty=1", Some(false), true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            headers.insert(USER_AGENT, agent.parse().unwrap());
            let object = negotiate(&headers, query, Target::Object, Protobuf::Offered).unwrap();
            let failure = plain(&headers, query).unwrap();
            assert_eq!((object.pretty, failure.pretty), (expected, expected), "{agent} {accept} {query:?}");
            assert!(!negotiate(&headers, query, Target::Watch, Protobuf::Offered).unwrap().pretty);
        }
    }

    #[test]
    fn changes_are_streamed_as_what_can_be_streamed() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "application/yaml".parse().unwrap());
        let refused = |protobuf| negotiate(&headers, None, Target::Watch, protobuf).unwrap_err().message;
        assert_eq!(
            refused(Protobuf::Offered),
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
        assert_eq!(
            refused(Protobuf::OnlyMetadata),
            "only the following media types are accepted: application/json;stream=watch"
        );
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
