//! Fields in the order of their numbers, with the structs that Go inlines and protobuf nests.
//!
//! **Contract**: immutable; a type's plan is made when it is first asked for and then kept.

use crate::schema::{Field, Schema, Type, TypeRef};
use std::sync::OnceLock;

/// The fields of a message, sorted by number.
#[derive(Debug)]
pub(super) struct Plan {
    entries: Box<[Entry]>,
}

/// A field number, and what has it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) node: Node,
}

/// What has a field number.
#[derive(Debug)]
pub(super) enum Node {
    /// A field of the JSON object.
    Field(&'static Field),
    /// A message whose fields stand in the same JSON object.
    Inline(Plan),
}

impl Plan {
    /// The plan of a type.
    pub(super) fn of(ty: TypeRef) -> &'static Self {
        static PLANS: OnceLock<Box<[OnceLock<Plan>]>> = OnceLock::new();
        let plans = PLANS.get_or_init(|| Schema::get().types().map(|_| OnceLock::new()).collect());
        plans[ty.index()].get_or_init(|| Self::new(ty.resolve()))
    }

    fn new(ty: &'static Type) -> Self {
        Self::level(ty.fields.iter().filter(|f| !f.proto.is_empty()).collect(), 0)
    }

    fn level(mut fields: Vec<&'static Field>, depth: usize) -> Self {
        fields.sort_by_key(|f| f.proto[depth]);
        let same = fields.chunk_by(|a, b| a.proto[depth] == b.proto[depth]);
        let entries = same.map(|group| {
            let number = group[0].proto[depth];
            let node = match group {
                [only] if only.proto.len() == depth + 1 => Node::Field(only),
                inlined => Node::Inline(Self::level(inlined.to_vec(), depth + 1)),
            };
            Entry { number, node }
        });
        Self { entries: entries.collect() }
    }

    /// In the order of the numbers.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What has this number.
    pub(super) fn find(&self, number: u32) -> Option<&Node> {
        let at = self.entries.binary_search_by_key(&number, |e| e.number).ok()?;
        Some(&self.entries[at].node)
    }
}
