//! `set serviceaccount`

use super::Set;
use super::containers::pod_spec;
use crate::cli::{DryRun, values};
use crate::report::{Error, message};

pub(super) async fn run(set: &Set<'_>) -> Result<(), Error> {
    if set.local && set.change.dry_run == DryRun::Server {
        return Err(message(crate::selection::LOCAL_AND_SERVER));
    }
    let mut resources = values(set.matches, "arguments");
    let Some(account) = resources.pop() else { return Err(message("serviceaccount is required")) };
    let (found, errors) = set.objects(resources).await?;
    set.apply(found, errors, "serviceaccount updated", "failed to patch ServiceAccountName ", |object, _| {
        let spec = pod_spec(object)?;
        spec["serviceAccountName"] = account.as_str().into();
        // The older name of the field says the same.
        if spec.get("serviceAccount").is_some() {
            spec["serviceAccount"] = account.as_str().into();
        }
        Ok(())
    })
    .await
}
