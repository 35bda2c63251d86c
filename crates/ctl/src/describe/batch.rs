//! The descriptions of what runs pods to their end: jobs and cron jobs.

use serde_json::Value;

use super::workloads::{controlled, described, head, recorded, selected};
use super::{Describe, items, pod_template, text};
use crate::duration;
use crate::report::Error;

/// A job's text.
pub(super) async fn job(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut out = head(object);
    out += &format!("Selector:\t{}\n", selected(object));
    out += &described(object);
    out += &controlled(object);
    out += &format!("Parallelism:\t{}\n", number(&spec["parallelism"]));
    out += &format!("Completions:\t{}\n", number(&spec["completions"]));
    if !text(spec, "completionMode").is_empty() {
        out += &format!("Completion Mode:\t{}\n", text(spec, "completionMode"));
    }
    if let Some(suspend) = spec["suspend"].as_bool() {
        out += &format!("Suspend:\t{suspend}\n");
    }
    out += &format!("Backoff Limit:\t{}\n", number(&spec["backoffLimit"]));
    if let Some(seconds) = spec["ttlSecondsAfterFinished"].as_i64() {
        out += &format!("TTL Seconds After Finished:\t{seconds}\n");
    }
    if status["startTime"].is_string() {
        out += &format!("Start Time:\t{}\n", describe.time(&status["startTime"]));
    }
    if status["completionTime"].is_string() {
        out += &format!("Completed At:\t{}\n", describe.time(&status["completionTime"]));
    }
    let time = |field: &str| status[field].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if let (Some(_), Some(end)) = (time("startTime"), time("completionTime")) {
        out += &format!("Duration:\t{}\n", duration::since(status["startTime"].as_str(), end));
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64() {
        out += &format!("Active Deadline Seconds:\t{seconds}s\n");
    }
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let ready = match status["ready"].as_i64() {
        Some(ready) => format!(" ({ready} Ready)"),
        None => String::new(),
    };
    out += &format!(
        "Pods Statuses:\t{} Active{ready} / {} Succeeded / {} Failed\n",
        count("active"),
        count("succeeded"),
        count("failed")
    );
    if spec["completionMode"] == "Indexed" {
        out += &format!("Completed Indexes:\t{}\n", indexes(text(status, "completedIndexes")));
    }
    out += &pod_template::text(describe, &spec["template"]);
    Ok(out + &recorded(describe, object).await)
}

/// A cron job's text.
pub(super) async fn cron_job(describe: &Describe<'_>, object: &Value) -> Result<String, Error> {
    let spec = &object["spec"];
    let job = &spec["jobTemplate"]["spec"];
    let mut out = head(object);
    out += &described(object);
    out += &format!("Schedule:\t{}\n", text(spec, "schedule"));
    out += &format!("Concurrency Policy:\t{}\n", text(spec, "concurrencyPolicy"));
    out += &format!(
        "Suspend:\t{}\n",
        match spec["suspend"].as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        }
    );
    let zone = text(spec, "timeZone");
    out += &format!("Time Zone:\t{}\n", if zone.is_empty() { "<unset>" } else { zone });
    out += &format!("Successful Job History Limit:\t{}\n", number(&spec["successfulJobsHistoryLimit"]));
    out += &format!("Failed Job History Limit:\t{}\n", number(&spec["failedJobsHistoryLimit"]));
    out += &match spec["startingDeadlineSeconds"].as_i64() {
        Some(seconds) => format!("Starting Deadline Seconds:\t{seconds}s\n"),
        None => "Starting Deadline Seconds:\t<unset>\n".to_owned(),
    };
    let selector = match &job["selector"] {
        Value::Null => "<unset>".to_owned(),
        selector => crate::output::table::format_selector(selector),
    };
    out += &format!("Selector:\t{selector}\n");
    out += &format!("Parallelism:\t{}\n", number(&job["parallelism"]));
    out += &format!("Completions:\t{}\n", number(&job["completions"]));
    if let Some(seconds) = job["activeDeadlineSeconds"].as_i64() {
        out += &format!("Active Deadline Seconds:\t{seconds}s\n");
    }
    out += &pod_template::text(describe, &job["template"]);
    out += &match &object["status"]["lastScheduleTime"] {
        Value::Null => "Last Schedule Time:\t<unset>\n".to_owned(),
        time => format!("Last Schedule Time:\t{}\n", describe.time(time)),
    };
    let active: Vec<&str> = items(&object["status"], "active").iter().map(|one| text(one, "name")).collect();
    out += &match active.as_slice() {
        [] => "Active Jobs:\t<none>\n".to_owned(),
        names => format!("Active Jobs:\t{}\n", names.join(", ")),
    };
    Ok(out + &recorded(describe, object).await)
}

/// The indexes that are done, some fifty letters of them.
fn indexes(done: &str) -> String {
    const MOST: usize = 50;
    if done.is_empty() {
        return "<none>".to_owned();
    }
    let end = done.bytes().enumerate().skip(MOST).find(|(_, letter)| *letter == b',');
    end.map_or(done.to_owned(), |(end, _)| format!("{}...", &done[..=end]))
}

fn number(value: &Value) -> String {
    value.as_i64().map_or("<unset>".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_indexes_are_cut_after_one_of_them() {
        let many = "0,".repeat(24) + "100,200,300";
        assert_eq!((indexes(""), indexes("0-3")), ("<none>".to_owned(), "0-3".to_owned()));
        assert_eq!(indexes(&many), "0,".repeat(24) + "100,...");
    }
}
