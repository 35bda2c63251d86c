//! What was found out about nodes for pods of a kind, for the next pod of that kind.
//!
//! Thousands of pods that a workload makes are alike to filters that look at one node only; of thousands of nodes few have
//! changed since the last decision. **Contract**: a memory is used only where every filter that is asked looks at nothing but
//! the node ([`Plugin::is_local`](crate::framework::Plugin::is_local)), and only while the node has not changed; decisions are
//! the same as without.
//! **Upstream**: opportunistic batching by pods' signatures.

use crate::framework::{NodeInfo, PodInfo, Rejection};
use crate::preemption::Candidate;
use std::sync::Arc;

/// Kinds of pods that are remembered at a time.
const KINDS: usize = 4;

/// The kinds of pods that were decided on last.
#[derive(Default)]
pub(crate) struct Memory(Vec<Kind>);

/// Pods of one profile that are alike, and what is known about nodes.
pub(crate) struct Kind {
    profile: String,
    example: Arc<PodInfo>,
    reasons: Vec<Rejection>,
    /// By slot: the node's version, and the index of the reason why it does not take such a pod, if there is one.
    verdicts: Vec<(u64, Option<usize>)>,
    /// By slot: the node's version, and who would have to leave it.
    rooms: Vec<Option<(u64, Result<Candidate, Rejection>)>>,
}

impl Memory {
    /// What is known for such a pod; the kind that was not asked for longest is forgotten.
    pub(crate) fn of(&mut self, profile: &str, pod: &Arc<PodInfo>) -> &mut Kind {
        let known = self.0.iter().position(|kind| kind.profile == profile && kind.example.is_like(pod));
        let kind = match known {
            Some(at) => self.0.remove(at),
            None => Kind {
                profile: profile.to_owned(),
                example: pod.clone(),
                reasons: Vec::new(),
                verdicts: Vec::new(),
                rooms: Vec::new(),
            },
        };
        self.0.truncate(KINDS - 1);
        self.0.insert(0, kind);
        &mut self.0[0]
    }
}

impl Kind {
    /// Why a node does not take such a pod, if it does not; none if that is not known.
    pub(crate) fn verdict(&self, node: &NodeInfo) -> Option<Option<&Rejection>> {
        let (version, reason) = self.verdicts.get(node.slot)?;
        (*version == node.version).then(|| reason.map(|at| &self.reasons[at]))
    }

    /// Keeps a verdict.
    pub(crate) fn learn(&mut self, node: &NodeInfo, rejection: Option<&Rejection>) {
        let reason = rejection.map(|rejection| {
            self.reasons.iter().position(|known| known == rejection).unwrap_or_else(|| {
                self.reasons.push(rejection.clone());
                self.reasons.len() - 1
            })
        });
        if self.verdicts.len() <= node.slot {
            self.verdicts.resize(node.slot + 1, (0, None));
        }
        self.verdicts[node.slot] = (node.version, reason);
    }

    /// Who would have to leave a node; none if that is not known.
    pub(crate) fn room(&self, node: &NodeInfo) -> Option<&Result<Candidate, Rejection>> {
        let (version, room) = self.rooms.get(node.slot)?.as_ref()?;
        (*version == node.version).then_some(room)
    }

    /// Keeps who would have to leave.
    pub(crate) fn learn_room(&mut self, node: &NodeInfo, room: Result<Candidate, Rejection>) {
        if self.rooms.len() <= node.slot {
            self.rooms.resize_with(node.slot + 1, || None);
        }
        self.rooms[node.slot] = Some((node.version, room));
    }
}
