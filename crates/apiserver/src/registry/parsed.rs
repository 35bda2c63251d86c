//! Objects that are looked at again and again, as trees: namespaces and service accounts, for the most part.
//!
//! **Contract**: a tree is of the very object that was asked about. **Not here**: which objects there are (the watch cache).

use super::Object;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use storage::Key;

/// Trees that are kept at most; all are let go of when there would be more.
const MAX: usize = 256;

/// The trees of objects, with the revisions that they are of.
#[derive(Default)]
pub(super) struct Parsed(Mutex<HashMap<Key, (u64, Arc<Value>)>>);

impl Parsed {
    /// The tree of an object; costs a parse the first time.
    pub(super) fn of(&self, object: &Object) -> Arc<Value> {
        let known = self.trees(|trees| trees.get(object.key()).cloned());
        if let Some((_, tree)) = known.filter(|(revision, _)| *revision == object.revision()) {
            return tree;
        }
        let tree = Arc::new(object.to_value());
        // What is computed and not stored has no revision to be told apart by.
        if object.revision() == 0 {
            return tree;
        }
        self.trees(|trees| {
            if trees.len() >= MAX {
                trees.clear();
            }
            trees.insert(object.key().clone(), (object.revision(), Arc::clone(&tree)));
        });
        tree
    }

    fn trees<T>(&self, act: impl FnOnce(&mut HashMap<Key, (u64, Arc<Value>)>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
