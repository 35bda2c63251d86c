//! What an applier is told when others own what it wants to change.
//!
//! **Upstream**: `managedfields/internal/conflict.go`.

use crate::patch::apply::FieldSet;
use crate::registry::managed_fields::{Entry, Operation};
use api::status::{Cause, Details, Status};

/// Fields of one manager that an apply would change.
#[derive(Debug)]
pub(super) struct Conflict {
    /// The manager as it is called in messages.
    pub(super) manager: String,
    /// The fields.
    pub(super) fields: FieldSet,
}

impl Conflict {
    pub(super) fn new(entry: &Entry, fields: FieldSet) -> Self {
        let mut manager = format!("{:?}", entry.manager);
        if !entry.subresource.is_empty() {
            manager += &format!(" with subresource {:?}", entry.subresource);
        }
        if entry.operation == Operation::Update {
            manager += &format!(" using {}", entry.api_version);
        }
        Self { manager, fields }
    }
}

/// The answer: 409 with one cause a field.
pub(super) fn status(mut conflicts: Vec<Conflict>) -> Status {
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    let conflicts: Vec<(String, Vec<String>)> =
        conflicts.into_iter().map(|c| (c.manager, c.fields.paths())).collect();
    let causes: Vec<Cause> = conflicts
        .iter()
        .flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path)))
        .map(|(manager, path)| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {manager}"),
            field: path.clone(),
        })
        .collect();
    let message = match causes.as_slice() {
        [cause] => format!("Apply failed with 1 conflict: {}: {}", cause.message, cause.field),
        _ => {
            let lines: Vec<String> = conflicts
                .iter()
                .map(|(manager, paths)| {
                    let paths: Vec<String> = paths.iter().map(|path| format!("\n- {path}")).collect();
                    format!("conflicts with {manager}:{}", paths.concat())
                })
                .collect();
            format!("Apply failed with {} conflicts: {}", causes.len(), lines.join("\n"))
        }
    };
    let mut status = Status::new(409, "Conflict", message);
    status.details = Some(Box::new(Details { causes, ..Details::default() }));
    status
}
