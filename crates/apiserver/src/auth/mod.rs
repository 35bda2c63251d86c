//! Who asks, and whether they may: authentication and authorization.

mod access_webhook;
mod authenticator;
mod authorizer;
pub mod authorizers;
mod bootstrap_token;
pub mod cert;
pub(crate) mod configuration;
mod forbidden;
pub(crate) mod impersonation;
mod legacy_token;
pub mod node;
mod objects;
mod oidc;
pub mod policy;
pub mod rbac;
mod request_header;
pub(crate) mod selector;
#[cfg(test)]
mod server_tests;
mod static_token;
#[cfg(test)]
mod tests;
pub mod token;
mod token_metrics;
pub(crate) mod token_tracking;
mod token_webhook;
mod user;
pub(crate) mod webhook;

pub use authenticator::Authenticator;
pub use authorizer::{Action, Authorizer, Decision};
pub use forbidden::forbidden;
pub(crate) use impersonation::is_on;
pub use objects::Objects;
pub use user::{ANONYMOUS, GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_UNAUTHENTICATED, UserInfo};
