//! The JSON of an object in the watch cache: as it is, or as its differences from another that is much like it.
//!
//! Ten thousand pods of a few templates, and the events about them, are most of what a large cluster has in memory, and are
//! seldom read; each takes a fifth of its size beside another. **Contract**: what is read is what was written.
//! **Not here**: which objects are packed, and when (`watch_cache`).

use bytes::{Bytes, BytesMut};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Packed, an object takes at most this part of its size; otherwise it stays as it is.
const WORTHWHILE: usize = 2;
/// Beside another of the same maker it takes at most this part. What takes more is also slower to read: it is pieced together
/// from many small parts.
const ALIKE: usize = 5;

/// A JSON document.
pub(super) enum Json {
    /// Never packed.
    Plain(Bytes),
    /// Packed at some time.
    Packable(RwLock<Form>),
}

#[derive(Clone)]
pub(super) enum Form {
    Plain(Bytes),
    Packed(Packed),
}

/// Differences from a model.
#[derive(Clone)]
pub(super) struct Packed {
    model: Bytes,
    /// Of the document.
    length: u32,
    differences: Box<[u8]>,
}

impl Packed {
    /// None if it is not worthwhile.
    fn new(json: &[u8], model: Bytes) -> Option<Self> {
        let length = u32::try_from(json.len()).ok()?;
        let differences = lz4_flex::block::compress_with_dict(json, &model);
        let worthwhile = differences.len() <= json.len() / WORTHWHILE;
        worthwhile.then(|| Self { model, length, differences: differences.into_boxed_slice() })
    }

    fn unpack(&self) -> Bytes {
        let mut json = BytesMut::with_capacity(self.length as usize);
        self.append(0, &mut json);
        json.freeze()
    }

    fn append(&self, skipped: usize, out: &mut BytesMut) {
        let start = out.len();
        out.resize(start + self.length as usize, 0);
        let (differences, model) = (&self.differences, &self.model);
        lz4_flex::block::decompress_into_with_dict(differences, &mut out[start..], model)
            .expect("what was packed can be unpacked");
        let skipped = skipped.min(self.length as usize);
        out.copy_within(start + skipped.., start);
        out.truncate(out.len() - skipped);
    }
}

impl Json {
    pub(super) fn new(json: Bytes, packable: bool) -> Self {
        if packable { Self::Packable(RwLock::new(Form::Plain(json))) } else { Self::Plain(json) }
    }

    fn form(form: &RwLock<Form>) -> RwLockReadGuard<'_, Form> {
        form.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document; costs a copy where it is packed.
    pub(super) fn get(&self) -> Bytes {
        match self {
            Self::Plain(json) => json.clone(),
            Self::Packable(form) => match &*Self::form(form) {
                Form::Plain(json) => json.clone(),
                Form::Packed(packed) => packed.unpack(),
            },
        }
    }

    /// Appends the document without its first bytes.
    pub(super) fn append(&self, skipped: usize, out: &mut BytesMut) {
        match self {
            Self::Plain(json) => out.extend_from_slice(json.get(skipped..).unwrap_or_default()),
            Self::Packable(form) => match &*Self::form(form) {
                Form::Plain(json) => out.extend_from_slice(json.get(skipped..).unwrap_or_default()),
                Form::Packed(packed) => packed.append(skipped, out),
            },
        }
    }

    /// The document's length.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(json) => json.len(),
            Self::Packable(form) => match &*Self::form(form) {
                Form::Plain(json) => json.len(),
                Form::Packed(packed) => packed.length as usize,
            },
        }
    }

    /// What it was packed beside.
    pub(super) fn model(&self) -> Option<Bytes> {
        let Self::Packable(form) = self else { return None };
        match &*Self::form(form) {
            Form::Plain(_) => None,
            Form::Packed(packed) => Some(packed.model.clone()),
        }
    }

    /// Packs it beside the first of these models that is of the same maker, or else the first that makes it worthwhile. If none
    /// is of the same maker: the document itself, as a model for others.
    pub(super) fn pack(&self, models: impl IntoIterator<Item = Bytes>) -> Option<Bytes> {
        let Self::Packable(form) = self else { return None };
        let Form::Plain(json) = Self::form(form).clone() else { return None };
        let keep = |packed| *form.write().unwrap_or_else(PoisonError::into_inner) = Form::Packed(packed);
        let mut worthwhile = None;
        for packed in models.into_iter().filter_map(|model| Packed::new(&json, model)) {
            if packed.differences.len() <= json.len() / ALIKE {
                keep(packed);
                return None;
            }
            worthwhile.get_or_insert(packed);
        }
        worthwhile.into_iter().for_each(keep);
        Some(json)
    }

    /// The same, packed or not, with another document.
    pub(super) fn with(&self, json: Bytes) -> Self {
        Self::new(json, matches!(self, Self::Packable(_)))
    }
}

impl Clone for Json {
    fn clone(&self) -> Self {
        match self {
            Self::Plain(json) => Self::Plain(json.clone()),
            Self::Packable(form) => Self::Packable(RwLock::new(Self::form(form).clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What does not repeat itself.
    fn noise(numbers: std::ops::Range<u32>) -> String {
        numbers.map(|i| format!("{:x}", i.wrapping_pow(7).wrapping_mul(2_654_435_761))).collect()
    }

    /// A third of it is its maker's.
    fn made(maker: u32, name: &str) -> Bytes {
        let (all, own) = (noise(1..60), noise(100 * maker..100 * maker + 30));
        format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"containers":"{all}{own}"}}}}"#).into()
    }

    fn pod(name: &str) -> Bytes {
        made(1, name)
    }

    #[test]
    fn what_is_packed_is_read_as_it_was() {
        let model = pod("first");
        for text in [pod("second"), model.clone()] {
            let json = Json::new(text.clone(), true);
            assert_eq!((json.get(), json.len(), json.model()), (text.clone(), text.len(), None));
            assert_eq!(json.pack([Bytes::new(), model.clone()]), None);
            assert_eq!(json.model(), Some(model.clone()), "the first one is not like it");
            for json in [json.clone(), json] {
                assert_eq!((json.get(), json.len()), (text.clone(), text.len()));
                let mut out = BytesMut::from(&b"["[..]);
                json.append(2, &mut out);
                assert_eq!(out, [b"[", &text[2..]].concat());
            }
        }
    }

    #[test]
    fn of_models_that_make_it_worthwhile_one_of_the_same_maker_is_best() {
        let (first, second, other) = (pod("first"), pod("second"), made(2, "other"));
        let json = Json::new(second.clone(), true);
        assert_eq!(json.pack([other.clone()]), Some(second.clone()), "for others of its maker");
        assert_eq!((json.get(), json.model()), (second.clone(), Some(other.clone())));
        let json = Json::new(second, true);
        assert_eq!(json.pack([other, first.clone()]), None);
        assert_eq!(json.model(), Some(first));
    }

    #[test]
    fn what_is_unlike_all_models_stays_and_is_the_next_model() {
        let text = Bytes::from_static(b"{\"kind\":\"Pod\"}");
        let json = Json::new(text.clone(), true);
        assert_eq!(json.pack([]), Some(text.clone()));
        assert_eq!(json.pack([pod("a")]), Some(text.clone()));
        assert_eq!((json.get(), json.model()), (text.clone(), None));
        let json = Json::new(text.clone(), false);
        assert_eq!(json.pack([text.clone()]), None, "its kind is not packed");
        assert_eq!((json.get().as_ptr(), json.model()), (text.as_ptr(), None));
    }
}
