//! Every kind that is served, every verb, every client: stock kubectls and the Python client, over TLS.
//!
//! Needs kubectls (`tests/kubectl/fetch`) and the Python client (`tests/python/setup`). Prints the table:
//! `cargo test -p tests --test acceptance -- --nocapture`.

mod kubectl;
mod matrix;
mod prepare;
mod python;

use matrix::{Excuse, Matrix};
use tests::kinds;
use tests::served::Served;

/// Holes that are not ours.
const EXCUSES: &[Excuse] = &[
    Excuse {
        client: "1.32",
        kind: "PodDisruptionBudget",
        verb: "apply",
        reason: "the selector's patch strategy is replace, so kubectl sends it each time, to any server",
    },
    Excuse { client: "1.36", kind: "PodDisruptionBudget", verb: "apply", reason: "as 1.32" },
    Excuse {
        client: "python",
        kind: "ResourceClaim",
        verb: "watch",
        reason: "the client does not find its own type: its name has the group in front",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_has_every_verb_on_every_kind() {
    let served = Served::start(0).await;
    let kinds = kinds::served(&served.cluster.client()).await;
    let mut matrix = Matrix::default();
    for kubectl in &tests::kubectl::all() {
        let client = format!("1.{}", kubectl.minor);
        kubectl::Driver { served: &served, kubectl, client }.run(&kinds, &mut matrix).await;
    }
    python::run(&served, &kinds, &mut matrix).await;
    println!("{}", matrix.table(EXCUSES));
    let holes = matrix.holes(EXCUSES);
    assert!(holes.is_empty(), "{} holes:\n{}", holes.len(), holes.join("\n"));
}
