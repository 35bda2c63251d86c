//! A developer's first days, step by step: each way is walked twice with kctl and twice with a stock kubectl, on one cluster.
//!
//! Needs Docker, the images of `tests/images/build`, curl, and kubectls (`tests/kubectl/fetch`).

mod bootcamp;
mod day_to_day;
mod objects;
mod walk;
