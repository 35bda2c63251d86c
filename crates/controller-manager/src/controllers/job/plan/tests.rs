//! Tests of `plan`: single looks, and whole Jobs in a world of pods that end as a script says.

use super::*;
use serde_json::{Value, json};
use testkit::build::{self, Builder, at};

fn job(more: Value) -> Job {
    let mut spec = json!({"template": {"spec": {"restartPolicy": "Never"}}, "completions": 1, "parallelism": 1, "backoffLimit": 6});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(
        json!({"metadata": {"name": "j", "namespace": "default", "uid": "u"}, "spec": spec}),
    )
    .unwrap()
}

fn pod(name: &str) -> Builder<Pod> {
    build::pod(name).uid(name).finalizer(FINALIZER).created(at(0))
}

fn of_index(name: &str, index: i32) -> Builder<Pod> {
    pod(name).annotation(indexes::INDEX, &index.to_string())
}

fn look(job: &Job, pods: &[Builder<Pod>]) -> Plan {
    let pods: Vec<_> = pods.iter().map(|pod| Arc::new(pod.clone().get())).collect();
    plan(&View { job, pods: &pods, backoff: Backoff::default(), now: at(100) })
}

fn last_condition(plan: &Plan) -> Option<(String, String)> {
    let condition = plan.status.conditions.as_ref()?.last()?;
    Some((condition.type_.clone(), condition.reason.clone()?))
}

#[test]
fn as_many_pods_run_as_are_wanted_and_still_needed() {
    for (name, spec, pods, create, delete) in [
        ("the first", json!({}), vec![], 1, 0),
        ("in parallel", json!({"completions": 5, "parallelism": 3}), vec![], 3, 0),
        (
            "the last ones",
            json!({"completions": 2, "parallelism": 3}),
            vec![pod("a").phase("Succeeded")],
            1,
            0,
        ),
        ("a queue", json!({"completions": null, "parallelism": 3}), vec![pod("a")], 2, 0),
        (
            "a queue that is empty",
            json!({"completions": null, "parallelism": 3}),
            vec![pod("a"), pod("b").phase("Succeeded")],
            0,
            0,
        ),
        ("fewer in parallel", json!({"completions": 5, "parallelism": 1}), vec![pod("a"), pod("b")], 0, 1),
        ("suspended", json!({"suspend": true}), vec![pod("a")], 0, 1),
        (
            "indexes",
            json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}),
            vec![of_index("a", 1)],
            2,
            0,
        ),
        (
            "a double index",
            json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}),
            vec![of_index("a", 1), of_index("b", 1)],
            0,
            1,
        ),
    ] {
        let plan = look(&job(spec), &pods);
        assert_eq!((plan.create.len(), plan.forget.len()), (create, delete), "{name}");
    }
}

#[test]
fn a_job_ends_for_a_reason() {
    let indexed = |more: Value| {
        let mut all = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let failed = |name: &str| pod(name).phase("Failed");
    let mut late = job(json!({"activeDeadlineSeconds": 50}));
    late.status.get_or_insert_default().start_time = Some(seconds(at(0)));
    for (name, job, pods, expected) in [
        (
            "done",
            job(json!({})),
            vec![pod("a").phase("Succeeded")],
            Some(("SuccessCriteriaMet", "CompletionsReached")),
        ),
        (
            "limit",
            job(json!({"backoffLimit": 1})),
            vec![failed("a"), failed("b")],
            Some(("FailureTarget", "BackoffLimitExceeded")),
        ),
        ("below the limit", job(json!({"backoffLimit": 2})), vec![failed("a"), failed("b")], None),
        ("late", late, vec![pod("a")], Some(("FailureTarget", "DeadlineExceeded"))),
        (
            "an index is lost",
            job(indexed(json!({"backoffLimitPerIndex": 0}))),
            vec![of_index("a", 0).phase("Failed"), of_index("b", 1).phase("Succeeded")],
            Some(("FailureTarget", "FailedIndexes")),
        ),
        (
            "too many are lost",
            job(indexed(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 0}))),
            vec![of_index("a", 0).phase("Failed"), of_index("b", 1)],
            Some(("FailureTarget", "MaxFailedIndexesExceeded")),
        ),
        (
            "one is enough",
            job(indexed(json!({"successPolicy": {"rules": [{"succeededCount": 1}]}}))),
            vec![of_index("a", 0), of_index("b", 1).phase("Succeeded")],
            Some(("SuccessCriteriaMet", "SuccessPolicy")),
        ),
    ] {
        let plan = look(&job, &pods);
        let expected = expected.map(|(kind, reason)| (kind.to_owned(), reason.to_owned()));
        assert_eq!(last_condition(&plan), expected, "{name}");
        if expected.is_some() {
            assert!(plan.create.is_empty(), "{name}");
        }
    }
}

