//! minik
