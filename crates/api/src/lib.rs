//! The vocabulary of the Kubernetes API: what every other crate says to the others.
//!
//! **Contract**: no I/O, no clock, no async; pure data and pure functions.
//! **Not here**: what differs between kinds (`apiserver::resources`), how objects are kept (`storage`).

pub mod cron;
pub mod duration;
pub mod field;
pub mod golang;
pub mod jsonpath;
pub mod kind;
pub mod meta;
pub mod names;
pub mod pod;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod resource_claim;
pub mod scheduling;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategic_merge;
pub mod time;
pub mod version;
pub mod volume;
pub mod well_known;

pub use k8s_openapi;
