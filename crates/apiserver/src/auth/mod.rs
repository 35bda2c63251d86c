//! Who asks, and whether they may: authentication and authorization.

mod authorizer;
mod user;

pub use authorizer::{Action, Authorizer, Decision};
pub use user::{ANONYMOUS, GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_UNAUTHENTICATED, UserInfo};

/// Finds out who sends a request.
pub struct Authenticator {}
