//! One sitting at the user's editor: a text is shown until it can be saved or is left as it is.
//!
//! **Contract.** What cannot be saved stays in a file that the message names; the editor opens again with the reasons on top,
//! until nothing more is changed. Comments and the way in which YAML is written count for nothing.
//! **Not here.** What is done with the objects: `edit`, `create --edit`, `apply edit-last-applied`.
//! **Upstream.** `kubectl/pkg/cmd/util/editor` (behaviour and words).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::cli::value;
use crate::client_config::os_text;
use crate::commands::Context;
use crate::output::{json as json_output, kyaml, name, yaml};
use crate::report::{Error, message};
use crate::yaml_input;

/// What stands above an object that is edited.
pub(in super::super) const OBJECT_HEAD: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort the edit. If an error occurs while saving this file will be\n# reopened with the relevant failures.\n#\n";
/// What stands above annotations that are edited.
pub(in super::super) const ANNOTATION_HEAD: &str = "# Please edit the 'last-applied-configuration' annotations below.\n# Lines beginning with a '#' will be ignored, and an empty file will abort the edit.\n#\n";
const CANCELLED: &str = "Edit cancelled, no changes made.\n";

/// In which form objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Yaml,
    Json,
    Kyaml,
}

/// How the editor is used.
pub(in super::super) struct Sitting {
    head: &'static str,
    form: Form,
    windows: bool,
    /// Whether a text must tell which kind of object it is.
    validates: bool,
}

/// What is done with objects that were edited.
pub(in super::super) trait Save: Sync {
    /// Saves them; what the server refuses goes into the outcome.
    fn save(&self, edited: Vec<Value>) -> BoxFuture<'_, Result<Outcome, Error>>;
}

/// Why a file must be edited again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    head: String,
    causes: Vec<String>,
}

/// What came of the attempt to save the objects of a file.
#[derive(Default)]
pub(in super::super) struct Outcome {
    reasons: Vec<Reason>,
    retryable: bool,
    not_found: bool,
}

impl Outcome {
    /// Tells of an object that was not saved. `what` is its resource and `name` its own.
    pub(in super::super) fn refused(&mut self, context: &Context, what: &str, name: &str, error: &Error) {
        let why = match error.reason() {
            Some("Invalid") => {
                self.reasons
                    .push(Reason { head: format!("{what} {name:?} was not valid"), causes: error.causes() });
                "is invalid".to_owned()
            }
            Some("NotFound") => {
                self.not_found = true;
                "could not be found on the server".to_owned()
            }
            _ => {
                self.retryable = true;
                format!("could not be patched: {error}")
            }
        };
        context.terminal.err(&format!("error: {what} {name:?} {why}\n"));
    }
}

impl Sitting {
    /// Reads `-o`, `--windows-line-endings` and `--validate`.
    pub(in super::super) fn from_matches(matches: &ArgMatches, head: &'static str) -> Result<Self, Error> {
        let form = match value(matches, "output") {
            "" | "yaml" => Form::Yaml,
            "json" => Form::Json,
            "kyaml" => Form::Kyaml,
            other => return Err(crate::output::unknown_format(other, "json,kyaml,yaml")),
        };
        let windows = matches.get_flag("windows-line-endings");
        let validates = crate::commands::create::validation(value(matches, "validate"))? != "Ignore";
        Ok(Self { head, form, windows, validates })
    }

