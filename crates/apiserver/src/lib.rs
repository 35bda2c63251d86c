//! The API server: the only door to the cluster's state.
//!
//! ```text
//! accept → request info → authenticate → authorize → verb handler
//! verb handler: decode → strict fields → default → mutate (admission) → validate → admit → store → encode
//! ```
//!
//! **Contract**: no route and no verb handler names a kind; what differs between kinds is a [`registry::Strategy`].
//! **Not here**: how bytes are kept (`storage`); what the objects mean to the cluster (the components).
//! **Upstream**: `k8s.io/apiserver`, `pkg/registry`.

pub mod admission;
mod aggregation;
pub mod audit;
pub mod auth;
pub mod body;
mod bootstrap;
mod catalog;
pub(crate) mod cel;
mod chain;
mod computed;
pub mod config;
mod crd;
mod decode;
pub mod discovery;
mod dispatch;
mod error;
mod flowcontrol;
mod guard;
pub mod handlers;
mod health;
mod identity;
mod limits;
mod metrics;
pub mod negotiate;
pub mod openapi;
mod openid;
mod options;
mod outbound;
mod pages;
pub mod patch;
mod protobuf;
pub mod registry;
pub mod request;
pub mod resources;
mod respond;
pub mod reviews;
mod serve;
pub mod server;
mod service_addresses;
mod service_dialer;
pub mod subresources;
mod upkeep;
pub mod version;
pub mod watch_cache;

pub use config::Config;
pub use error::Error;
pub use serve::Call;
pub use server::Server;
