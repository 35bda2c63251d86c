//! `apiregistration.k8s.io`: groups that other servers serve are stored and validated here; nobody is asked yet.

pub(crate) mod api_service;
