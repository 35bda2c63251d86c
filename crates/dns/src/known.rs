//! Answers that were given before, as packets: most of a cluster's questions are the same few.
//!
//! **Contract**: pure. An answer holds until anything changes of which answers are made; a question is the same with every
//! byte but its id. What is kept is bounded: what is too much is all forgotten, and learned again.

use crate::responder::Reply;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use std::collections::HashMap;

/// Bytes of the id, with which packets begin.
const ID: usize = 2;
/// The longest question that is kept.
const QUESTION: usize = 512;
/// Answers that are kept; each is some 200 bytes.
const MOST: usize = 1024;

/// Answers that hold.
#[derive(Default)]
pub(crate) struct Known {
    changes: u64,
    answers: HashMap<Box<[u8]>, Answer>,
}

/// A packet, and what it says.
pub(crate) struct Answer {
    pub(crate) packet: Vec<u8>,
    pub(crate) told: (Option<RecordType>, ResponseCode),
}

impl Known {
    /// The answer to this question after so many changes.
    pub(crate) fn find(&mut self, changes: u64, question: &[u8]) -> Option<&Answer> {
        if changes != self.changes {
            self.answers.clear();
            self.changes = changes;
        }
        let (id, rest) = question.split_at_checked(ID)?;
        let answer = self.answers.get_mut(rest)?;
        answer.packet.get_mut(..ID)?.copy_from_slice(id);
        Some(answer)
    }

    /// Keeps an answer that was made after the changes of the last [`find`](Self::find).
    pub(crate) fn keep(&mut self, question: &[u8], reply: &Reply, packet: &[u8]) {
        let Some(rest) = question.get(ID..).filter(|rest| rest.len() <= QUESTION && reply.holds()) else {
            return;
        };
        if self.answers.len() >= MOST {
            self.answers.clear();
        }
        let answer = Answer { packet: packet.to_vec(), told: reply.told() };
        self.answers.insert(rest.into(), answer);
    }
}
