//! The suite that every runtime passes.
