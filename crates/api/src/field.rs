//! Paths into an object and the errors that validation finds there.
//!
//! **Contract**: validation returns *all* errors of an object, each in upstream's wording.
//! **Upstream**: `k8s.io/apimachinery/pkg/util/validation/field`.

use serde_json::Value;
use std::fmt;

/// A path to a field: `spec.containers[0].name`. The default is the path of the object itself, Go's nil pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Option<String>);

impl Path {
    /// A path that starts at this top-level field.
    pub fn new(name: &str) -> Self {
        Self(Some(name.to_owned()))
    }

    /// The path of a named child.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let dot = if self.as_str().is_empty() { "" } else { "." };
        Self(Some(format!("{}{dot}{name}", self.as_str())))
    }

    /// The path of a list element.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(Some(format!("{}[{index}]", self.as_str())))
    }

    /// The path of a map entry: `metadata.labels[app]`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(Some(format!("{}[{key}]", self.as_str())))
    }

    /// The path as text; empty for the object itself.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As Go prints a nil path.
        f.write_str(self.0.as_deref().unwrap_or("<nil>"))
    }
}

/// What is wrong with a field; the names are the `reason` of a Status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// `FieldValueRequired`
    Required,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `FieldValueNotFound`
    NotFound,
    /// `InternalError`
    Internal,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
}

impl ErrorType {
    /// The machine-readable reason of a cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

/// One finding: where, what kind, and the text after the path (`Invalid value: -1: must be …`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Where it is.
    pub path: Path,
    /// What kind of error it is.
    pub error_type: ErrorType,
    /// The message of the cause, without the path.
    pub body: String,
}

/// All findings about one object.
pub type ErrorList = Vec<Error>;

impl Error {
    fn with_value(path: &Path, error_type: ErrorType, value: &Value, detail: &str) -> Self {
        let mut body = format!("{}: {}", error_type.text(), go_value(value));
        if !detail.is_empty() {
            body.push_str(": ");
            body.push_str(detail);
        }
        Self { path: path.clone(), error_type, body }
    }

    fn without_value(path: &Path, error_type: ErrorType, detail: &str) -> Self {
        let body = if detail.is_empty() {
            error_type.text().to_owned()
        } else {
            format!("{}: {detail}", error_type.text())
        };
        Self { path: path.clone(), error_type, body }
    }

    /// `Required value[: detail]`
    pub fn required(path: &Path, detail: &str) -> Self {
        Self::without_value(path, ErrorType::Required, detail)
    }

    /// `Duplicate value: v`
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::with_value(path, ErrorType::Duplicate, &value.into(), "")
    }

    /// `Invalid value: v: detail`
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: &str) -> Self {
        Self::with_value(path, ErrorType::Invalid, &value.into(), detail)
    }

    /// `Invalid value: v: detail`, of a value that is not even of the type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: &str) -> Self {
        Self::with_value(path, ErrorType::TypeInvalid, &value.into(), detail)
    }

    /// `Unsupported value: v: supported values: "a", "b"`, in the order given.
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail =
            if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::with_value(path, ErrorType::NotSupported, &value.into(), &detail)
    }

    /// `Forbidden: detail`
    pub fn forbidden(path: &Path, detail: &str) -> Self {
        Self::without_value(path, ErrorType::Forbidden, detail)
    }

    /// `Too long: may not be more than N bytes`
    pub fn too_long(path: &Path, max: usize) -> Self {
        Self::without_value(path, ErrorType::TooLong, &format!("may not be more than {max} bytes"))
    }

    /// `Too many: N: must have at most M items`
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::with_value(
            path,
            ErrorType::TooMany,
            &actual.into(),
            &format!("must have at most {max} {items}"),
        )
    }

    /// `Not found: v`
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::with_value(path, ErrorType::NotFound, &value.into(), "")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body)
    }
}

/// All findings as one text, as upstream prints several errors. **Upstream**: `ErrorList.ToAggregate`.
pub fn aggregate(errors: &[Error]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        _ => format!("[{}]", texts.join(", ")),
    }
}

/// A value as upstream prints it inside a field error: strings quoted, structures as JSON.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(s) => quoted(s),
        other => other.to_string(),
    }
}

/// A string as Go's `%q` prints it: control characters as `\n` or `\x01`, everything printable as it is.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_upstreams_words() {
        let replicas = Path::new("spec").child("replicas");
        for (error, text) in [
            (
                Error::invalid(&replicas, -1, "must be greater than or equal to 0"),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (Error::required(&Path::new("spec").child("containers"), ""), "spec.containers: Required value"),
            (
                Error::not_supported(&Path::new("spec").child("restartPolicy"), "x", &["Never", "Always"]),
                "spec.restartPolicy: Unsupported value: \"x\": supported values: \"Never\", \"Always\"",
            ),
            (
                Error::invalid(&replicas, "\u{1}\t'é\"", "no"),
                r#"spec.replicas: Invalid value: "\x01\t'é\"": no"#,
            ),
            (
                Error::duplicate(&Path::new("spec").child("containers").index(1).child("name"), "a"),
                "spec.containers[1].name: Duplicate value: \"a\"",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
