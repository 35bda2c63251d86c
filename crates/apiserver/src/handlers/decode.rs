//! From the bytes of a request to an object of the expected kind.
//!
//! **Contract**: the result has `kind` and `apiVersion`, no nulls, and, for built-in kinds, no unknown fields.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/handlers/create.go`, `fieldValidation`.

use crate::crd;
use crate::negotiate::{MEDIA_TYPES, MEDIA_TYPES_WITHOUT_PROTOBUF};
use crate::registry::Version;
use api::field::{Error, ErrorList, Path};
use api::golang;
use api::kind::{Resource, parse_api_version};
use api::protobuf;
use api::schema::{Schema, strict};
use api::status::Status;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::Value;

/// The encoding of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Protobuf
    Protobuf,
}

impl Media {
    /// What the headers say; 415 if it is not understood. Without a word it is JSON.
    pub fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        match value.split(';').next().unwrap_or("").trim() {
            "" | "*/*" | "application/json" => Ok(Self::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Self::Yaml),
            protobuf::MEDIA_TYPE => Ok(Self::Protobuf),
            _ => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
        }
    }
}

/// What is done about fields that the kind does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, with a warning each.
    #[default]
    Warn,
    /// They are an error.
    Strict,
}

/// What errors of strict decoding begin with.
const STRICT: &str = "strict decoding error: ";

