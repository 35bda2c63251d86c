//! `admissionregistration.k8s.io`: who else is asked before something is written.
//!
//! **Contract**: expressions are compiled when an object is written; who is asked what, and when, is for `admission`.
//! **Upstream**: `pkg/apis/admissionregistration/validation`.

pub(crate) mod policy;
pub(crate) mod policy_binding;
mod rules;
pub(crate) mod webhook_configuration;

const GROUP: &str = "admissionregistration.k8s.io";
const CATEGORIES: &[&str] = &["api-extensions"];
