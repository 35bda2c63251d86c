//! Who goes first: who uses more than was asked for, then who matters less, then who uses more.
//!
//! **Upstream**: `rankMemoryPressure` of `pkg/kubelet/eviction/helpers.go`.

use api::k8s_openapi::api::core::v1::Pod;
use std::cmp::Reverse;
use std::sync::Arc;

/// A pod that may go.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) pod: Arc<Pod>,
    pub(super) priority: i32,
    pub(super) usage: u64,
    pub(super) request: u64,
}

/// In the order of going.
pub(super) fn order(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by_key(|c| {
        let over = i128::from(c.usage) - i128::from(c.request);
        (Reverse(over > 0), c.priority, Reverse(over))
    });
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greedy_go_before_the_important_and_the_large() {
        let candidate = |name: &str, priority, usage, request| {
            let mut pod = Pod::default();
            pod.metadata.name = Some(name.to_owned());
            Candidate { pod: Arc::new(pod), priority, usage, request }
        };
        let all = vec![
            candidate("modest", 0, 10, 20),
            candidate("important", 5, 90, 10),
            candidate("greedy", 0, 30, 10),
            candidate("greediest", 0, 50, 10),
        ];
        let names: Vec<_> = order(all).into_iter().filter_map(|c| c.pod.metadata.name.clone()).collect();
        assert_eq!(names, ["greediest", "greedy", "important", "modest"]);
    }
}
