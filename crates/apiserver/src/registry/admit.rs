//! Admission's part in a write.
//!
//! **Not here**: who is asked, and in which order (`admission`).

use super::forms::StoredForms;
use super::{Store, WriteOptions};
use crate::admission::{Attributes, Companion, Operation, Outcome, Reinvocation};
use api::meta;
use api::status::Status;
use serde_json::Value;

/// A write as admission is told of it.
pub(super) struct Admitting<'a> {
    pub(super) operation: Operation,
    pub(super) namespace: &'a str,
    pub(super) old: Option<&'a Value>,
    /// That of `old`.
    pub(super) revision: u64,
}

/// Which half of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The plugins may change the object.
    Mutate,
    /// They may only refuse it.
    Validate,
}

impl Store {
    /// Asks admission, and returns what changes along with the object.
    pub(super) async fn admit(
        &self,
        options: &mut WriteOptions<'_>,
        write: &Admitting<'_>,
        object: Option<&mut Value>,
        phase: Phase,
    ) -> Result<Vec<Companion>, Status> {
        let Some((chain, lookup)) = options.admission else { return Ok(Vec::new()) };
        let name = object.as_deref().or(write.old).map(|o| meta::name(o).to_owned()).unwrap_or_default();
        let forms = StoredForms { store: self, requested: options.version, shown: options.shown };
        let mut attributes = Attributes {
            operation: write.operation,
            resource: self.resource(),
            subresource: options.subresource,
            namespace: write.namespace,
            name: &name,
            user: options.user,
            dry_run: options.dry_run,
            now: self.context.clock.now(),
            rng: &self.context.rng,
            lookup,
            old: write.old,
            revision: write.revision,
            forms: &forms,
            sent: options.sent,
            reinvocation: Reinvocation::default(),
            outcome: Outcome::default(),
        };
        let result = match phase {
            Phase::Mutate => chain.mutate(options.part, &mut attributes, object).await,
            Phase::Validate => chain.validate(options.part, &mut attributes, object.as_deref()).await,
        };
        let Outcome { warnings, companions } = attributes.outcome;
        options.warnings.extend(warnings);
        result.map(|()| companions)
    }
}
