//! `set image`

use super::Set;
use super::containers::{matching, pod_spec};
use crate::cli::values;
use crate::report::{Error, message};
use crate::selection;

pub(super) async fn run(set: &Set<'_>) -> Result<(), Error> {
    let arguments = values(set.matches, "arguments");
    let start = arguments.iter().position(|text| text.contains('=')).unwrap_or(arguments.len());
    let (resources, pairs) = arguments.split_at(start);
    let mut images: Vec<(&str, &str)> = Vec::new();
    for pair in pairs {
        let Some((container, image)) =
            pair.split_once('=').filter(|(name, image)| !name.is_empty() && !image.is_empty())
        else {
            let text = if pair.contains('=') {
                format!("invalid image format: {pair}")
            } else {
                format!("all resources must be specified before image changes: {pair}")
            };
            return Err(message(text));
        };
        images.push((container, image));
    }
    if resources.is_empty() && !set.has_files() {
        return Err(message(selection::NOTHING_NAMED));
    }
    let mut errors = Vec::new();
    if set.matches.get_flag("all") && !crate::cli::value(set.matches, "selector").is_empty() {
        errors.push(message("cannot set --all and --selector at the same time"));
    }
    if images.is_empty() {
        errors.push(message("at least one image update is required"));
    } else if images.len() > 1 && images.iter().any(|(name, _)| *name == "*") {
        errors.push(message(
            "all containers are already specified by *, but saw more than one container_name=container_image pairs",
        ));
    }
    Error::from_many(errors)?;
    set.check()?;
    let (found, errors) = set.objects(resources.to_vec()).await?;
    set.apply(
        found,
        errors,
        "image updated",
        "failed to patch image update to pod template: ",
        |object, errors| {
            let spec = pod_spec(object)?;
            for (name, image) in &images {
                let mut containers = matching(spec, name);
                if containers.is_empty() {
                    errors.push(message(format!("error: unable to find container named {name:?}")));
                }
                for container in &mut containers {
                    container["image"] = (*image).into();
                }
            }
            Ok(())
        },
    )
    .await
}
