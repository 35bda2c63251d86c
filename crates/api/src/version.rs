//! The one version that server, launcher and command line tell.

/// The version of Kubernetes whose API and command line these are.
pub const KUBERNETES: &str = "v1.36.0+minik";
