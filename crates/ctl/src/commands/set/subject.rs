//! `set subject`: more subjects for a binding of a role.

use clap::Arg;

use super::Set;
use crate::cli::{DryRun, values};
use crate::commands::create::rbac::{subject_flags, subjects};
use crate::report::{Error, message};

pub(super) fn flags() -> Vec<Arg> {
    subject_flags()
}

pub(super) async fn run(set: &Set<'_>) -> Result<(), Error> {
    let sorted = |flag: &str| {
        let mut all = values(set.matches, flag);
        all.sort();
        all.dedup();
        all
    };
    let (users, groups, accounts) = (sorted("user"), sorted("group"), sorted("serviceaccount"));
    let (found, errors) = set.objects(values(set.matches, "arguments")).await?;
    if set.local && set.change.dry_run == DryRun::Server {
        return Err(message(crate::selection::LOCAL_AND_SERVER));
    }
    set.check()?;
    if users.is_empty() && groups.is_empty() && accounts.is_empty() {
        return Err(message("you must specify at least one value of user, group or serviceaccount"));
    }
    let accounts: Vec<String> = accounts
        .into_iter()
        .map(|account| match account.strip_prefix(':') {
            Some(name) => format!("{}:{name}", set.context.namespace()),
            None => account,
        })
        .collect();
    let wanted = subjects(&users, &groups, &accounts)?;
    set.apply(found, errors, "subjects updated", "failed to patch subjects to rolebinding: ", |object, _| {
        if !matches!(object["kind"].as_str(), Some("RoleBinding" | "ClusterRoleBinding")) {
            return Err("setting subjects is only supported for RoleBinding/ClusterRoleBinding".to_owned());
        }
        let mut all = object["subjects"].as_array().cloned().unwrap_or_default();
        for subject in &wanted {
            if !all.contains(subject) {
                all.push(subject.clone());
            }
        }
        object["subjects"] = all.into();
        Ok(())
    })
    .await
}
