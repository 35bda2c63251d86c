//! Tests of `plan`: single looks in tables, and whole rollouts in a world where pods become ready in random order.

use super::*;
use component_base::Rng;
use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use serde_json::{Value, json};
use testkit::build::at;

fn deployment(replicas: i32, strategy: &Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas, "strategy": strategy, "selector": {"matchLabels": {"app": "web"}},
            "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        },
    }))
    .unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A set made of the Deployment with this image.
fn set(deployment: &Deployment, image: &str, revision: i64, size: i32, available: i32) -> ReplicaSet {
    let mut of = deployment.clone();
    of.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
    let mut set = new_set(&of);
    sets::annotate_new(&mut set, &of, revision);
    sets::annotate_size(&mut set, &of);
    set.metadata.uid = set.metadata.name.clone();
    set.metadata.generation = Some(1);
    set.metadata.creation_timestamp = Some(crate::workload::seconds(at(revision)));
    set.spec.as_mut().unwrap().replicas = Some(size);
    set.status = Some(ReplicaSetStatus {
        replicas: size,
        ready_replicas: Some(available),
        available_replicas: Some(available),
        terminating_replicas: Some(0),
        observed_generation: Some(1),
        ..ReplicaSetStatus::default()
    });
    set
}

fn look(deployment: &Deployment, sets: &[ReplicaSet]) -> Plan {
    plan(View { deployment, sets: sets.to_vec(), pods: &[], now: at(1000) })
}

/// The sizes that a plan gives to sets, by image.
fn sizes(plan: &Plan) -> Vec<(String, i32)> {
    let image = |set: &ReplicaSet| {
        let template = set.spec.as_ref().unwrap().template.clone().unwrap();
        template.spec.unwrap().containers[0].image.clone().unwrap()
    };
    let changed = plan.steps.iter().filter_map(|step| match step {
        Step::Create(set) | Step::Update(set, Some(_)) => Some((image(set), sets::size(set))),
        _ => None,
    });
    changed.collect()
}

