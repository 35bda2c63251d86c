//! `annotate`: sets and removes annotations.
//!
//! **Contract.** A value that is there already is replaced only with `--overwrite`.
//! **Upstream.** `kubectl/pkg/cmd/annotate` (behaviour).

use super::marks::Marks;
use super::{Command, Context};
use crate::pairs::Pairs;
use crate::report::{Error, message};
use crate::selection::Change;
use serde_json::Value;

/// The row of THE LIST.
pub(crate) const COMMAND: Command = Command {
    name: "annotate",
    build: |command| MARKS.build(command),
    run: |context, matches| Box::pin(MARKS.run(context, matches)),
};

static MARKS: Marks = Marks {
    manager: "kubectl-annotate",
    word: "annotation",
    article: "an annotation",
    field: "annotations",
    check,
    done: |_| "annotated",
};

fn check(_: &Context, _: &Change, pairs: &Pairs, old: &Value, overwrite: bool) -> Result<(), Error> {
    let conflicts = pairs.conflicts(old);
    if overwrite || conflicts.is_empty() {
        return Ok(());
    }
    let conflicts = conflicts.join("; ");
    Err(message(format!("--overwrite is false but found the following declared annotation(s): {conflicts}")))
}