    /// Has objects edited and saves them. `first` names the first of them in messages.
    pub(in super::super) async fn edit(
        &self,
        context: &Context,
        objects: &[Value],
        first: (&str, &str),
        save: &impl Save,
    ) -> Result<(), Error> {
        let original = self.print(objects);
        let mut reasons: Vec<Reason> = Vec::new();
        let mut before: Option<(String, PathBuf)> = None;
        loop {
            let failed = before.as_ref().map(|(text, _)| without_comments(text));
            let shown = self.head(&reasons) + &failed.unwrap_or_else(|| self.lines(&original));
            let (text, file) = match self.open(context, &shown) {
                Ok(edited) => edited,
                Err(error) => return Err(preserved(context, before.map(|(_, file)| file).as_deref(), error)),
            };
            if let Some((last, old)) = before.take() {
                if meaning(&last) == meaning(&text) {
                    let error = message("Edit cancelled, no valid changes were saved.");
                    remove(&old)?;
                    return Err(preserved(context, Some(&file), error));
                }
                remove(&old)?;
            }
            if self.validates
                && let Err(why) = valid(&text)
            {
                context.terminal.err(&format!("error: {} {:?} is invalid\n", first.0, first.1));
                let head = format!("{} {:?} was not valid", first.0, first.1);
                let causes =
                    vec![format!("<nil>: Invalid value: \"The edited file failed validation\": {why}")];
                reasons = vec![Reason { head, causes }];
                before = Some((text, file));
                continue;
            }
            if meaning(&original) == meaning(&text) {
                context.terminal.err(CANCELLED);
                return remove(&file);
            }
            if without_comments(&text).trim().is_empty() {
                context.terminal.err("Edit cancelled, saved file was empty.\n");
                return remove(&file);
            }
            let edited = match read(&text) {
                Ok(edited) => edited,
                Err(error) => {
                    let head = format!("The edited file had a syntax error: {error}");
                    reasons = vec![Reason { head, causes: Vec::new() }];
                    before = Some((text, file));
                    continue;
                }
            };
            let outcome = save.save(edited).await.map_err(|error| preserved(context, Some(&file), error))?;
            let kept = file.display();
            if outcome.retryable {
                context
                    .terminal
                    .err(&format!("You can run `kctl replace -f {kept}` to try this update again.\n"));
                return Err(Error::Plain(String::new(), 1));
            }
            if outcome.not_found {
                let text = format!("The edits you made on deleted resources have been saved to \"{kept}\"\n");
                return Err(Error::Plain(text, 1));
            }
            if outcome.reasons.is_empty() {
                return remove(&file);
            }
            reasons = outcome.reasons;
            before = Some((text, file));
        }
    }

