//! Tests of `kubeconfig`.
