//! `auth`: what the server lets its caller do (`can-i`), whom it takes the caller for (`whoami`), and roles as files want them.
//!
//! **Upstream.** `kubectl/pkg/cmd/auth` (behaviour).

mod reconcile;
mod rules;

use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::JSON;
use crate::describe::rbac;
use crate::output::json::sorted;
use crate::output::tabwriter::TabWriter;
use crate::output::{self, Format};
use crate::report::{Error, message};
use crate::{resolve, selection};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "auth", build, run: |context, matches| Box::pin(run(context, matches)) };

const AUTHORIZATION: &str = "authorization.k8s.io/v1";
const AUTHENTICATION: &str = "authentication.k8s.io/v1";

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Inspect authorization")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            clap::Command::new("can-i")
                .about("Check whether an action is allowed")
                .args_override_self(true)
                .arg(cli::arguments("VERB [TYPE | TYPE/NAME | NONRESOURCEURL]"))
                .arg(cli::all_namespaces())
                .arg(cli::flag("list", "If true, prints all allowed actions"))
                .arg(cli::flag("no-headers", "If true, prints allowed actions without headers"))
                .arg(cli::flag("quiet", "If true, suppress output and just return the exit code").short('q'))
                .arg(cli::text("subresource", "SubResource such as pod/log or deployment/scale")),
        )
        .subcommand(
            clap::Command::new("whoami")
                .about("Experimental: Check self subject attributes")
                .args_override_self(true)
                .args(selection::print_flags()),
        )
        .subcommand(reconcile::command())
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    match matches.subcommand() {
        Some(("can-i", matches)) if matches.get_flag("list") => list(context, matches).await,
        Some(("can-i", matches)) => can_i(context, matches).await,
        Some(("reconcile", matches)) => reconcile::run(context, matches).await,
        Some((_, matches)) => who_am_i(context, matches).await,
        None => Ok(()),
    }
}

async fn review(
    context: &Context,
    group_version: &str,
    resource: &str,
    body: &Value,
) -> Result<Value, Error> {
    let path = format!("/apis/{group_version}/{resource}");
    context.connection().await?.request(Method::POST, &path, JSON, Some(body)).await
}

async fn can_i(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let [verb, subject] = arguments.as_slice() else {
        return Err(message(
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kctl auth can-i -h' for help and examples.",
        ));
    };
    let everywhere = matches.get_flag("all-namespaces");
    let spec = if subject.starts_with('/') {
        json!({"nonResourceAttributes": {"path": subject, "verb": verb}})
    } else {
        let (word, name) = subject.split_once('/').unwrap_or((subject, ""));
        let mut attributes = json!({"verb": verb, "resource": word});
        let mut namespaced = true;
        if word != "*" {
            match resolve::resource(context.discovery().await?, word) {
                Ok(found) => {
                    namespaced = found.namespaced;
                    attributes["resource"] = found.name.as_str().into();
                    attributes["group"] = found.group.as_str().into();
                }
                Err(_) => {
                    let (resource, group) = word.split_once('.').unwrap_or((word, ""));
                    attributes["resource"] = resource.into();
                    attributes["group"] = group.into();
                    let place = if group.is_empty() { String::new() } else { format!(" in group '{group}'") };
                    context.terminal.err(&format!(
                        "Warning: the server doesn't have a resource type '{resource}'{place}\n\n"
                    ));
                }
            }
        }
        if !namespaced {
            let resource = attributes["resource"].as_str().unwrap_or("");
            let group = attributes["group"].as_str().unwrap_or("");
            let place = if group.is_empty() { String::new() } else { format!(" in group '{group}'") };
            context
                .terminal
                .err(&format!("Warning: resource '{resource}' is not namespace scoped{place}\n\n"));
        }
        if !everywhere {
            attributes["namespace"] = context.namespace().into();
        }
        for (field, text) in [("name", name), ("subresource", value(matches, "subresource"))] {
            if !text.is_empty() {
                attributes[field] = text.into();
            }
        }
        json!({"resourceAttributes": attributes})
    };
    let body = json!({"apiVersion": AUTHORIZATION, "kind": "SelfSubjectAccessReview", "spec": spec});
    let answer = review(context, AUTHORIZATION, "selfsubjectaccessreviews", &body).await?;
    let status = &answer["status"];
    let allowed = status["allowed"].as_bool().unwrap_or(false);
    if !matches.get_flag("quiet") {
        let mut text = if allowed { "yes".to_owned() } else { "no".to_owned() };
        for field in ["reason", "evaluationError"] {
            if let Some(why) = status[field].as_str().filter(|why| !why.is_empty() && !allowed) {
                text += &format!(" - {why}");
            }
        }
        context.terminal.out(&(text + "\n"))?;
    }
    if allowed { Ok(()) } else { Err(Error::Plain(String::new(), 1)) }
}

async fn list(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let body = json!({
        "apiVersion": AUTHORIZATION,
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": context.namespace()},
    });
    let answer = review(context, AUTHORIZATION, "selfsubjectrulesreviews", &body).await?;
    let status = &answer["status"];
    let mut rules = status["resourceRules"].as_array().cloned().unwrap_or_default();
    rules.extend(status["nonResourceRules"].as_array().cloned().unwrap_or_default());
    if status["incomplete"].as_bool().unwrap_or(false) {
        let why = status["evaluationError"].as_str().map_or(String::new(), |why| format!(": {why}"));
        context.terminal.err(&format!("warning: the list may be incomplete{why}\n"));
    }
    let mut text = String::new();
    if !matches.get_flag("no-headers") {
        text += "Resources\tNon-Resource URLs\tResource Names\tVerbs\n";
    }
    text += &rbac::rows(&json!({"rules": rules}), "");
    context.terminal.out(&TabWriter::table().align(&text))
}

async fn who_am_i(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let format = output::from_matches(matches)?;
    let body = json!({"apiVersion": AUTHENTICATION, "kind": "SelfSubjectReview"});
    let mut answer = review(context, AUTHENTICATION, "selfsubjectreviews", &body).await?;
    if !matches!(format, Format::Human { .. }) {
        let managed = matches.get_flag("show-managed-fields");
        return context.terminal.out(&super::print_object(&format, &mut answer, managed)?);
    }
    let user = &answer["status"]["userInfo"];
    let mut text = "ATTRIBUTE\tVALUE\n".to_owned();
    for (title, field) in [("Username", "username"), ("UID", "uid")] {
        if let Some(shown) = user[field].as_str().filter(|shown| !shown.is_empty()) {
            text += &format!("{title}\t{shown}\n");
        }
    }
    if user["groups"].as_array().is_some_and(|groups| !groups.is_empty()) {
        text += &format!("Groups\t{}\n", output::plain(&user["groups"]));
    }
    for (key, extra) in user["extra"].as_object().map(sorted).unwrap_or_default() {
        text += &format!("Extra: {key}\t{}\n", output::plain(extra));
    }
    context.terminal.out(&TabWriter::table().align(&text))
}
