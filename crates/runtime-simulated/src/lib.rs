//! runtime-simulated
