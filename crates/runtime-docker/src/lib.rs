//! A container runtime that drives a Docker engine over its API.
//!
//! Contract: what belongs to a profile carries the label `minik.profile`, and nothing else is ever looked at. Names and
//! the other labels are those of dockershim, so that people's habits with `docker ps` keep working. A verb makes as few
//! calls as it can: a pod with one container is create, start, create, start.
//!
//! Not here: when to do what (the kubelet).
//!
//! Upstream: dockershim, cri-dockerd.

pub mod archive;
mod client;
mod config;
mod container_create;
mod container_list;
mod container_status;
mod container_stop;
mod error;
mod events;
mod exec;
mod hairpin;
mod image;
mod image_store;
mod image_unpack;
mod labels;
mod logs;
mod mirrors;
pub mod naming;
mod network;
mod network_helper;
mod oom;
mod pause;
mod pod_cgroup;
mod port_forward;
mod profile;
mod sandbox_list;
mod sandbox_run;
mod sandbox_status;
mod sandbox_stop;
mod service;
mod start;
mod stats;
mod streams;
mod time;

pub use client::DockerRuntime;
pub use config::{DockerConfig, Mirrors, NetworkConfig};
pub use image::Progress;
pub use image_store::BuildOptions;
pub use labels::{NODE_LABEL, PROFILE_LABEL};
pub use network_helper::Helper;
