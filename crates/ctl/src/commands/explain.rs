//! `explain`: what the server's OpenAPI documents say of a type and its fields.
//!
//! **Contract.** Everything comes from the server's document of the group and version, so kinds added at run time are
//! explained, too.
//! **Upstream.** `kubectl/pkg/explain/v2` (behaviour).

mod schema;
mod wrap;

use clap::ArgMatches;
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::JSON;
use crate::discovery::Resource;
use crate::report::{Error, message};
use crate::resolve;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "explain", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Get documentation for a resource")
        .arg(cli::arguments("TYPE"))
        .arg(cli::flag("recursive", "When true, print the name of all the fields recursively. Otherwise, print the available fields with their description.").short('R'))
        .arg(cli::text("api-version", "Use given api-version (group/version) of the resource."))
        .arg(
            cli::text("output", "Format in which to render the schema. Valid values are: (plaintext, plaintext-openapiv2).")
                .short('o')
                .default_value("plaintext"),
        )
}

/// What is to be explained.
struct Asked {
    group: String,
    version: String,
    plural: String,
    fields: Vec<String>,
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let [word] = arguments.as_slice() else {
        return Err(message(if arguments.is_empty() {
            "You must specify the type of resource to explain. Use \"kctl api-resources\" for a complete list of supported resources.\n"
        } else {
            "We accept only this format: explain RESOURCE\n"
        }));
    };
    match value(matches, "output") {
        "plaintext" => {}
        "plaintext-openapiv2" => {
            return Err(message("kctl explains from OpenAPI v3 only: use --output=plaintext"));
        }
        other => return Err(message(format!("unrecognized format: {other}"))),
    }
    let version = value(matches, "api-version");
    let mut asked = asked(context, word, version.is_empty()).await?;
    if !version.is_empty() {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        if version.contains('/') {
            return Err(message(format!("unexpected GroupVersion string: {group}/{version}")));
        }
        (asked.group, asked.version) = (group.to_owned(), version.to_owned());
    }
    let document = document(context, &asked).await?;
    let (text, failure) = schema::explain(&document, &asked, matches.get_flag("recursive"))?;
    context.terminal.out(&text)?;
    failure.map_or(Ok(()), Err)
}

/// Splits `deployments.apps.spec.template` into the type and the path of fields.
async fn asked(context: &Context, word: &str, with_group: bool) -> Result<Asked, Error> {
    let word = word.strip_suffix('.').unwrap_or(word);
    let (head, rest) = word.split_once('.').unwrap_or((word, ""));
    let discovery = context.discovery().await?;
    let fields = |rest: &str| rest.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect();
    let of = |resource: &Resource, rest: &str| Asked {
        group: resource.group.clone(),
        version: resource.version.clone(),
        plural: resource.name.clone(),
        fields: fields(rest),
    };
    if with_group {
        // Of several types of the name, the first that is spelt out with its group.
        let head = head.to_lowercase();
        for resource in discovery.preferred() {
            let is_called = [&resource.name, &resource.singular]
                .into_iter()
                .chain(&resource.short_names)
                .any(|name| *name == head);
            let full = crate::output::name::with_group(&resource.name, &resource.group);
            if let Some(rest) = word.strip_prefix(&full).filter(|_| is_called) {
                return Ok(of(resource, rest));
            }
        }
    }
    Ok(of(resolve::resource_bare(discovery, head)?, rest))
}

async fn document(context: &Context, asked: &Asked) -> Result<Value, Error> {
    let connection = context.connection().await?;
    let name = match asked.group.as_str() {
        "" => format!("api/{}", asked.version),
        group => format!("apis/{group}/{}", asked.version),
    };
    let index = connection.get("/openapi/v3", JSON).await?;
    let Some(path) = index["paths"][&name]["serverRelativeURL"].as_str() else {
        return Err(message(format!("couldn't find resource for \"{}\"", asked.shown())));
    };
    connection.get(path, JSON).await
}

impl Asked {
    /// As Go shows a group, version and resource.
    fn shown(&self) -> String {
        format!("{}/{}, Resource={}", self.group, self.version, self.plural)
    }
}
