//! An in-memory runtime for tests.
