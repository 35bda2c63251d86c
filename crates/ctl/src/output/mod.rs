//! Output formats: `-o` and what each makes of an object.
//!
//! **Not here.** `describe`'s layouts.

pub(crate) mod custom_columns;
pub(crate) mod go_template;
pub(crate) mod kyaml;
pub(crate) mod name;
pub(crate) mod sort_by;
pub(crate) mod table;
pub(crate) mod tabwriter;
pub(crate) mod yaml;

pub(crate) use api::golang::{self as json, plain};
pub(crate) use api::jsonpath;
use clap::ArgMatches;
use serde_json::Value;

use crate::cli::value;
use crate::report::{Error, message};

/// A parsed `-o`.
#[derive(Debug)]
pub(crate) enum Format {
    /// The table, or the command's own line.
    Human {
        /// `-o wide`
        wide: bool,
    },
    /// `-o json`
    Json,
    /// `-o yaml`
    Yaml,
    /// `-o kyaml`
    Kyaml,
    /// `-o go-template=…`
    GoTemplate(go_template::Template),
    /// `-o name`
    Name,
    /// `-o jsonpath=…`
    JsonPath {
        /// The template.
        template: jsonpath::Template,
        /// Its text, for messages.
        source: String,
        /// `-o jsonpath-as-json`
        as_json: bool,
    },
    /// `-o custom-columns=…`
    CustomColumns(custom_columns::Columns),
}

/// The formats a command offers, as its error lists them.
const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,kyaml,name,template,templatefile,wide,yaml";

/// Reads `-o`, `--template` and `--allow-missing-template-keys`.
pub(crate) fn from_matches(matches: &ArgMatches) -> Result<Format, Error> {
    let template = matches.get_one::<String>("template").map(String::as_str);
    let missing = matches.get_flag("allow-missing-template-keys");
    Ok(match parse(value(matches, "output"), template)? {
        Format::GoTemplate(template) => Format::GoTemplate(template.allow_missing_keys(missing)),
        Format::JsonPath { template, source, as_json } => {
            Format::JsonPath { template: template.allow_missing_keys(missing), source, as_json }
        }
        format => format,
    })
}

/// Parses the value of `-o`, with `--template` for a `jsonpath` that carries none.
pub(crate) fn parse(text: &str, template: Option<&str>) -> Result<Format, Error> {
    let (format, argument) =
        text.split_once('=').map_or((text, None), |(format, argument)| (format, Some(argument)));
    let argument = argument.or(template.filter(|text| !text.is_empty()));
    let needed = |what: &str| {
        argument
            .map(str::to_owned)
            .ok_or_else(|| message(format!("{what} format specified but no custom columns given")))
    };
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|error| {
            message(format!(
                "error reading --template {path}, open {path}: {}",
                crate::client_config::os_text(&error)
            ))
        })
    };
    match format {
        "" => Ok(Format::Human { wide: false }),
        "wide" => Ok(Format::Human { wide: true }),
        "json" => Ok(Format::Json),
        "yaml" => Ok(Format::Yaml),
        "kyaml" => Ok(Format::Kyaml),
        "go-template" | "template" | "go-template-file" | "templatefile" => {
            let argument = argument
                .filter(|text| !text.is_empty())
                .ok_or_else(|| message("template format specified but no template given"))?;
            let source = if format.ends_with("file") { read(argument)? } else { argument.to_owned() };
            let template = go_template::Template::parse(&source)
                .map_err(|error| message(format!("error parsing template {source}, template: {error}")))?;
            Ok(Format::GoTemplate(template))
        }
        "name" => Ok(Format::Name),
        "jsonpath" | "jsonpath-as-json" | "jsonpath-file" => {
            let argument =
                argument.ok_or_else(|| message("template format specified but no template given"))?;
            let source = if format == "jsonpath-file" { read(argument)? } else { argument.to_owned() };
            let template = jsonpath::Template::parse(&source)
                .map_err(|error| message(format!("error parsing jsonpath {source}, {error}")))?;
            Ok(Format::JsonPath { template, source, as_json: format == "jsonpath-as-json" })
        }
        "custom-columns" => {
            custom_columns::Columns::parse(&needed("custom-columns")?).map(Format::CustomColumns)
        }
        "custom-columns-file" => {
            custom_columns::Columns::parse_file(&read(&needed("custom-columns")?)?).map(Format::CustomColumns)
        }
        _ => Err(unknown_format(text, FORMATS)),
    }
}

/// Four spaces, keys in the order given.
fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("a value can be written to memory");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// An object of kubectl's own as JSON and its like show it, in the order of its fields; `None` for other formats.
pub(crate) fn print_typed(format: &Format, object: &Value) -> Option<String> {
    match format {
        Format::Json => Some(pretty(object)),
        Format::Kyaml => Some(kyaml::print_as_it_stands(object)),
        _ => None,
    }
}

/// The formats of a command that prints one object of its own type and has no table.
pub(crate) const TYPED_FORMATS: &str = "go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,kyaml,name,template,templatefile,yaml";

/// What is said of a format that there is not.
pub(crate) fn unknown_format(format: &str, allowed: &str) -> Error {
    message(format!(
        "unable to match a printer suitable for the output format {format:?}, allowed formats are: {allowed}"
    ))
}

/// An object without `metadata.managedFields`, as it is shown unless asked for; lists lose their items' too.
pub(crate) fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        without_managed_fields(item);
    }
}

/// A value in Go's syntax (`%#v`), as kubectl shows an object that a template does not fit.
pub(crate) fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = json::sorted(map)
                .into_iter()
                .map(|(key, value)| format!("{key:?}:{}", go_syntax(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        other => plain(other),
    }
}