#[test]
fn one_look_at_a_rollout() {
    let quarter = || rolling(json!("25%"), json!("25%"));
    let recreate = json!({"type": "Recreate"});
    // (name, replicas, strategy, old sets (image, size, available), new set, expected sizes)
    type Sets<'a> = &'a [(&'a str, i32, i32)];
    type Case<'a> = (&'a str, i32, Value, Sets<'a>, Option<(i32, i32)>, Sets<'a>);
    let cases: [Case<'_>; 10] = [
        ("first", 3, quarter(), &[], None, &[("v1", 3, 0)]),
        ("surge rounds up", 10, quarter(), &[("v0", 10, 10)], None, &[("v1", 3, 0), ("v0", 8, 0)]),
        ("unavailable rounds down", 10, quarter(), &[("v0", 10, 10)], Some((3, 0)), &[("v0", 8, 0)]),
        ("both zero", 3, rolling(json!("0%"), json!("0%")), &[("v0", 3, 3)], Some((0, 0)), &[("v0", 2, 0)]),
        ("unhealthy first", 4, quarter(), &[("v00", 2, 0), ("v0", 3, 3)], Some((0, 0)), &[("v00", 0, 0)]),
        ("late status", 8, rolling(json!(0), json!(2)), &[("v0", 6, 8)], Some((2, 2)), &[("v0", 4, 0)]),
        ("new too large", 2, quarter(), &[], Some((5, 5)), &[("v1", 2, 0)]),
        ("recreate stops the old", 3, recreate.clone(), &[("v0", 3, 3)], None, &[("v0", 0, 0)]),
        ("recreate makes the new", 3, recreate.clone(), &[("v0", 0, 0)], None, &[("v1", 3, 0)]),
        ("recreate fills the new", 3, recreate, &[("v0", 0, 0)], Some((0, 0)), &[("v1", 3, 0)]),
    ];
    for (name, replicas, strategy, old, new, expected) in cases {
        let deployment = deployment(replicas, &strategy);
        let mut sets: Vec<_> = (1..)
            .zip(old)
            .map(|(revision, (image, size, available))| set(&deployment, image, revision, *size, *available))
            .collect();
        sets.extend(new.map(|(size, available)| set(&deployment, "v1", 9, size, available)));
        let plan = look(&deployment, &sets);
        let expected: Vec<_> = expected.iter().map(|(image, size, _)| ((*image).to_owned(), *size)).collect();
        assert_eq!(sizes(&plan), expected, "{name}");
    }
}

#[test]
fn scaling_amid_a_rollout_is_proportional() {
    // Upstream's example: 10 replicas, surge 3, 8 old and 5 new; scaled to 15, the five more are spread 3 to 2.
    let mut of = deployment(10, &rolling(json!(3), json!(2)));
    let sets = [set(&of, "v0", 1, 8, 8), set(&of, "v1", 2, 5, 0)];
    of.spec.as_mut().unwrap().replicas = Some(15);
    let up = look(&of, &sets);
    assert_eq!(sizes(&up), [("v0".to_owned(), 11), ("v1".to_owned(), 7)]);
    of.spec.as_mut().unwrap().replicas = Some(0);
    assert_eq!(sizes(&look(&of, &sets)), [("v0".to_owned(), 0), ("v1".to_owned(), 0)]);
    of.spec.as_mut().unwrap().replicas = Some(15);
    of.spec.as_mut().unwrap().paused = Some(true);
    let paused = look(&of, &sets);
    assert_eq!(sizes(&paused), sizes(&up), "a paused one is scaled all the same");
    let reason = |plan: &Plan| {
        let conditions = plan.status.conditions.clone().unwrap();
        conditions.iter().find(|c| c.type_ == "Progressing").map(|c| c.reason.clone().unwrap())
    };
    assert_eq!(reason(&paused).as_deref(), Some("DeploymentPaused"));
}

#[test]
fn a_rollout_that_stands_still_misses_its_deadline() {
    let mut of = deployment(2, &rolling(json!(1), json!(0)));
    let sets = [set(&of, "v1", 1, 2, 0)];
    let condition = |status: &DeploymentStatus| {
        status.conditions.iter().flatten().find(|c| c.type_ == "Progressing").cloned().unwrap()
    };
    let first = plan(View { deployment: &of, sets: sets.to_vec(), pods: &[], now: at(0) });
    assert_eq!(condition(&first.status).reason.as_deref(), Some("ReplicaSetUpdated"));
    assert_eq!(first.again, Some(Duration::from_secs(601)));
    of.status = Some(first.status);
    let late = plan(View { deployment: &of, sets: sets.to_vec(), pods: &[], now: at(601) });
    let timed_out = condition(&late.status);
    assert_eq!(timed_out.reason.as_deref(), Some("ProgressDeadlineExceeded"));
    let name = sets::name(&sets[0]);
    assert_eq!(timed_out.message, Some(format!("ReplicaSet \"{name}\" has timed out progressing.")));
    assert_eq!(late.again, None);
    of.status = Some(late.status);
    let done = plan(View { deployment: &of, sets: vec![set(&of, "v1", 1, 2, 2)], pods: &[], now: at(700) });
    assert_eq!(condition(&done.status).reason.as_deref(), Some("NewReplicaSetAvailable"));
    assert_eq!(condition(&done.status).status, "True");
}

#[test]
fn old_revisions_are_kept_as_far_as_asked_and_going_back_counts_on() {
    let mut of = deployment(1, &rolling(json!(1), json!(0)));
    let mut sets: Vec<_> = (1..=4).map(|n| set(&of, &format!("v0{n}"), n, 0, 0)).collect();
    sets.push(set(&of, "v1", 5, 1, 1));
    of.status = Some(look(&of, &sets).status);
    let plan = look(&of, &sets);
    let deleted: Vec<_> = plan.steps.iter().filter(|step| matches!(step, Step::Delete(_))).cloned().collect();
    assert_eq!(
        deleted,
        [Step::Delete(sets::name(&sets[0]).to_owned()), Step::Delete(sets::name(&sets[1]).to_owned())]
    );
    // Back to the template of revision 4.
    of.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image = Some("v04".to_owned());
    let back = look(&of, &sets);
    assert_eq!(back.revision, Some(6));
    assert!(!back.steps.iter().any(|step| matches!(step, Step::Create(_))), "the set is there already");
}

/// Rollouts from any state to any other end, and at each moment there are enough pods and not too many.
#[test]
fn a_rollout_keeps_its_promises_at_every_step() {
    for seed in 0..200 {
        let rng = Rng::seeded(seed);
        let draw = |below: u64| i32::try_from(rng.below(below)).unwrap();
        let (surge, unavailable) = (draw(4), draw(4));
        let of = deployment(1 + draw(12), &rolling(json!(surge), json!(unavailable)));
        let wanted = sets::replicas(&of);
        let (most, least) = (wanted + sets::max_surge(&of), wanted - sets::max_unavailable(&of));
        let mut world = vec![set(&of, "v0", 1, wanted, wanted)];
        let mut rounds = 0;
        loop {
            let plan = look(&of, &world);
            for step in plan.steps {
                match step {
                    Step::Create(set) => world.push(ReplicaSet {
                        metadata: ObjectMeta {
                            uid: set.metadata.name.clone(),
                            creation_timestamp: Some(crate::workload::seconds(at(2))),
                            ..set.metadata.clone()
                        },
                        status: Some(ReplicaSetStatus::default()),
                        ..*set
                    }),
                    Step::Update(set, _) => {
                        let known =
                            world.iter_mut().find(|known| sets::name(known) == sets::name(&set)).unwrap();
                        known.spec = set.spec;
                        known.metadata.annotations = set.metadata.annotations;
                    }
                    Step::Delete(name) => world.retain(|known| sets::name(known) != name),
                }
            }
            // ReplicaSets follow; of their pods some become ready.
            for set in &mut world {
                let size = sets::size(set);
                let status = set.status.as_mut().unwrap();
                let ready = status.available_replicas.unwrap_or(0).min(size);
                let more = draw(u64::try_from(size - ready).unwrap() + 1);
                status.replicas = size;
                status.available_replicas = Some(ready + more);
                status.ready_replicas = status.available_replicas;
            }
            let total: i32 = world.iter().map(sets::size).sum();
            let available: i32 = world.iter().map(sets::available).sum();
            assert!(total <= most, "seed {seed}: {total} of at most {most}");
            assert!(available >= least, "seed {seed}: {available} of at least {least}");
            let new = sets::find_new(&of, &world).map(sets::available);
            if new == Some(wanted) && total == wanted {
                break;
            }
            rounds += 1;
            assert!(rounds < 1000, "seed {seed} does not end");
        }
    }
}