    /// One object, or several as a list.
    fn print(&self, objects: &[Value]) -> String {
        let list;
        let shown = match objects {
            [one] => one,
            _ => {
                list = json!({"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {}});
                &list
            }
        };
        match self.form {
            Form::Yaml => yaml::print(shown),
            Form::Json => json_output::print(shown),
            Form::Kyaml => kyaml::print(shown),
        }
    }

    /// What stands above the text; JSON has no place for it.
    fn head(&self, reasons: &[Reason]) -> String {
        if self.form == Form::Json {
            return String::new();
        }
        let mut text = self.head.to_owned();
        for reason in reasons {
            let end = if reason.causes.is_empty() { "" } else { ":" };
            text += &format!("# {}{end}\n", commented(&reason.head));
            for cause in &reason.causes {
                text += &format!("# * {}\n", commented(cause));
            }
            text += "#\n";
        }
        self.lines(&text)
    }

    fn lines(&self, text: &str) -> String {
        if self.windows { text.replace('\n', "\r\n") } else { text.to_owned() }
    }

    /// Shows a text in the editor: what it is afterwards, and where.
    fn open(&self, context: &Context, text: &str) -> Result<(String, PathBuf), Error> {
        let file = write(context, text, if self.form == Form::Json { "json" } else { "yaml" })?;
        open_editor(context, &file)?;
        Ok((std::fs::read_to_string(&file)?, file))
    }
}

/// Says where the changes are that an error leaves behind.
fn preserved(context: &Context, file: Option<&Path>, error: Error) -> Error {
    if let Some(file) = file {
        context.terminal.err(&format!("A copy of your changes has been stored to \"{}\"\n", file.display()));
    }
    error
}

/// Several lines as one comment.
fn commented(text: &str) -> String {
    text.trim_end_matches('\n').replace('\n', "\n# ")
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// What a text says, by which it is told whether it was changed.
fn meaning(text: &str) -> Result<Value, String> {
    yaml_input::parse(text).map_err(|_| without_comments(text))
}

/// Whether a text is an object that names its kind; everything else is for the server to say.
fn valid(text: &str) -> Result<(), String> {
    let object = yaml_input::parse(text).map_err(|error| format!("yaml: {error}"))?;
    if !object.is_object() {
        return Err("invalid object to validate".to_owned());
    }
    let missing: Vec<String> = ["apiVersion", "kind"]
        .iter()
        .filter(|field| object[**field].as_str().is_none_or(str::is_empty))
        .map(|field| format!("{field} not set"))
        .collect();
    match missing.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        both => Err(format!("[{}]", both.join(", "))),
    }
}

/// The objects of an edited file; a list gives its items.
fn read(text: &str) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for document in yaml_input::documents(text) {
        let mut document = document?;
        match document["items"].take() {
            Value::Array(items) if document["kind"] == "List" => found.extend(items),
            items => {
                if !items.is_null() {
                    document["items"] = items;
                }
                found.push(without_null(document));
            }
        }
    }
    for object in &found {
        if !object["metadata"]["name"].is_string() && !object["metadata"]["generateName"].is_string() {
            let kind = name::of(object);
            return Err(format!("unable to decode \"edited-file\": {kind} has no name that is a text"));
        }
    }
    Ok(found)
}

/// The object without the empty place that was asked for its items.
fn without_null(mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut()
        && map.get("items").is_some_and(Value::is_null)
    {
        map.shift_remove("items");
    }
    object
}

/// A file of a name that no other command uses.
fn write(context: &Context, text: &str, extension: &str) -> Result<PathBuf, Error> {
    let folder = context.terminal.variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    for number in 0..u32::MAX {
        let path = folder.join(format!("kctl-edit-{}-{number}.{extension}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(message(format!("open {}: {}", path.display(), os_text(&error)))),
        }
    }
    Err(message("no free name for a temporary file"))
}

fn remove(file: &Path) -> Result<(), Error> {
    Ok(std::fs::remove_file(file)?)
}

/// Runs `$KUBE_EDITOR`, `$EDITOR` or vi on the file, in the user's terminal.
fn open_editor(context: &Context, file: &Path) -> Result<(), Error> {
    let variable = |name: &str| context.terminal.variable(name).filter(|text| !text.is_empty());
    let editor = variable("KUBE_EDITOR").or(variable("EDITOR")).unwrap_or("vi");
    let shell = variable("SHELL").unwrap_or("/bin/bash");
    let status = std::process::Command::new(shell)
        .arg("-c")
        .arg(format!("{editor} \"$0\""))
        .arg(file)
        .status()
        .map_err(|error| message(format!("unable to launch the editor {editor:?}: {}", os_text(&error))))?;
    if status.success() {
        return Ok(());
    }
    remove(file)?;
    Err(message(format!("there was a problem with the editor {editor:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_spelling_are_no_change() {
        for (text, same) in [
            ("a: 1\n", true),
            ("# why\n{a: 1}\n", true),
            ("a: 1\r\n", true),
            ("a: 2\n", false),
            ("a: {\n", false),
        ] {
            assert_eq!(meaning(text) == meaning("a: 1\n"), same, "{text:?}");
        }
        assert_eq!(meaning("# one\na: {\n"), meaning("a: {\n"));
    }

    #[test]
    fn reasons_stand_above_the_text_as_comments() {
        let sitting = |form, windows| Sitting { head: "# H\n", form, windows, validates: true };
        let reasons = [
            Reason { head: "pods \"a\" was not valid".to_owned(), causes: vec!["spec: x\ny".to_owned()] },
            Reason { head: "b".to_owned(), causes: Vec::new() },
        ];
        let wanted = "# H\n# pods \"a\" was not valid:\n# * spec: x\n# y\n#\n# b\n#\n";
        assert_eq!(sitting(Form::Yaml, false).head(&reasons), wanted);
        assert_eq!(sitting(Form::Yaml, true).head(&[]), "# H\r\n");
        assert_eq!(sitting(Form::Json, false).head(&reasons), "");
    }

    #[test]
    fn a_file_gives_objects() {
        let names = |text: &str| {
            let found = read(text)?;
            Ok::<_, String>(found.iter().map(name::of).collect::<Vec<_>>())
        };
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        assert_eq!(names(map).unwrap(), ["configmap/a"]);
        assert_eq!(read(map).unwrap()[0].as_object().unwrap().len(), 3);
        let list = "apiVersion: v1\nkind: List\nitems:\n- {kind: Pod, metadata: {name: x}}\n";
        assert_eq!(names(list).unwrap(), ["pod/x"]);
        assert!(names("kind: Pod\nmetadata: {name: no}\n").is_err());
        assert!(names("{{").is_err());
    }
}
