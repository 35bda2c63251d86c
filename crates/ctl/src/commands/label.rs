//! `label`: sets and removes labels.
//!
//! **Contract.** A value that is there already is replaced only with `--overwrite`.
//! **Upstream.** `kubectl/pkg/cmd/label` (behaviour).

use super::marks::Marks;
use super::{Command, Context};
use crate::pairs::{Outcome, Pairs};
use crate::report::{Error, message};
use crate::selection::Change;
use serde_json::Value;

/// The row of THE LIST.
pub(crate) const COMMAND: Command = Command {
    name: "label",
    build: |command| MARKS.build(command),
    run: |context, matches| Box::pin(MARKS.run(context, matches)),
};

static MARKS: Marks = Marks {
    manager: "kubectl-label",
    word: "label",
    article: "a label",
    field: "labels",
    check,
    done: |outcome| match outcome {
        Outcome::Unchanged => "not labeled",
        Outcome::Set => "labeled",
        Outcome::Removed => "unlabeled",
    },
};

fn check(
    context: &Context,
    change: &Change,
    pairs: &Pairs,
    old: &Value,
    overwrite: bool,
) -> Result<(), Error> {
    if !overwrite {
        let conflicts = pairs.conflicts(old).into_iter();
        let conflicts = conflicts.map(|one| message(format!("{one}, and --overwrite is false")));
        Error::from_many(conflicts.collect())?;
    }
    for key in pairs.remove.iter().filter(|key| old[key.as_str()].is_null() && change.is_human()) {
        context.terminal.out(&format!("label {key:?} not found.\n"))?;
    }
    Ok(())
}
