//! Tests of `informer`.
