//! Tables of cases of the namespace plan.

use super::*;
use testkit::build::{self, at};

#[test]
fn only_a_deleted_namespace_that_is_still_held_is_emptied() {
    let going = build::namespace("a").terminating();
    for (name, namespace, wanted) in [
        ("active", build::namespace("a"), Step::Leave),
        ("deleted, phase not yet told", build::namespace("a").deleted(at(0)), Step::MarkTerminating),
        ("terminating", going.clone(), Step::Empty),
        ("finalized already", going.with(|namespace| *namespace = finalized(namespace.clone())), Step::Leave),
    ] {
        assert_eq!(step(&namespace.get()), wanted, "{name}");
    }
}

#[test]
fn other_finalizers_stay() {
    let namespace = build::namespace("a")
        .with(|namespace| {
            let finalizers = namespace.spec.as_mut().unwrap().finalizers.as_mut().unwrap();
            finalizers.push("example.com/mine".to_owned());
        })
        .get();
    assert_eq!(finalized(namespace).spec.unwrap().finalizers.unwrap(), ["example.com/mine"]);
}

#[test]
fn pods_are_given_the_longest_grace_that_is_left() {
    let pod = |seconds, phase| build::pod("p").grace(seconds).phase(phase).get();
    for (name, pods, now, wanted) in [
        ("none", vec![], 0, 0),
        ("longest", vec![pod(30, "Running"), pod(60, "Pending")], 0, 60),
        ("part of it is over", vec![pod(30, "Running")], 12, 18),
        ("all of it is over", vec![pod(30, "Running")], 31, 0),
        ("finished pods need none", vec![pod(300, "Succeeded"), pod(300, "Failed"), pod(5, "Running")], 0, 5),
    ] {
        assert_eq!(pod_estimate(pods.iter(), at(0), at(now)), wanted, "{name}");
    }
    assert_eq!(requeue_after(30).as_secs(), 16);
}

fn summary(conditions: &[NamespaceCondition]) -> Vec<String> {
    let text = |condition: &NamespaceCondition| {
        let NamespaceCondition { type_, status, reason, message, .. } = condition;
        format!("{type_}={status} {}: {}", reason.as_deref().unwrap(), message.as_deref().unwrap())
    };
    conditions.iter().map(text).collect()
}

#[test]
fn conditions_say_what_is_left_in_upstreams_words() {
    let left = |resource: &str, count, finalizers: &[(&str, usize)]| Remaining {
        resource: resource.to_owned(),
        count,
        finalizers: finalizers.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
    };
    let outcome = Outcome {
        remaining: vec![
            left("pods.", 2, &[("a.b/c", 1)]),
            left("deployments.apps", 1, &[("a.b/c", 1), ("d", 1)]),
        ],
        ..Outcome::default()
    };
    let first = conditions(&[], &outcome, at(0)).unwrap();
    assert_eq!(
        summary(&first),
        [
            "NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered",
            "NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully \
             parsed",
            "NamespaceDeletionContentFailure=False ContentDeleted: All content successfully deleted, may be waiting on \
             finalization",
            "NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: pods. has 2 resource \
             instances, deployments.apps has 1 resource instances",
            "NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers \
             remaining: a.b/c in 2 resource instances, d in 1 resource instances",
        ]
    );
    assert_eq!(conditions(&first, &outcome, at(5)), None);
    let fewer = Outcome { remaining: vec![left("pods.", 1, &[])], ..Outcome::default() };
    let second = conditions(&first, &fewer, at(5)).unwrap();
    assert_eq!(second[3].last_transition_time, Some(Time(at(0))), "a new message is no transition");
    assert_eq!(second[4].last_transition_time, Some(Time(at(5))), "a new status is one");
    assert!(fewer.unexpected() == ["pods."] && outcome.unexpected().is_empty());
}

#[test]
fn failures_are_counted() {
    let outcome = Outcome {
        discovery: vec!["x.y/v1: stale GroupVersion discovery".to_owned()],
        failures: vec!["a".to_owned(), "b".to_owned()],
        remaining: Vec::new(),
    };
    let told = summary(&conditions(&[], &outcome, at(0)).unwrap());
    assert_eq!(
        told[0],
        "NamespaceDeletionDiscoveryFailure=True DiscoveryFailed: Discovery failed for some groups, 1 failing: unable \
         to retrieve the complete list of server APIs: x.y/v1: stale GroupVersion discovery"
    );
    assert_eq!(
        told[2],
        "NamespaceDeletionContentFailure=True ContentDeletionFailed: Failed to delete all resource types, 2 \
         remaining: a, b"
    );
    assert!(!outcome.is_empty() && Outcome::default().is_empty());
}
