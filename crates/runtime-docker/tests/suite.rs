//! The suite on a Docker engine.

mod support;

use support::harness;

runtime::runtime_suite!(harness, flavor = "multi_thread", worker_threads = 2);
