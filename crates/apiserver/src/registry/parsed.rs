//! Objects that are looked at again and again, as trees: namespaces and service accounts, for the most part.
//!
//! **Contract**: a tree is of the very text that was asked about; the same revision may read otherwise once its kind has changed.
//! **Not here**: which objects there are (the watch cache).

use super::Object;
use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use storage::Key;

/// Trees that are kept at most; all are let go of when there would be more.
const MAX: usize = 256;

/// The trees of objects, with the texts that they are of.
#[derive(Default)]
pub(super) struct Parsed(Mutex<HashMap<Key, (Bytes, Arc<Value>)>>);

impl Parsed {
    /// The tree of an object; costs a parse the first time.
    pub(super) fn of(&self, object: &Object) -> Arc<Value> {
        let known = self.trees(|trees| trees.get(object.key()).cloned());
        // A text that is kept here keeps its place in memory.
        let json = object.json();
        if let Some((_, tree)) = known.filter(|(known, _)| known.as_ptr() == json.as_ptr()) {
            return tree;
        }
        let tree = Arc::new(object.to_value());
        self.trees(|trees| {
            if trees.len() >= MAX {
                trees.clear();
            }
            trees.insert(object.key().clone(), (json, Arc::clone(&tree)));
        });
        tree
    }

    fn trees<T>(&self, act: impl FnOnce(&mut HashMap<Key, (Bytes, Arc<Value>)>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
