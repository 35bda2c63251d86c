//! The API-only behaviours of the official conformance suite, each as a test named after it, on whole clusters in the
//! test's process.
//!
//! **Contract**: what is the same for all kinds is one routine (`operations.rs`) over a table; a test's name is the
//! behaviour's, in snake case, with its area as the file.
//! **Not here**: behaviours that need running containers.
//! **Upstream**: `test/conformance/testdata/conformance.yaml`, `test/e2e`.

mod apps;
mod auth;
mod custom;
mod field_validation;
mod instrumentation;
mod machinery;
mod network;
mod node;
mod operations;
mod quotas;
mod scheduling;
mod storage;
mod wire;
