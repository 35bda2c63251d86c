//! `certificate approve` and `certificate deny`: the conditions that let a signing request be signed, or never.
//!
//! **Upstream.** `kubectl/pkg/cmd/certificates` (behaviour).

use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use super::{Command, Context};
use crate::cli::{self, values};
use crate::connection::JSON;
use crate::manifests::{self, Sources};
use crate::report::{Error, message};
use crate::resolve::{self, Query, Target};
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "certificate", build, run: |context, matches| Box::pin(run(context, matches)) };

/// How often a conflict with another writer is answered by another try.
const TRIES: usize = 10;

/// What a verdict adds, and what may not be there.
struct Verdict {
    condition: &'static str,
    opposite: &'static str,
    reason: &'static str,
    message: &'static str,
    done: &'static str,
}

const APPROVE: Verdict = Verdict {
    condition: "Approved",
    opposite: "Denied",
    reason: "KubectlApprove",
    message: "This CSR was approved by kubectl certificate approve.",
    done: "approved",
};

const DENY: Verdict = Verdict {
    condition: "Denied",
    opposite: "Approved",
    reason: "KubectlDeny",
    message: "This CSR was denied by kubectl certificate deny.",
    done: "denied",
};

fn build(command: clap::Command) -> clap::Command {
    let sub = |name: &'static str, about: &'static str| {
        clap::Command::new(name)
            .about(about)
            .args_override_self(true)
            .arg(cli::arguments("(-f FILENAME | NAME)"))
            .args(cli::files())
            .args(selection::print_flags())
            .arg(cli::flag("force", "Update the CSR even if it is already approved or denied."))
    };
    command
        .about("Modify certificate resources")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(sub("approve", "Approve a certificate signing request"))
        .subcommand(sub("deny", "Deny a certificate signing request"))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let Some((word, matches)) = matches.subcommand() else { return Ok(()) };
    let verdict = if word == "approve" { &APPROVE } else { &DENY };
    let (names, files) = (values(matches, "arguments"), Sources::from_matches(matches)?);
    if names.is_empty() && files.is_empty() {
        return Err(message("one or more CSRs must be specified as <name> or -f <filename>"));
    }
    let format = Change::of_output(matches)?;
    let mut targets: Vec<Target> = Vec::new();
    if !files.is_empty() {
        let (found, errors) = manifests::read(context, &files).await?;
        Error::from_many(errors)?;
        targets.extend(found.into_iter().map(Target::from));
    }
    if !names.is_empty() {
        let arguments = ["certificatesigningrequests".to_owned()].into_iter().chain(names).collect();
        targets.extend(resolve::targets(context, &Query { arguments, ..Query::default() }).await?);
    }
    if targets.is_empty() {
        return context.terminal.out("No resources found\n");
    }
    for target in &targets {
        let mut object = judge(context, target, verdict, matches.get_flag("force")).await?;
        format.print(context, &mut object, verdict.done)?;
    }
    Ok(())
}

async fn judge(context: &Context, target: &Target, verdict: &Verdict, force: bool) -> Result<Value, Error> {
    let connection = context.connection().await?;
    for attempt in 1.. {
        let mut request = connection.get(&target.path(), JSON).await?;
        if request["kind"] != "CertificateSigningRequest" {
            return Err(message("can only handle certificates.k8s.io/v1 certificate signing requests"));
        }
        let needed = add(&mut request, verdict, force, context.terminal.now()).map_err(message)?;
        if !needed {
            return Ok(request);
        }
        let path = format!("{}/approval", target.path());
        match connection.request(Method::PUT, &path, JSON, Some(&request)).await {
            Err(error) if error.reason() == Some("Conflict") && attempt < TRIES => {}
            answer => return answer,
        }
    }
    Err(message("the signing request keeps changing"))
}

/// Adds the condition; false if there is nothing to do.
fn add(request: &mut Value, verdict: &Verdict, force: bool, now: jiff::Timestamp) -> Result<bool, String> {
    let conditions = request["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let has = |kind: &str| conditions.iter().any(|condition| condition["type"] == kind);
    if has(verdict.opposite) {
        let name = request["metadata"]["name"].as_str().unwrap_or("");
        return Err(format!(
            "certificate signing request {name:?} is already {}",
            if verdict.condition == "Approved" { "denied" } else { "approved" }
        ));
    }
    if has(verdict.condition) && !force {
        return Ok(false);
    }
    let mut conditions: Vec<Value> =
        conditions.into_iter().filter(|c| c["type"] != verdict.condition).collect();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    conditions.push(json!({"type": verdict.condition, "status": "True", "reason": verdict.reason,
        "message": verdict.message, "lastUpdateTime": now}));
    request["status"]["conditions"] = conditions.into();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_given_once() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut request = json!({"metadata": {"name": "x"}});
        assert_eq!(add(&mut request, &APPROVE, false, now), Ok(true));
        assert_eq!(request["status"]["conditions"][0]["type"], "Approved");
        assert_eq!(add(&mut request, &APPROVE, false, now), Ok(false));
        assert_eq!(add(&mut request, &APPROVE, true, now), Ok(true));
        assert_eq!(request["status"]["conditions"].as_array().map(Vec::len), Some(1));
        assert!(add(&mut request, &DENY, false, now).is_err());
    }
}
