//! Who asks, and whether they may: authentication and authorization.

mod authenticator;
mod authorizer;
pub mod authorizers;
mod bootstrap_token;
pub mod cert;
mod forbidden;
pub mod impersonation;
pub mod node;
pub mod policy;
pub mod rbac;
#[cfg(test)]
mod tests;
pub mod token;
mod user;

pub use authenticator::Authenticator;
pub use authorizer::{Action, Authorizer, Decision};
pub use forbidden::forbidden;
pub use user::{ANONYMOUS, GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_UNAUTHENTICATED, UserInfo};
