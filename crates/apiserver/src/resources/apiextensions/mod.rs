//! `apiextensions.k8s.io`: kinds that are added at run time are stored and validated here; serving them is not.

pub(crate) mod custom_resource_definition;
mod spec;
