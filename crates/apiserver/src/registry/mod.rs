//! The generic registry: one store for every kind, told apart by strategies.

mod strategy;

pub use strategy::{Cell, Column, Deletion, Propagation, Reservation, Strategy, WriteContext};
