//! `create deployment`, `job` and `cronjob`.

use serde_json::{Value, json};

use super::generate::{Generator, Given, object};
use crate::cli;
use crate::connection::JSON;
use crate::report::{Error, message};
use crate::resolve::{self, Query};

/// `create deployment`
pub(super) const DEPLOYMENT: Generator = Generator {
    names: &["deployment", "deploy"],
    about: "Create a deployment with the specified name",
    required: &["image"],
    flags: || {
        vec![
            cli::texts(
                "image",
                "Image names to run. A deployment can have multiple images set for multi-container pod.",
            ),
            cli::number("port", "The containerPort that this deployment exposes.").default_value("-1"),
            cli::number("replicas", "Number of replicas to create. Default is 1.")
                .short('r')
                .default_value("1"),
        ]
    },
    make: |given| Box::pin(std::future::ready(deployment(given))),
    plural: "deployments",
    failure: "failed to create deployment: ",
};

/// `create job`
pub(super) const JOB: Generator = Generator {
    names: &["job"],
    about: "Create a job with the specified name",
    required: &[],
    flags: || {
        vec![
            cli::text("image", "Image name to run."),
            cli::text("from", "The name of the resource to create a Job from (only CronJob is supported)."),
        ]
    },
    make: |given| Box::pin(job(given)),
    plural: "jobs",
    failure: "failed to create job: ",
};

/// `create cronjob`
pub(super) const CRON_JOB: Generator = Generator {
    names: &["cronjob", "cj"],
    about: "Create a cron job with the specified name",
    required: &["image", "schedule"],
    flags: || {
        vec![
            cli::text("image", "Image name to run."),
            cli::text("schedule", "A schedule in the Cron format the job should be run with."),
            cli::text("restart", "job's restart policy. supported values: OnFailure, Never")
                .default_value("OnFailure"),
        ]
    },
    make: |given| Box::pin(std::future::ready(cron_job(given))),
    plural: "cronjobs",
    failure: "failed to create cronjob: ",
};

fn deployment(given: &Given<'_>) -> Result<Value, Error> {
    let images = given.values("image");
    if images.len() > 1 && !given.command.is_empty() {
        return Err(message("cannot specify multiple --image options and command"));
    }
    let mut containers: Vec<Value> =
        images.iter().map(|image| container(&container_name(image), image, &given.command)).collect();
    let port = given.matches.get_one::<i64>("port").copied().unwrap_or(-1);
    if let Some(first) = containers.first_mut().filter(|_| port >= 0) {
        first["ports"] = json!([{"containerPort": port}]);
    }
    let labels = json!({"app": given.name});
    let mut metadata = given.metadata();
    metadata["labels"] = labels.clone();
    let replicas = given.matches.get_one::<i64>("replicas").copied().unwrap_or(1);
    let spec = json!({
        "replicas": replicas, "selector": {"matchLabels": labels}, "strategy": {},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    });
    Ok(object("apps/v1", "Deployment", metadata, json!({"spec": spec, "status": {}})))
}

fn container(name: &str, image: &str, command: &[String]) -> Value {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !command.is_empty() {
        container["command"] = command.into();
    }
    container
}

/// The last part of the image's name without tag and digest, as far as a name may look so.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split([':', '@']).next().unwrap_or(last);
    // kubectl adds random letters here; a command that is repeated had better do the same twice.
    name.replace(['_', '.'], "-")
}

async fn job(given: &Given<'_>) -> Result<Value, Error> {
    let (image, from) = (given.value("image"), given.value("from"));
    if image.is_empty() == from.is_empty() {
        return Err(message("either --image or --from must be specified"));
    }
    if !from.is_empty() && !given.command.is_empty() {
        return Err(message("cannot specify --from and command"));
    }
    if from.is_empty() {
        let template = json!({"metadata": {}, "spec": {
            "containers": [container(&given.name, image, &given.command)], "restartPolicy": "Never"}});
        let rest = json!({"spec": {"template": template}, "status": {}});
        return Ok(object("batch/v1", "Job", given.metadata(), rest));
    }
    let query = Query { arguments: vec![from.to_owned()], ..Query::default() };
    let targets = resolve::targets(given.context, &query).await?;
    let [target] = targets.as_slice() else { return Err(message("from must be an existing cronjob")) };
    let cron_job = given.context.connection().await?.get(&target.path(), JSON).await?;
    if cron_job["kind"] != "CronJob" {
        let kind = cron_job["kind"].as_str().unwrap_or("");
        return Err(message(format!("unknown object type *{}.{kind}", target.resource.version)));
    }
    let template = &cron_job["spec"]["jobTemplate"];
    let mut metadata = given.metadata();
    metadata["annotations"] = template["metadata"]["annotations"].clone();
    metadata["annotations"]["cronjob.kubernetes.io/instantiate"] = "manual".into();
    if !template["metadata"]["labels"].is_null() {
        metadata["labels"] = template["metadata"]["labels"].clone();
    }
    metadata["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "controller": true,
        "name": cron_job["metadata"]["name"], "uid": cron_job["metadata"]["uid"]}]);
    Ok(object("batch/v1", "Job", metadata, json!({"spec": template["spec"], "status": {}})))
}

fn cron_job(given: &Given<'_>) -> Result<Value, Error> {
    let template = json!({"metadata": {}, "spec": {
        "containers": [container(&given.name, given.value("image"), &given.command)],
        "restartPolicy": given.value("restart")}});
    let spec = json!({
        "schedule": given.value("schedule"),
        "jobTemplate": {"metadata": {"name": given.name}, "spec": {"template": template}},
    });
    Ok(object("batch/v1", "CronJob", given.metadata(), json!({"spec": spec, "status": {}})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_after_their_images() {
        for (image, name) in [
            ("nginx", "nginx"),
            ("nginx:1.2", "nginx"),
            ("example.com:5000/team/web_app:1", "web-app"),
            ("busybox@sha256:0", "busybox"),
        ] {
            assert_eq!(container_name(image), name);
        }
    }
}
