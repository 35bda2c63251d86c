//! `autoscale`: a HorizontalPodAutoscaler for something that can be scaled.
//!
//! **Upstream.** `kubectl/pkg/cmd/autoscale` (behaviour).

use api::quantity::Quantity;
use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use super::{Command, Context, apply, create};
use crate::cli::{self, DryRun, value};
use crate::connection::JSON;
use crate::report::{Error, message};
use crate::selection::{self, Change};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "autoscale", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Auto-scale a deployment, replica set, stateful set, or replication controller")
        .arg(cli::arguments("(-f FILENAME | TYPE NAME | TYPE/NAME) [--min=MINPODS] --max=MAXPODS"))
        .args(cli::files())
        .args(selection::change_flags("kubectl-autoscale"))
        .arg(create::save_config_flag())
        .arg(cli::number("min", "The lower limit for the number of pods that can be set by the autoscaler. If it's not specified or negative, the server will apply a default value.").default_value("-1"))
        .arg(cli::number("max", "The upper limit for the number of pods that can be set by the autoscaler. Required.").default_value("-1"))
        .arg(cli::number("cpu-percent", "The target average CPU utilization (represented as a percent of requested CPU) over all the pods. If it's not specified or negative, a default autoscaling policy will be used.").default_value("-1").hide(true))
        .arg(cli::text("cpu", "Target CPU utilization over all the pods: a percentage of what is requested, or a quantity."))
        .arg(cli::text("memory", "Target memory utilization over all the pods: a percentage of what is requested, or a quantity."))
        .arg(cli::text("name", "The name for the newly created object. If not specified, the name of the input resource will be used."))
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let given = |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    if !given("max") {
        return Err(message("required flag(s) \"max\" not set"));
    }
    if given("cpu-percent") {
        context.terminal.err("Flag --cpu-percent has been deprecated, Use --cpu with percentage or resource quantity format (e.g., '70%' for utilization or '500m' for milliCPU).\n");
    }
    let number = |name: &str| matches.get_one::<i64>(name).copied().unwrap_or(-1);
    let (min, max, percent) = (number("min"), number("max"), number("cpu-percent"));
    if max < 1 {
        return Err(message(format!("--max=MAXPODS is required and must be at least 1, max: {max}")));
    }
    if max < min {
        return Err(message(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {max}, min: {min}"
        )));
    }
    let cpu = value(matches, "cpu");
    if percent > 0 && !cpu.is_empty() {
        return Err(message("--cpu-percent and --cpu are mutually exclusive"));
    }
    let mut metrics = Vec::new();
    if percent > 0 {
        metrics.push(metric("cpu", json!({"type": "Utilization", "averageUtilization": percent})));
    }
    for (resource, text, unit) in [("cpu", cpu, "m"), ("memory", value(matches, "memory"), "Mi")] {
        if !text.is_empty() {
            metrics.push(metric(resource, target(resource, text, unit)?));
        }
    }
    let change = Change::from_matches(matches)?;
    let (found, mut errors) = selection::named(context, matches).await?;
    let connection = context.connection().await?;
    for selected in found {
        let resource = &selected.resource;
        if let Err(error) = connection.get(&selected.path(), JSON).await {
            errors.push(error);
            continue;
        }
        let scale = connection.get(&format!("{}/scale", selected.path()), JSON).await;
        if scale.is_err_and(|error| error.is_not_found()) {
            errors.push(message(format!(
                "cannot autoscale a {}: could not find scale subresource for {}, Resource={} in discovery information",
                resource.kind,
                resource.group_slash_version(),
                resource.name
            )));
            continue;
        }
        let target = selected.name.as_deref().unwrap_or("");
        let name = if value(matches, "name").is_empty() { target } else { value(matches, "name") };
        let mut metadata = json!({"name": name});
        if let Some(namespace) = &context.globals.namespace {
            metadata["namespace"] = namespace.as_str().into();
        }
        let mut spec = json!({"maxReplicas": max,
            "scaleTargetRef": {"apiVersion": resource.api_version(), "kind": resource.kind, "name": target}});
        if min > 0 {
            spec["minReplicas"] = min.into();
        }
        if !metrics.is_empty() {
            spec["metrics"] = metrics.clone().into();
        }
        let object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata,
            "spec": spec, "status": {"currentMetrics": null, "desiredReplicas": 0}});
        if let Err(error) = write(context, matches, &change, object).await {
            // kubectl tries the older version then, which knows a share of the CPU and nothing else.
            errors.push(if cpu.is_empty() {
                message("failed to create autoscaling/v2 HPA and the configuration is incompatible with autoscaling/v1: empty input")
            } else {
                error
            });
        }
    }
    Error::from_many(errors)
}

async fn write(
    context: &Context,
    matches: &ArgMatches,
    change: &Change,
    mut object: Value,
) -> Result<(), Error> {
    if change.dry_run == DryRun::Client {
        return change.print(context, &mut object, "created");
    }
    if matches.get_flag("save-config") {
        apply::remember(&mut object);
    }
    let path = format!("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers", context.namespace());
    let sent =
        context.connection().await?.request(Method::POST, &change.query(&path), JSON, Some(&object)).await;
    change.print(context, &mut sent?, "autoscaled")
}

fn metric(resource: &str, target: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": resource, "target": target}})
}

/// `70%`, `500m`, or a bare number in the resource's usual unit.
fn target(resource: &str, text: &str, unit: &str) -> Result<Value, Error> {
    let text = text.trim();
    if let Some(percent) = text.strip_suffix('%') {
        let number = percent.parse::<i32>().ok().filter(|number| *number >= 0);
        let number = number.ok_or_else(|| message(format!("invalid percentage value: {percent}")))?;
        return Ok(json!({"type": "Utilization", "averageUtilization": number}));
    }
    let whole = if text.parse::<f64>().is_ok() { format!("{text}{unit}") } else { text.to_owned() };
    let quantity: Quantity =
        whole.parse().map_err(|_| message(format!("invalid resource {resource} value: {text}")))?;
    Ok(json!({"type": "AverageValue", "averageValue": quantity.to_string()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_percentages_or_quantities() {
        assert_eq!(
            target("cpu", "70%", "m").unwrap(),
            json!({"type": "Utilization", "averageUtilization": 70})
        );
        for (text, unit, quantity) in
            [("500", "m", "500m"), ("2", "Mi", "2Mi"), ("1Gi", "Mi", "1Gi"), ("1000m", "m", "1")]
        {
            assert_eq!(target("x", text, unit).unwrap()["averageValue"], quantity);
        }
        assert!(target("cpu", "x", "m").is_err() && target("cpu", "-1%", "m").is_err());
    }
}
