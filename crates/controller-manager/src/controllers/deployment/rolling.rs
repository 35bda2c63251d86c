//! The arithmetic of rolling updates and of proportional scaling.
//!
//! **Upstream**: `pkg/controller/deployment/rolling.go`, `sync.go` (`scale`), `NewRSNewReplicas`,
//! `GetReplicaSetProportion`.

use super::plan::Draft;
use super::sets::{self, available, max_surge, max_unavailable, name, replicas, size};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

/// How large the new set, of size `present`, may be now; `all` are all sets, itself included.
pub(super) fn new_size<'a>(
    deployment: &Deployment,
    all: impl Iterator<Item = &'a ReplicaSet>,
    present: i32,
) -> i32 {
    let wanted = replicas(deployment);
    if !sets::is_rolling(deployment) {
        return wanted;
    }
    let (most, total) = (wanted + max_surge(deployment), all.map(size).sum::<i32>());
    if total >= most { present } else { present + (most - total).min(wanted - present) }
}

/// One step of a rolling update: up, or if there is nothing to add down, or if it is complete the old sets go.
pub(super) fn roll(draft: &mut Draft<'_>) {
    if grow_new(draft) || shrink_old(draft) {
        return;
    }
    draft.clean_up_when_complete();
}

fn grow_new(draft: &mut Draft<'_>) -> bool {
    let Some(new) = &draft.new else { return false };
    let (wanted, present) = (replicas(draft.deployment), size(new));
    let target = if present > wanted { wanted } else { new_size(draft.deployment, draft.all(), present) };
    let name = name(new).to_owned();
    if target == present {
        return false;
    }
    draft.resize(&name, target);
    true
}

fn shrink_old(draft: &mut Draft<'_>) -> bool {
    if draft.old.iter().map(size).sum::<i32>() == 0 {
        return false;
    }
    let total: i32 = draft.all().map(size).sum();
    let least = replicas(draft.deployment) - max_unavailable(draft.deployment);
    let new_unavailable = draft.new.as_ref().map_or(0, |new| size(new) - staying(new));
    let budget = total - least - new_unavailable;
    if budget <= 0 {
        return false;
    }
    let cleaned = drop_unhealthy(draft, budget);
    // What is available may go as far as enough of it stays.
    let surplus = draft.all().map(staying).sum::<i32>() - least;
    let shrunk = take(draft, surplus, size);
    cleaned || shrunk
}

/// What is available of a set and may stay. A set that was made smaller may still tell of pods that are about to go: who
/// counts on them takes too many others away.
fn staying(set: &ReplicaSet) -> i32 {
    available(set).min(size(set))
}

/// Pods of old sets that are not available can go without any loss.
fn drop_unhealthy(draft: &mut Draft<'_>, budget: i32) -> bool {
    take(draft, budget, |set| size(set) - staying(set))
}

/// Takes up to `budget` pods from the old sets, oldest first, from each at most what it can spare.
fn take(draft: &mut Draft<'_>, mut budget: i32, spare: fn(&ReplicaSet) -> i32) -> bool {
    let plan: Vec<_> = draft.old.iter().map(|set| (name(set).to_owned(), size(set), spare(set))).collect();
    let mut any = false;
    for (name, size, spare) in plan {
        let count = spare.min(size).min(budget.max(0));
        if count > 0 {
            draft.resize(&name, size - count);
            budget -= count;
            any = true;
        }
    }
    any
}

/// Spreads a change of the Deployment's size over its sets.
pub(super) fn scale(draft: &mut Draft<'_>) {
    let wanted = replicas(draft.deployment);
    if let Some(only) = active_or_latest(draft) {
        draft.resize(&only, wanted);
        return;
    }
    if draft.new.as_ref().is_some_and(|new| is_saturated(new, wanted)) {
        for name in names(draft.old.iter().filter(|set| size(set) > 0)) {
            draft.resize(&name, 0);
        }
        return;
    }
    if sets::is_rolling(draft.deployment) {
        spread(draft);
    }
}

fn names<'a>(sets: impl Iterator<Item = &'a ReplicaSet>) -> Vec<String> {
    sets.map(|set| name(set).to_owned()).collect()
}

/// The only active set; without any the new one, or else the youngest.
fn active_or_latest(draft: &Draft<'_>) -> Option<String> {
    let active = names(draft.all().filter(|set| size(set) > 0));
    match active.as_slice() {
        [] => draft.new.as_ref().or(draft.old.last()).map(|set| name(set).to_owned()),
        [only] => Some(only.clone()),
        _ => None,
    }
}

fn is_saturated(new: &ReplicaSet, wanted: i32) -> bool {
    size(new) == wanted && sets::desired(new) == Some(wanted) && available(new) == wanted
}

fn spread(draft: &mut Draft<'_>) {
    let wanted = replicas(draft.deployment);
    let mut active: Vec<ReplicaSet> = draft.all().filter(|set| size(set) > 0).cloned().collect();
    let allowed = if wanted > 0 { wanted + max_surge(draft.deployment) } else { 0 };
    let to_add = allowed - active.iter().map(size).sum::<i32>();
    // The largest first; of equals the newest when growing, the oldest when shrinking.
    active.sort_by(|a, b| {
        let age = sets::created(a).cmp(&sets::created(b));
        size(b).cmp(&size(a)).then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut added = 0;
    let mut sizes = Vec::new();
    for set in &active {
        let share = if to_add == 0 { 0 } else { proportion(set, draft.deployment, to_add, added) };
        sizes.push((name(set).to_owned(), size(set) + share));
        added += share;
    }
    if let Some((_, first)) = sizes.first_mut()
        && to_add != 0
    {
        *first = (*first + to_add - added).max(0);
    }
    for (name, size) in sizes {
        draft.resize(&name, size);
    }
}

/// The share of one set in what is to be added (or, negative, taken away).
fn proportion(set: &ReplicaSet, deployment: &Deployment, to_add: i32, added: i32) -> i32 {
    if size(set) == 0 || to_add == added {
        return 0;
    }
    let (fraction, allowed) = (fraction(set, deployment), to_add - added);
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(set: &ReplicaSet, deployment: &Deployment) -> i32 {
    if replicas(deployment) == 0 {
        return -size(set);
    }
    let most = replicas(deployment) + max_surge(deployment);
    let before = sets::max_before(set).filter(|before| *before != 0);
    let before = before.or(deployment.status.as_ref().and_then(|status| status.replicas)).unwrap_or(0);
    if before == 0 {
        return 0;
    }
    let exact = f64::from(size(set)) * f64::from(most) / f64::from(before);
    #[expect(clippy::cast_possible_truncation, reason = "rounded, and of the size of replica counts")]
    let rounded = exact.round() as i32;
    rounded - size(set)
}
