//! What a kubelet needs from a container runtime: two traits, their types, a fake and a suite.
//!
//! Contract: the traits keep CRI's vocabulary (sandbox, container, image; run, stop, remove, status, list).
//! Every call may be repeated: stopping what has stopped and removing what is gone succeed, creating
//! what exists answers [`Error::AlreadyExists`] with its id. Dropping a call's future cancels nothing that the
//! engine has begun; ask again to learn the outcome.
//!
//! Not here: any engine (`runtime-docker`, `runtime-simulated`), any decision of the kubelet.
//!
//! Upstream: `cri-api/pkg/apis/runtime/v1`. Two things differ: logs are a stream of the runtime, not files of
//! the node, and events are a stream too (upstream's evented PLEG).

mod error;
pub mod fake;
mod image_service;
pub mod logs;
pub mod memory;
pub mod reference;
mod runtime_service;
pub mod script;
pub mod testing;
mod types;

pub use error::{Error, Result};
pub use image_service::ImageService;
pub use runtime_service::{EventStream, LogStream, RuntimeService};
pub use types::*;
