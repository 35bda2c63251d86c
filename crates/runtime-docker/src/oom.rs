//! May the engine lower an `oom_score_adj`?
//!
//! Without CAP_SYS_RESOURCE (a container or a confined virtual machine around the engine) the kernel refuses, and runc
//! fails with `can't get final child's PID from pipe: EOF`. Containers then run without, and the status says so.
//!
//! Contract: guessed once from this machine's bounding set, corrected by the first sandbox that fails so.

use std::sync::atomic::{AtomicBool, Ordering};

/// A sandbox's score: the last to be killed. Upstream: dockershim's `defaultSandboxOOMAdj`.
pub(crate) const SANDBOX_SCORE: i64 = -998;
/// What the status says.
pub(crate) const WARNING: &str =
    "the container engine may not lower oom_score_adj (no CAP_SYS_RESOURCE): negative values are left out";
/// CAP_SYS_RESOURCE's bit.
const SYS_RESOURCE: u32 = 24;

/// Whether negative scores work.
pub(crate) struct OomScore {
    may_lower: AtomicBool,
}

impl OomScore {
    /// From the bounding set of this process, which on one machine is the engine's too.
    pub(crate) fn detect() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { may_lower: AtomicBool::new(bounding_set_allows(&status)) }
    }

    pub(crate) fn may_lower(&self) -> bool {
        self.may_lower.load(Ordering::Relaxed)
    }

    pub(crate) fn forbid(&self) {
        self.may_lower.store(false, Ordering::Relaxed);
    }

    /// The score to ask the engine for.
    pub(crate) fn allowed(&self, wanted: Option<i64>) -> Option<i64> {
        wanted.filter(|score| *score >= 0 || self.may_lower())
    }
}

/// Whether a start failed for a score below zero.
pub(crate) fn is_refusal(message: &str) -> bool {
    message.contains("can't get final child's PID from pipe")
        || (message.contains("oom_score_adj") && message.contains("permission denied"))
}

fn bounding_set_allows(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_none_or(|set| set >> SYS_RESOURCE & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_bounding_set() {
        for (status, allows) in [
            ("Name:\tx\nCapBnd:\t000001ffffffffff\n", true),
            ("CapBnd:\t000001fffeffffff\n", false),
            ("CapBnd:\t0000000000000000\n", false),
            ("", true),
        ] {
            assert_eq!(bounding_set_allows(status), allows, "{status:?}");
        }
    }

    #[test]
    fn leaves_out_only_what_is_refused() {
        let score = OomScore { may_lower: AtomicBool::new(true) };
        assert_eq!(score.allowed(Some(-5)), Some(-5));
        score.forbid();
        assert_eq!(score.allowed(Some(-5)), None);
        assert_eq!(score.allowed(Some(5)), Some(5));
    }
}
