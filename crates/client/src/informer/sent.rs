//! An object as the server sent it: which one it is at once, the rest when it is needed.
//!
//! What another informer of the process has decoded at the same revision is not decoded again ([`super::Interner`]).

use super::Watched;
use crate::Key;
use kube::core::Status;
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use uuid::Uuid;

/// What happened, by the line of a watch.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// A line of a watch.
pub(super) enum Event<'a> {
    /// `ADDED`, `MODIFIED`: how it is now.
    Present(Sent<'a>),
    /// `DELETED`: how it was last.
    Gone(Sent<'a>),
    /// `BOOKMARK`: everything up to this one's revision was sent.
    Bookmark(Sent<'a>),
    /// `ERROR`: why there is no more.
    Error(Box<Status>),
}

impl<'a> Event<'a> {
    pub(super) fn parse(line: &'a [u8]) -> serde_json::Result<Self> {
        let Line { kind, object } = serde_json::from_slice(line)?;
        Ok(match &*kind {
            "ADDED" | "MODIFIED" => Self::Present(Sent::parse(object)?),
            "DELETED" => Self::Gone(Sent::parse(object)?),
            "BOOKMARK" => Self::Bookmark(Sent::parse(object)?),
            "ERROR" => Self::Error(serde_json::from_str(object.get())?),
            other => {
                return Err(de::Error::unknown_variant(
                    other,
                    &["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"],
                ));
            }
        })
    }
}

/// An object that was sent.
pub(super) struct Sent<'a> {
    text: &'a str,
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    managed_fields: Option<&'a RawValue>,
}

impl<'a> Sent<'a> {
    pub(super) fn parse(object: &'a RawValue) -> serde_json::Result<Self> {
        Self::of(object.get())
    }

    /// The object of this text.
    pub(super) fn of(text: &'a str) -> serde_json::Result<Self> {
        let Identified { metadata } = serde_json::from_str(text)?;
        Ok(Self { text, metadata })
    }

    /// The whole object, but for who owns its fields: that is larger in memory than the rest, takes longer to decode, and no
    /// controller asks.
    pub(super) fn decode<K: Watched>(&self) -> serde_json::Result<K> {
        let Some(owners) = self.metadata.managed_fields.map(RawValue::get) else {
            return decode(self.text);
        };
        // A part of the text.
        let start = owners.as_ptr().addr() - self.text.as_ptr().addr();
        decode(&[&self.text[..start], "null", &self.text[start + owners.len()..]].concat())
    }

    /// How many bytes it has, but for who owns its fields.
    pub(super) fn len(&self) -> usize {
        self.text.len() - self.metadata.managed_fields.map_or(0, |owners| owners.get().len())
    }

    /// Whether these bytes are what was sent.
    pub(super) fn is(&self, json: &[u8]) -> bool {
        self.text.as_bytes() == json
    }

    pub(super) fn key(&self) -> Key {
        let text = |part: &Option<Cow<'_, str>>| part.as_deref().unwrap_or_default().to_owned();
        Key::new(text(&self.metadata.namespace), text(&self.metadata.name))
    }

    pub(super) fn resource_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }

    /// What tells it from every other object and revision of its kind.
    pub(super) fn identity(&self) -> Option<(Uuid, u64)> {
        identity(self.metadata.uid.as_deref(), self.resource_version())
    }
}

/// The object that this text has.
///
/// From text, as `kube` does: what decodes a type from bytes would be in the program a second time. A copy, as lists that are
/// decoded have room for more: of a pod a third.
pub(super) fn decode<K: Watched>(json: &str) -> serde_json::Result<K> {
    let roomy: K = serde_json::from_str(json)?;
    Ok(roomy.clone())
}

/// The same of its parts.
pub(super) fn identity(uid: Option<&str>, resource_version: Option<&str>) -> Option<(Uuid, u64)> {
    Some((Uuid::try_parse(uid?).ok()?, resource_version?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    #[test]
    fn lines_tell_what_happened_to_what() {
        let object = r#"{"metadata":{"name":"m","namespace":"n\u002d1","uid":"7ba249f5-3414-4fc4-940d-8100bcaa10bd",
            "resourceVersion":"7","managedFields":[{"manager":"kubectl"}]},"data":{"a":"b"}}"#;
        let line = |kind: &str| format!(r#"{{"type":"{kind}","object":{object}}}"#);
        for (kind, gone) in [("ADDED", false), ("MODIFIED", false), ("DELETED", true)] {
            let line = line(kind);
            let (sent, is_gone) = match Event::parse(line.as_bytes()).expect("an event") {
                Event::Present(sent) => (sent, false),
                Event::Gone(sent) => (sent, true),
                Event::Bookmark(_) | Event::Error(_) => panic!("{kind}"),
            };
            assert_eq!(is_gone, gone);
            assert_eq!(sent.key(), Key::new("n-1", "m"));
            assert_eq!(sent.identity().map(|(_, revision)| revision), Some(7));
            let map: ConfigMap = sent.decode().expect("a config map");
            assert_eq!(map.data, Some([("a".to_owned(), "b".to_owned())].into()));
            assert_eq!(map.metadata.managed_fields, None);
        }
        let bookmark = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#;
        let Ok(Event::Bookmark(bookmark)) = Event::parse(bookmark) else { panic!("a bookmark") };
        assert_eq!((bookmark.resource_version(), bookmark.identity()), (Some("9"), None));
        let error = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}})
            .to_string();
        let Ok(Event::Error(status)) = Event::parse(error.as_bytes()) else { panic!("an error") };
        assert_eq!(status.code, 410);
        for broken in [line("RENAMED").as_str(), r#"{"type":"ADDED","object":{}}"#, r#"{"type":"ADDED","obj"#]
        {
            assert!(Event::parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
