//! `--overrides`: a JSON document that changes an object which a command makes from its flags.
//!
//! **Upstream.** `kubectl/pkg/cmd/util/override_options.go` (flags and words).

use clap::{Arg, ArgMatches};
use serde_json::Value;

use crate::cli::{self, value};
use crate::local_patch::{self, Kind};
use crate::report::{Error, message};
use crate::yaml_input;

/// `--overrides` and `--override-type`
pub(crate) fn flags() -> [Arg; 2] {
    [
        cli::text(
            "overrides",
            "An inline JSON override for the generated object. If this is non-empty, it is used to override the generated object. Requires that the object supply a valid apiVersion field.",
        ),
        cli::text(
            "override-type",
            "The method used to override the generated object: json, merge, or strategic.",
        )
        .default_value("merge"),
    ]
}

/// Changes an object as the flags say.
pub(crate) fn apply(matches: &ArgMatches, object: Value) -> Result<Value, Error> {
    let kind = value(matches, "override-type");
    let Some(kind) = Kind::named(kind) else {
        return Err(message(format!("invalid override type: {kind}")));
    };
    let text = value(matches, "overrides");
    if text.is_empty() {
        return Ok(object);
    }
    let patch = yaml_input::parse(text).map_err(message)?;
    local_patch::apply(kind, &object, &patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn overrides_merge_or_patch() {
        let run = |words: &[&str]| {
            let command = clap::Command::new("x").args(flags());
            let matches = command.get_matches_from(["x"].iter().chain(words));
            apply(&matches, json!({"spec": {"a": 1, "b": 2}})).map_err(|error| error.to_string())
        };
        assert_eq!(run(&[]).unwrap(), json!({"spec": {"a": 1, "b": 2}}));
        assert_eq!(
            run(&["--overrides", r#"{"spec": {"a": null, "c": 3}}"#]).unwrap(),
            json!({"spec": {"b": 2, "c": 3}})
        );
        let patch = r#"[{"op": "remove", "path": "/spec/a"}]"#;
        assert_eq!(run(&["--override-type=json", "--overrides", patch]).unwrap(), json!({"spec": {"b": 2}}));
        let strategic = ["--override-type=strategic", "--overrides", r#"{"spec": {"a": 3}}"#];
        assert!(run(&strategic).unwrap_err().contains("try --type merge"));
        assert!(run(&["--override-type=x"]).unwrap_err().contains("invalid override type"));
    }
}
