//! The vocabulary of the Kubernetes API: what every other crate says to the others.
//!
//! **Contract**: no I/O, no clock, no async; pure data and pure functions.
//! **Not here**: what differs between kinds (`apiserver::resources`), how objects are kept (`storage`).

pub mod field;
pub mod kind;
pub mod status;

pub use k8s_openapi;
