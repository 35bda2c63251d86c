//! Makes services answer: at cluster addresses, node ports and load balancers' addresses.
//!
//! **Contract**: what a service and its endpoints mean is decided by [`services`], what the kernel is told by [`rules`];
//! both are pure. [`proxier`] follows the API and hands a [`dataplane`] what changed, in one transaction an update, so that a
//! change costs what changed and not what exists. Rules live in a table of their own; nobody else's are touched.
//! Network policies are enforced beside it, by [`policy`], with rules of their own.
//! All nodes of a profile are on one machine, so one proxy serves all of them; [`places`] tells their pods apart.
//! **Not here**: names (DNS).
//! **Upstream**: `cmd/kube-proxy`, `pkg/proxy`.

pub mod dataplane;
mod family;
pub mod health;
mod localhost;
mod metrics;
pub mod places;
pub mod policy;
pub mod proxier;
pub mod rules;
pub mod services;
pub mod table;
pub mod tcp;
pub mod udp;

pub use dataplane::{Dataplane, Error, Frontend, Nftables, Remote, Userspace};
pub use family::Family;
pub use localhost::Reach;
pub use proxier::{Config, Stack, run};
pub use rules::Closed;
