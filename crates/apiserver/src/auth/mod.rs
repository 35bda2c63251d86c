//! Who asks, and whether they may: authentication and authorization.

mod user;

pub use user::UserInfo;
