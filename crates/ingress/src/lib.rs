//! The built-in ingress controller: HTTP from outside to pods, by host and path.
//!
//! **Contract**: what Ingresses mean is decided by [`routes`], [`annotations`] and [`endpoints`], which are pure;
//! [`controller`] follows the API and publishes a new table, which requests read without a lock; [`proxy`] passes requests
//! on, straight to endpoints. Nothing listens before there is an Ingress of one of our classes. [`gateway`] is the Gateway API
//! on the same way.
//! **Not here**: addresses of Services (kube-proxy), names (DNS).
//! **Upstream**: the Ingress API; annotations are ingress-nginx's.

pub mod annotations;
mod body;
mod clients;
pub mod controller;
pub mod endpoints;
mod follow;
pub mod gateway;
mod headers;
mod listen;
mod pool;
mod proxy;
pub mod routes;
mod status;
mod tls;
mod workers;

pub use controller::{CLASS, CONTROLLER, Config, run};