/// A decoded object.
#[derive(Debug)]
pub struct Decoded {
    /// The object.
    pub value: Value,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

/// Decodes an object that is to be of this version's kind.
pub fn object(
    version: &Version,
    media: Media,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let resource = version.resource();
    let (value, mut problems) = match version.schema() {
        Some(schema) => custom(resource, schema, media, body)?,
        None => built_in(resource, media, body)?,
    };
    if validation == FieldValidation::Strict
        && let Some(error) = problems.error.take()
    {
        return Err(cannot_be_handled(resource, &value, &error));
    }
    if validation == FieldValidation::Ignore {
        problems.warnings.clear();
    }
    Ok(Decoded { value, warnings: problems.warnings })
}

/// An object of a kind that was added at run time.
fn custom(
    resource: &Resource,
    schema: &crd::Schema,
    media: Media,
    body: &[u8],
) -> Result<(Value, Problems), Status> {
    let (value, duplicates) = match media {
        Media::Json => strict::decode_untyped(body)
            .map(|decoded| (decoded.warnings().collect(), decoded.value))
            .map(|(duplicates, value): (Vec<String>, Value)| (value, duplicates))
            .map_err(|error| unrecognized(&resource.kind, &error.to_string(), body))?,
        Media::Yaml => yaml(body)
            .map(|(value, duplicate)| (value, duplicate.into_iter().collect()))
            .map_err(|error| unrecognized(&resource.kind, &error, body))?,
        Media::Protobuf => return Err(Status::unsupported_media_type(&MEDIA_TYPES_WITHOUT_PROTOBUF)),
    };
    let mut value = check_kind(resource, value, body)?;
    let unknown =
        crd::conform(&mut value, schema).map_err(|error| cannot_be_handled(resource, &value, &error))?;
    Ok((value, Problems::of(duplicates, &unknown)))
}

fn built_in(resource: &Resource, media: Media, body: &[u8]) -> Result<(Value, Problems), Status> {
    let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
    let (value, problems) = match (media, ty) {
        (Media::Json, Some(ty)) => match strict::decode(body, ty) {
            Ok(decoded) => Problems::split(decoded),
            Err(error) => return Err(undecodable(resource, body, media, &error)),
        },
        // What it does not know is skipped, not told: field validation is about texts.
        (Media::Protobuf, Some(ty)) => {
            let value = protobuf::object_of(body, ty)
                .map_err(|e| unrecognized(&resource.kind, &e.to_string(), body))?;
            (value, Problems::default())
        }
        (Media::Protobuf, None) => {
            return Err(Status::unsupported_media_type(&MEDIA_TYPES_WITHOUT_PROTOBUF));
        }
        (Media::Yaml, _) => {
            let (value, duplicate) = yaml(body).map_err(|e| unrecognized(&resource.kind, &e, body))?;
            let (value, mut problems) = match_strictly(resource, value)
                .map_err(|error| undecodable(resource, body, media, &error))?;
            problems.add(duplicate);
            (value, problems)
        }
        (Media::Json, None) => {
            let value = any(media, body).map_err(|e| unrecognized(&resource.kind, &e, body))?;
            match_strictly(resource, value).map_err(|error| undecodable(resource, body, media, &error))?
        }
    };
    Ok((check_kind(resource, value, body)?, problems))
}

/// Checks an object that a patch made, whose own text has these problems.
pub fn patched(
    version: &Version,
    value: Value,
    validation: FieldValidation,
    found: &[String],
) -> Result<Decoded, Status> {
    let invalid = |value: &Value, text: &str| {
        let errors: ErrorList = vec![Error::invalid(&Path::new("patch"), value.to_string(), text)];
        Status::invalid("", "", "", &errors)
    };
    let original = value.clone();
    let matched = match version.schema() {
        Some(schema) => {
            let mut value = value;
            crd::conform(&mut value, schema).map(|unknown| (value, Problems::of(Vec::new(), &unknown)))
        }
        None => match_strictly(version.resource(), value).map_err(|error| error.to_string()),
    };
    let (value, mut problems) = matched.map_err(|error| invalid(&original, &error))?;
    found.iter().rev().for_each(|problem| problems.add(Some(problem.clone())));
    match (validation, problems.error) {
        (FieldValidation::Strict, Some(error)) => Err(invalid(&original, &error)),
        (FieldValidation::Warn, _) => Ok(Decoded { value, warnings: problems.warnings }),
        _ => Ok(Decoded { value, warnings: Vec::new() }),
    }
}

/// Refuses an object that a patch made one of another kind.
pub fn check_patched_kind(resource: &Resource, object: &Value) -> Result<(), Status> {
    let text = |field: &str| object[field].as_str().unwrap_or("");
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    if kind == resource.kind && api_version == resource.api_version() {
        return Ok(());
    }
    let (group, version) = parse_api_version(api_version);
    let why = if kind.is_empty() {
        format!("Object 'Kind' is missing in '{object}'")
    } else if api_version.is_empty() {
        format!("Object 'apiVersion' is missing in '{object}'")
    } else if Schema::get().type_by_gvk(group, version, kind).is_some() {
        unconvertible(resource, version, kind)
    } else {
        unregistered(resource, api_version, kind)
    };
    let errors: ErrorList = vec![Error::invalid(&Path::new("patch"), object.to_string(), &why)];
    Err(Status::invalid("", "", "", &errors))
}

/// Reads an object of whatever kind as it is.
pub fn any(media: Media, body: &[u8]) -> Result<Value, String> {
    match media {
        Media::Json => serde_json::from_slice(body).map_err(|e| golang::unread(body, &e)),
        Media::Yaml => yaml(body).map(|(value, _)| value),
        Media::Protobuf => protobuf::object(body).map_err(|e| e.to_string()),
    }
}

/// A key that comes twice in a text that is YAML (or JSON, which is YAML as well), in upstream's words.
pub fn twice(body: &[u8]) -> Option<String> {
    yaml(body).ok().and_then(|(_, duplicate)| duplicate)
}

/// Reads YAML; of a key that comes twice the last value counts, and the second part tells of it.
fn yaml(body: &[u8]) -> Result<(Value, Option<String>), String> {
    use serde_saphyr::options::DuplicateKeyPolicy;
    let read = |duplicate_keys| {
        let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false, duplicate_keys: duplicate_keys };
        serde_saphyr::from_slice_with_options(body, options).map_err(|e| e.to_string())
    };
    read(DuplicateKeyPolicy::Error).map(|value| (value, None)).or_else(|first| {
        if !first.contains("duplicate mapping key") {
            return Err(first);
        }
        read(DuplicateKeyPolicy::LastWins).map(|value| (value, Some(already_set(&first))))
    })
}

/// Upstream's words for a key that comes twice, from our parser's: `… line 5 column 3: duplicate mapping key: name, …`.
fn already_set(error: &str) -> String {
    let between = |start: &str, ends: [char; 2]| {
        let rest = error.split_once(start).map_or("", |(_, rest)| rest);
        rest.split(ends).next().unwrap_or_default().to_owned()
    };
    let (line, key) = (between("line ", [' ', ',']), between("duplicate mapping key: ", [',', '\n']));
    format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map")
}

#[derive(Default)]
struct Problems {
    error: Option<String>,
    warnings: Vec<String>,
}

impl Problems {
    fn split(decoded: strict::Decoded) -> (Value, Self) {
        let (error, warnings) = (decoded.strict_error(), decoded.warnings().collect());
        (decoded.value, Self { error, warnings })
    }

    /// Those of an object without a type: what is wrong with the text, and fields that its schema does not know.
    fn of(mut warnings: Vec<String>, unknown: &[String]) -> Self {
        warnings.extend(unknown.iter().map(|field| format!("unknown field {field:?}")));
        let error = (!warnings.is_empty()).then(|| format!("{STRICT}{}", warnings.join(", ")));
        Self { error, warnings }
    }

