//! Objects, lists and changes in protobuf, made of the JSON that the watch cache holds.
//!
//! **Contract**: kinds that the schema does not know have no such form; their metadata has one. The message of an
//! object whose change watchers are told of is made once and kept with it.
//! **Not here**: the wire format (`api::protobuf`), who gets it (`negotiate`).
//! **Upstream**: `runtime/serializer/protobuf`, `runtime/serializer/streaming`.

use crate::negotiate::Shape;
use crate::registry::{Object, table};
use api::kind::Resource;
use api::protobuf::{append_item, append_message, envelope, object_bytes, watch_event};
use api::schema::Type;
use api::status::Status;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;
use std::sync::Arc;

/// The media type of watches.
pub(crate) const STREAM_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Number of `items` in every list.
const ITEMS: u32 = 2;
/// Bytes of items after which other tasks get a turn.
const TURN: usize = 64 << 10;

/// The type of a resource's objects; `None` if they have no protobuf form.
pub(crate) fn type_of(resource: &Resource) -> Option<&'static Type> {
    api::protobuf::type_of(&resource.api_version(), &resource.kind)
}

/// An object of any kind from its JSON; `None` if its kind has no protobuf form.
pub(crate) fn from_json(json: &[u8]) -> Option<Bytes> {
    let value: Value = serde_json::from_slice(json).ok()?;
    object_bytes(&value)
        .inspect_err(|error| tracing::debug!(%error, "no protobuf form"))
        .ok()
        .map(Bytes::from)
}

/// A stored object.
pub(crate) fn stored(object: &Object, resource: &Resource) -> Option<Bytes> {
    let message = match object.message() {
        Some(message) => message.clone(),
        None => message(object, type_of(resource)?)?,
    };
    Some(envelope(&resource.api_version(), &resource.kind, &message).into())
}

/// The same where others will ask for the same object.
pub(crate) fn stored_and_kept(object: &Object, resource: &Resource) -> Option<Bytes> {
    if object.message().is_none() {
        object.keep_message(message(object, type_of(resource)?)?);
    }
    stored(object, resource)
}

fn message(object: &Object, ty: &'static Type) -> Option<Bytes> {
    let mut out = Vec::with_capacity(object.json_len() / 2);
    append_message(&mut out, &object.to_value(), ty)
        .inspect_err(|error| tracing::warn!(%error, key = %object.key(), "an object has no protobuf form"))
        .ok()?;
    Some(out.into())
}

/// Appends one frame of a watch: a length of four bytes and a `WatchEvent` about an object with its envelope.
pub(crate) fn frame(out: &mut BytesMut, change: &str, object: &[u8]) {
    let event = watch_event(change, object);
    out.reserve(event.len() + 4);
    // Four bytes are the protocol's limit; an object is at most a few MiB.
    out.put_u32(u32::try_from(event.len()).unwrap_or(u32::MAX));
    out.put_slice(&event);
}

/// What a list says of itself.
pub(crate) struct List<'a> {
    pub(crate) kind: &'a str,
    pub(crate) api_version: &'a str,
    pub(crate) metadata: &'a Value,
}

impl List<'_> {
    /// The whole list. Its length stands at its beginning, so it is made before it is sent.
    pub(crate) async fn encode(
        &self,
        objects: &[Arc<Object>],
        resource: &Resource,
        shape: Shape,
    ) -> Result<Bytes, Status> {
        let failed = |error: api::protobuf::Error| Status::internal(&error.to_string());
        let missing = || Status::not_acceptable(&crate::negotiate::MEDIA_TYPES_WITHOUT_PROTOBUF);
        let list = api::protobuf::type_of(self.api_version, self.kind).ok_or_else(missing)?;
        let partial =
            api::protobuf::type_of("meta.k8s.io/v1", "PartialObjectMetadata").ok_or_else(missing)?;
        let mut out = Vec::with_capacity(objects.iter().map(|o| o.json_len() / 2).sum());
        append_message(&mut out, &serde_json::json!({"metadata": self.metadata}), list).map_err(failed)?;
        let mut turn = TURN;
        for object in objects {
            match (shape, object.message()) {
                (Shape::Metadata(version), _) => {
                    let json = table::partial_metadata(object, version);
                    let value = serde_json::from_slice(&json).unwrap_or_default();
                    append_item(&mut out, ITEMS, &value, partial).map_err(failed)?;
                }
                (_, Some(message)) => api::protobuf::append_bytes(&mut out, ITEMS, message),
                (_, None) => {
                    let ty = type_of(resource).ok_or_else(missing)?;
                    append_item(&mut out, ITEMS, &object.to_value(), ty).map_err(failed)?;
                }
            }
            if out.len() > turn {
                turn = out.len() + TURN;
                tokio::task::yield_now().await;
            }
        }
        Ok(envelope(self.api_version, self.kind, &out).into())
    }
}

#[cfg(test)]
mod tests;
