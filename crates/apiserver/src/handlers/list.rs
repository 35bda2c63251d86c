//! list: the objects of a kind, all or page by page, at one revision.
//!
//! **Contract**: all pages of a list show the state at the revision of the first. As long as nothing of the kind has
//! changed since, that is the cache's; then it is read from the storage, for as long as that remembers.
//! **Upstream**: `k8s.io/apiserver/pkg/storage/cacher` (`ShouldDelegateList`), `storage/continue.go`.

use super::Call;
use super::options::{ListOptions, Match};
use super::respond::blocks;
use crate::body::Response;
use crate::negotiate::{Encoding, Shape};
use crate::protobuf;
use crate::registry::{Object, Store, table};
use crate::watch_cache::Selection;
use api::golang;
use api::status::Status;
use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// As Go reads it: bits that are left over mean nothing.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));
/// Bytes of a block of the body.
const BLOCK: usize = 64 << 10;
/// What the last object of a block may take beyond that, before the block is moved to a larger place.
const OVERHANG: usize = 4 << 10;

/// Some objects of a list.
pub(super) struct Page {
    pub(super) objects: Vec<Arc<Object>>,
    revision: u64,
    /// The token for the rest, and how many objects that is, if it is known.
    more: Option<(String, Option<usize>)>,
}

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Status> {
    let options = ListOptions::parse(&call.info.query, false)?;
    let selection =
        Selection::parse(call.version, call.namespace, &options.label_selector, &options.field_selector)?
            .named(&call.info.name);
    respond(call, page(call.store, &selection, &options).await?).await
}

/// Reads one page.
pub(super) async fn page(
    store: &Store,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Page, Status> {
    let limit = (options.limit > 0).then_some(options.limit);
    if !options.continue_token.is_empty() {
        let token = Token::decode(&options.continue_token)?;
        let start = Some(token.start.as_str());
        return match token.revision {
            Some(revision) => at(store, selection, revision, start, limit).await,
            None => {
                store.catch_up().await?;
                Ok(now(store, selection, start, limit))
            }
        };
    }
    match (options.resource_version, options.version_match) {
        (None, _) => {
            store.catch_up().await?;
            Ok(now(store, selection, None, limit))
        }
        (Some(0), _) => Ok(now(store, selection, None, None)),
        (Some(revision), Some(Match::Exact)) => at(store, selection, revision, None, limit).await,
        (Some(revision), None) if limit.is_some() => at(store, selection, revision, None, limit).await,
        (Some(revision), _) => {
            store.wait_for(revision).await?;
            Ok(now(store, selection, None, limit))
        }
    }
}

/// A page of the cache's state.
fn now(store: &Store, selection: &Selection, start: Option<&str>, limit: Option<usize>) -> Page {
    let published = store.revision();
    let snapshot = store.snapshot();
    let revision = published.max(snapshot.revision());
    from_snapshot(store, selection, &snapshot, revision, start, limit)
}

fn from_snapshot(
    store: &Store,
    selection: &Selection,
    snapshot: &crate::watch_cache::Snapshot,
    revision: u64,
    start: Option<&str>,
    limit: Option<usize>,
) -> Page {
    let limit = limit.unwrap_or(usize::MAX);
    let prefix = store.cache().prefix();
    let mut selected: Box<dyn Iterator<Item = &Arc<Object>>> = match start {
        None => Box::new(selection.list(snapshot)),
        Some(start) => Box::new(
            snapshot
                .after(Some(&format!("{prefix}{start}")), &selection.prefix(prefix))
                .filter(|object| selection.matches_within(object)),
        ),
    };
    let objects: Vec<Arc<Object>> = selected.by_ref().take(limit).cloned().collect();
    let more = match (selected.next(), objects.last()) {
        (Some(_), Some(last)) => {
            let remaining = selection.is_unrestricted().then(|| 1 + selected.count());
            let start = last.key()[prefix.len()..].to_owned();
            Some((Token { revision: Some(revision), start }.encode(), remaining))
        }
        _ => None,
    };
    Page { objects, revision, more }
}

/// A page of the state at a revision.
async fn at(
    store: &Store,
    selection: &Selection,
    revision: u64,
    start: Option<&str>,
    limit: Option<usize>,
) -> Result<Page, Status> {
    store.wait_for(revision).await?;
    let snapshot = store.snapshot();
    if snapshot.revision() <= revision {
        return Ok(from_snapshot(store, selection, &snapshot, revision, start, limit));
    }
    let limit = limit.unwrap_or(usize::MAX);
    let prefix = store.cache().prefix();
    let mut objects: Vec<Arc<Object>> = Vec::new();
    let mut next = start.map(|start| format!("{prefix}{start}"));
    loop {
        let (items, rest) = store
            .list_at(&selection.prefix(prefix), revision, next.as_deref())
            .await
            .map_err(|status| too_old(status, start))?;
        let last = items.last().map(|object| object.key().to_string());
        let count = items.len();
        for (index, object) in items.into_iter().enumerate() {
            if !selection.matches_within(&object) {
                continue;
            }
            if objects.len() == limit {
                let remaining = selection.is_unrestricted().then_some(count - index + rest);
                let start = objects.last().map_or("", |o| &o.key()[prefix.len()..]).to_owned();
                let token = Token { revision: Some(revision), start }.encode();
                return Ok(Page { objects, revision, more: Some((token, remaining)) });
            }
            objects.push(object);
        }
        if rest == 0 || last.is_none() {
            return Ok(Page { objects, revision, more: None });
        }
        next = last;
    }
}

/// A forgotten revision, with the token that goes on from the present state.
fn too_old(mut status: Status, start: Option<&str>) -> Status {
    if status.code != 410 {
        return status;
    }
    let Some(start) = start else {
        status.message = "The resourceVersion for the provided list is too old.".to_owned();
        return status;
    };
    status.message = "The provided continue parameter is too old to display a consistent list result. \
        You can start a new list without the continue parameter, or use the continue token in this response \
        to retrieve the remainder of the results. Continuing with the provided token results in an \
        inconsistent list - objects that were created, modified, or deleted between the time the first chunk \
        was returned and now may show up in the list."
        .to_owned();
    status.continue_token = Some(Token { revision: None, start: start.to_owned() }.encode());
    status
}

/// Where a list goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The revision of all pages; `None`: of the present state.
    revision: Option<u64>,
    /// The last key of the page before, within the resource.
    start: String,
}

