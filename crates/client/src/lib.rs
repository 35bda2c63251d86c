//! What components use to talk to the API server.
//!
//! **Contract**: everything here works over a [`kube::Client`]; whether its requests go through memory or over HTTPS is
//! decided in [`connection`] and nowhere else.
//! **Not here**: what a component decides (its own crate), the types of the API (`k8s-openapi`).
//! **Upstream**: `k8s.io/client-go`.

pub mod backoff;
pub mod connection;
pub mod controller;
mod error;
pub mod events;
#[cfg(test)]
mod fake;
pub mod informer;
pub mod key;
pub mod kubeconfig;
pub mod leader;
pub mod lease;
pub mod queue;

pub use backoff::Backoff;
pub use connection::InMemory;
pub use controller::Action;
pub use error::{Error, RequestError};
pub use events::Recorder;
pub use informer::{
    AnyObject, Delta, Index, Informer, Informers, Interner, Origin, Original, Place, Selection, Subscription,
    Watched,
};
pub use key::{ClaimOrVolume, Key};
pub use queue::Queue;
