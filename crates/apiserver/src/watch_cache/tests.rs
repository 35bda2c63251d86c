//! The watch cache against a model.
