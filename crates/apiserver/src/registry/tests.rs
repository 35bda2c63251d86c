//! The store, over memory storage.