impl Token {
    const VERSION: &str = "meta.k8s.io/v1";

    pub(super) fn encode(&self) -> String {
        let revision = self.revision.map_or(-1, |r| i64::try_from(r).unwrap_or(i64::MAX));
        let token = json!({"v": Self::VERSION, "rv": revision, "start": self.start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    pub(super) fn decode(text: &str) -> Result<Self, Status> {
        let invalid = |why: String| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        let bytes = match (golang::corrupt_base64(text), LENIENT.decode(text)) {
            (None, Ok(bytes)) => bytes,
            (Some(why), _) => return Err(invalid(why)),
            (None, Err(error)) => return Err(invalid(error.to_string())),
        };
        let token: Value = serde_json::from_slice(&bytes).map_err(|e| invalid(golang::unread(&bytes, &e)))?;
        if !token.is_object() {
            return Err(invalid(golang::mistyped(&token, "storage.continueToken")));
        }
        let field = |name: &str, wanted: &str, fits: bool| match fits || token[name].is_null() {
            true => Ok(()),
            false => Err(invalid(golang::mistyped_field(&token[name], "continueToken", name, wanted))),
        };
        field("v", "string", token["v"].is_string())?;
        field("rv", "int64", token["rv"].is_i64())?;
        field("start", "string", token["start"].is_string())?;
        let version = token["v"].as_str().unwrap_or_default();
        if version != Self::VERSION {
            return Err(invalid(format!("server does not recognize this encoded version {version}")));
        }
        let revision = match token["rv"].as_i64().unwrap_or_default() {
            0 => {
                let why = "incorrect encoded start resourceVersion (version meta.k8s.io/v1)";
                return Err(invalid(why.to_owned()));
            }
            // Upstream takes every negative one for the present state.
            ..0 => None,
            revision => Some(revision.unsigned_abs()),
        };
        let start = token["start"].as_str().unwrap_or_default();
        if start.is_empty() {
            return Err(invalid("encoded start key empty (version meta.k8s.io/v1)".to_owned()));
        }
        // Nobody may point out of the resource.
        let mut segments = start.strip_prefix('/').unwrap_or(start).split('/');
        if segments.any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(invalid(start.to_owned()));
        }
        Ok(Self { revision, start: start.to_owned() })
    }
}

/// The page as a response.
pub(super) async fn respond(call: &Call<'_>, mut page: Page) -> Result<Response, Status> {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some((token, remaining)) = &page.more {
        metadata["continue"] = token.as_str().into();
        if let Some(remaining) = remaining {
            metadata["remainingItemCount"] = (*remaining).into();
        }
    }
    let mut stored = Vec::new();
    if let Shape::Table(_) = call.negotiated.shape {
        call.version.sort_rows(&mut page.objects);
        stored.clone_from(&page.objects);
    }
    let resource = call.version.resource();
    let shown = call.version.show_all(page.objects).await?;
    let (kind, api_version) = match call.negotiated.shape {
        Shape::Object => (resource.list_kind(), resource.api_version()),
        Shape::Metadata(version) => {
            ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"))
        }
        Shape::Table(version) => {
            let include = table::Include::parse(call.info.query.text("includeObject"))?;
            let mut writer = table::Writer::new(call.version, version, include, call.context.clock.now());
            let mut head = Vec::with_capacity(1024);
            writer.begin(&mut head, &metadata);
            let mut stored = stored.into_iter();
            let write = move |out: &mut BytesMut, object: &Object| {
                let mut row = Vec::with_capacity(1024);
                writer.row(&mut row, stored.next().as_deref().unwrap_or(object), object);
                out.extend_from_slice(&row);
            };
            return Ok(blocks(&call.negotiated, None, Blocks::new(head, shown, 0, write)));
        }
    };
    if call.negotiated.encoding == Encoding::Protobuf {
        let list = protobuf::List { kind: &kind, api_version: &api_version, metadata: &metadata };
        let bytes = list.encode(&shown, resource, call.negotiated.shape).await?;
        return Ok(call.send_encoded(StatusCode::OK, bytes));
    }
    let head =
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[")
            .into_bytes();
    if let Shape::Metadata(version) = call.negotiated.shape {
        let write = move |out: &mut BytesMut, object: &Object| {
            out.extend_from_slice(&table::partial_metadata(object, version));
        };
        return Ok(blocks(&call.negotiated, None, Blocks::new(head, shown, 0, write)));
    }
    // The list tells kind and version once; upstream's typed lists leave them out of the items.
    let said = if protobuf::type_of(resource).is_some() {
        format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", resource.kind, resource.api_version())
    } else {
        String::new()
    };
    let open = if said.is_empty() { "" } else { "{" };
    let rest = |object: &Arc<Object>| object.json_len().saturating_sub(said.len());
    let items: usize = shown.iter().map(|object| open.len() + rest(object)).sum();
    let length = head.len() + items + shown.len().saturating_sub(1) + 3;
    let write = move |out: &mut BytesMut, object: &Object| {
        out.extend_from_slice(open.as_bytes());
        // Every object of a kind begins with what was said.
        object.append_json(said.len(), out);
    };
    Ok(blocks(&call.negotiated, Some(length), Blocks::new(head, shown, length, write)))
}

/// The body of a list, made while it is sent.
struct Blocks<F> {
    head: Option<Vec<u8>>,
    objects: std::vec::IntoIter<Arc<Object>>,
    first: bool,
    /// Bytes to come; 0 if that is not known.
    left: usize,
    write: F,
}

impl<F: FnMut(&mut BytesMut, &Object)> Blocks<F> {
    fn new(head: Vec<u8>, objects: Vec<Arc<Object>>, left: usize, write: F) -> Self {
        Self { head: Some(head), objects: objects.into_iter(), first: true, left, write }
    }
}

impl<F: FnMut(&mut BytesMut, &Object)> Iterator for Blocks<F> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut block = BytesMut::with_capacity(self.left.min(BLOCK + OVERHANG));
        match self.head.take() {
            Some(head) => block.extend_from_slice(&head),
            // The end was written.
            None if self.objects.len() == 0 && !self.first => return None,
            None => {}
        }
        while block.len() < BLOCK {
            let Some(object) = self.objects.next() else { break };
            if !std::mem::replace(&mut self.first, false) {
                block.extend_from_slice(b",");
            }
            (self.write)(&mut block, &object);
        }
        if self.objects.len() == 0 {
            self.first = false;
            block.extend_from_slice(b"]}\n");
        }
        self.left = self.left.saturating_sub(block.len());
        Some(block.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_their_encoding() {
        for token in [
            Token { revision: Some(7), start: "default/a".to_owned() },
            Token { revision: None, start: "x".to_owned() },
        ] {
            assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        }
    }

    #[test]
    fn a_token_that_is_none_is_refused_in_upstreams_words() {
        let token = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for (text, why) in [
            ("%%%".to_owned(), "illegal base64 data at input byte 0"),
            ("e30=".to_owned(), "illegal base64 data at input byte 3"),
            ("YWJjZ".to_owned(), "illegal base64 data at input byte 4"),
            (token("x"), "invalid character 'x' looking for beginning of value"),
            (token("[]"), "json: cannot unmarshal array into Go value of type storage.continueToken"),
            (
                token("{\"v\":\"meta.k8s.io/v1\",\"rv\":\"1\"}"),
                "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
            ),
            (token("{}"), "server does not recognize this encoded version "),
            (token("{\"v\":\"v2\"}"), "server does not recognize this encoded version v2"),
            (
                token("{\"v\":\"meta.k8s.io/v1\",\"start\":\"a\"}"),
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                token("{\"v\":\"meta.k8s.io/v1\",\"rv\":1}"),
                "encoded start key empty (version meta.k8s.io/v1)",
            ),
            (token("{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"start\":\"../a\"}"), "../a"),
            (token("{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"start\":\"a//b\"}"), "a//b"),
        ] {
            let refusal = Token::decode(&text).unwrap_err();
            let expected = format!("invalid continue token: continue key is not valid: {why}");
            assert_eq!((refusal.code, refusal.message), (400, expected), "{text}");
        }
    }
}