/// Runs a Job to its end; `ends` says how the next pod of an index ends. The pods made, and the Job.
fn run(mut job: Job, mut ends: impl FnMut(Option<i32>) -> &'static str) -> (usize, Job) {
    let (mut pods, mut made, mut backoff) = (Vec::<Pod>::new(), 0, Backoff::default());
    for round in 0..200 {
        let now = at(round * 1000);
        let shared: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
        let plan = plan(&View { job: &job, pods: &shared, backoff, now });
        backoff = plan.backoff;
        job.status = Some(plan.status);
        if finished(&job).is_some() {
            return (made, job);
        }
        for pod in &mut pods {
            if plan.release.iter().any(|released| uid(released) == uid(pod)) {
                pod.metadata.finalizers = None;
            }
        }
        pods.retain(|pod| !plan.delete.iter().chain(&plan.forget).any(|deleted| uid(deleted) == uid(pod)));
        for (index, failures) in plan.create {
            made += 1;
            let mut pod = pod(&format!("p{made}")).created(now).annotation(FAILURES, &failures.to_string());
            if let Some(index) = index {
                pod = pod.annotation(indexes::INDEX, &index.to_string());
            }
            pods.push(pod.phase(ends(index)).get());
        }
    }
    panic!("it does not end: {:?}", job.status);
}

#[test]
fn every_end_is_counted_once() {
    let mut tries = 0;
    let (made, done) = run(job(json!({"completions": 4, "parallelism": 2})), |_| {
        tries += 1;
        if tries % 3 == 0 { "Failed" } else { "Succeeded" }
    });
    let status = done.status.unwrap();
    assert_eq!((status.succeeded, status.failed, made), (Some(4), Some(1), 5));
    assert_eq!(status.uncounted_terminated_pods, Some(UncountedTerminatedPods::default()));
    assert_eq!(status.conditions.unwrap().last().unwrap().type_, "Complete");
}

#[test]
fn each_index_has_its_own_limit() {
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX});
    let (made, done) = run(job(spec), |index| if index == Some(1) { "Failed" } else { "Succeeded" });
    let status = done.status.unwrap();
    assert_eq!(
        (status.completed_indexes.as_deref(), status.failed_indexes.as_deref()),
        (Some("0,2"), Some("1"))
    );
    assert_eq!((made, status.failed), (4, Some(2)), "the one that fails is tried twice");
    assert_eq!(status.conditions.unwrap().last().unwrap().reason.as_deref(), Some("FailedIndexes"));
}

#[test]
fn failed_pods_that_wait_for_their_replacement_do_not_hold_up_the_end() {
    let spec = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 5, "backoffLimit": 2});
    let (_, done) = run(job(spec), |_| "Failed");
    assert_eq!(
        done.status.unwrap().conditions.unwrap().last().unwrap().reason.as_deref(),
        Some("BackoffLimitExceeded")
    );
}

#[test]
fn failures_make_the_next_one_wait() {
    for (failures, wait) in [(1, 10), (2, 20), (3, 40), (7, 600), (40, 600)] {
        assert_eq!(backoff(failures), Duration::from_secs(wait), "{failures}");
    }
    let plan = look(&job(json!({})), &[pod("a").phase("Failed").created(at(95))]);
    assert_eq!((plan.create.len(), plan.again), (0, Some(Duration::from_secs(5))));
}