    /// One more, found before all others.
    fn add(&mut self, problem: Option<String>) {
        let Some(problem) = problem else { return };
        let others = self.error.take().unwrap_or_default();
        let others = others.strip_prefix(STRICT).map(|others| format!(", {others}")).unwrap_or_default();
        self.error = Some(format!("{STRICT}{problem}{others}"));
        self.warnings.insert(0, problem);
    }
}

fn match_strictly(resource: &Resource, mut value: Value) -> Result<(Value, Problems), strict::Error> {
    match Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind) {
        Some(ty) => strict::decode_value(value, ty).map(Problems::split),
        None => {
            golang::drop_nulls(&mut value);
            Ok((value, Problems::default()))
        }
    }
}

/// The kind must be the expected one; where it is missing, it is.
fn check_kind(resource: &Resource, mut value: Value, body: &[u8]) -> Result<Value, Status> {
    let Some(fields) = value.as_object_mut() else {
        return Err(unrecognized(&resource.kind, "the body is not an object", body));
    };
    let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let expected = resource.api_version();
    let kind = if kind.is_empty() { resource.kind.to_string() } else { kind };
    let api_version = if api_version.is_empty() { expected.clone() } else { api_version };
    if (kind.as_str(), &api_version) != (&*resource.kind, &expected) {
        let (group, version) = parse_api_version(&api_version);
        let is_known = Schema::get().type_by_gvk(group, version, &kind).is_some();
        let is_custom =
            Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind).is_none();
        let is_same = kind == *resource.kind && (is_custom || group == resource.group);
        let error = match is_known || is_custom {
            true if is_same => {
                return Err(Status::bad_request(format!(
                    "the API version in the data ({api_version}) does not match the expected API version ({expected})"
                )));
            }
            true => unconvertible(resource, version, &kind),
            false => unregistered(resource, &api_version, &kind),
        };
        return Err(Status::bad_request(strict::bad_request(&kind, version, &resource.kind, &error)));
    }
    fields.insert("kind".to_owned(), (&*resource.kind).into());
    fields.insert("apiVersion".to_owned(), expected.into());
    Ok(value)
}

/// Upstream's words for an object of another kind. Between versions it has one form of a kind, in a package that is named for
/// the first word of the group.
fn unconvertible(resource: &Resource, version: &str, kind: &str) -> String {
    let package = match resource.group.split('.').next().unwrap_or_default() {
        "" | "events" => "core",
        group => group,
    };
    format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", resource.kind)
}

/// Upstream's words for an object of a kind that there is not.
fn unregistered(resource: &Resource, api_version: &str, kind: &str) -> String {
    // Where upstream's tables of kinds are made.
    let scheme = match &*resource.group {
        "apiextensions.k8s.io" => "pkg/apiserver/apiserver.go:55",
        "apiregistration.k8s.io" => "pkg/apiserver/scheme/scheme.go:31",
        _ => "pkg/api/legacyscheme/scheme.go:30",
    };
    format!("no kind {kind:?} is registered for version {api_version:?} in scheme {scheme:?}")
}

fn cannot_be_handled(resource: &Resource, value: &Value, error: &dyn std::fmt::Display) -> Status {
    let kind = value["kind"].as_str().unwrap_or(&resource.kind);
    let (_, version) = parse_api_version(value["apiVersion"].as_str().unwrap_or(&resource.version));
    Status::bad_request(strict::bad_request(kind, version, &resource.kind, error))
}

fn undecodable(resource: &Resource, body: &[u8], media: Media, error: &strict::Error) -> Status {
    match error {
        strict::Error::Syntax(_) => unrecognized(&resource.kind, &error.to_string(), body),
        strict::Error::Type(_) => {
            let value = any(media, body).unwrap_or_default();
            // A wrong kind is a better explanation than a field that it does not have.
            match check_kind(resource, value, body) {
                Err(status) => status,
                Ok(value) => cannot_be_handled(resource, &value, error),
            }
        }
    }
}

/// 400 for a body that is no object of any kind, with its beginning.
pub(super) fn unrecognized(kind: &str, error: &str, body: &[u8]) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {error} ({})",
        summary(body)
    ))
}

/// The beginning of a body; in hexadecimal figures if it is no JSON.
fn summary(body: &[u8]) -> String {
    const MOST: usize = 30;
    let (shown, rest) = body.split_at(body.len().min(MOST));
    let text = match shown.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if rest.is_empty() { text } else { format!("{text} ...") }
}
