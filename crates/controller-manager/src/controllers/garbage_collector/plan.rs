//! What becomes of an object, by what became of its owners.
//!
//! **Upstream**: `attemptToDeleteItem` in `pkg/controller/garbagecollector/garbagecollector.go`.

use api::well_known::finalizer::{FOREGROUND, ORPHAN};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

/// What a live look at an owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there and stays.
    Solid,
    /// It is gone, or another object has its name.
    Dangling,
    /// It waits for its dependents to go first.
    Waiting,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Keep,
    /// It stays, with these owners only.
    Disown(Vec<OwnerReference>),
    /// It goes.
    Delete(PropagationPolicy),
    /// It and its dependents wait for each other: its references no longer block, and it goes.
    BreakCircle(Vec<OwnerReference>),
}

/// What an owner is, given what the server says of its name.
pub(super) fn classify(wanted: &OwnerReference, live: Option<&ObjectMeta>) -> Owner {
    match live {
        Some(live) if live.uid.as_ref() == Some(&wanted.uid) => {
            let foreground = live.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND);
            if live.deletion_timestamp.is_some() && foreground { Owner::Waiting } else { Owner::Solid }
        }
        _ => Owner::Dangling,
    }
}

/// Decides on one object; `dependents` tells of each dependent whether it waits for its own dependents.
pub(super) fn judge(object: &ObjectMeta, owners: &[(OwnerReference, Owner)], dependents: &[bool]) -> Verdict {
    let of = |class: Owner| owners.iter().filter(move |(_, known)| *known == class);
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if of(Owner::Solid).next().is_some() {
        if owners.iter().all(|(_, class)| *class == Owner::Solid) {
            return Verdict::Keep;
        }
        return Verdict::Disown(of(Owner::Solid).map(|(owner, _)| owner.clone()).collect());
    }
    if of(Owner::Waiting).next().is_some() && !dependents.is_empty() {
        if dependents.contains(&true) {
            let unblocked = |owner: &OwnerReference| OwnerReference {
                block_owner_deletion: Some(false),
                ..owner.clone()
            };
            return Verdict::BreakCircle(owners.iter().map(|(owner, _)| unblocked(owner)).collect());
        }
        return Verdict::Delete(PropagationPolicy::Foreground);
    }
    let has = |finalizer: &str| object.finalizers.iter().flatten().any(|known| known == finalizer);
    Verdict::Delete(match (has(ORPHAN), has(FOREGROUND)) {
        (true, _) => PropagationPolicy::Orphan,
        (_, true) => PropagationPolicy::Foreground,
        _ => PropagationPolicy::Background,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_goes_when_no_owner_stays() {
        let owner = |uid: &str, class| {
            let reference = OwnerReference {
                uid: uid.to_owned(),
                block_owner_deletion: Some(true),
                ..OwnerReference::default()
            };
            (reference, class)
        };
        let (solid, gone, waiting) =
            (owner("s", Owner::Solid), owner("g", Owner::Dangling), owner("w", Owner::Waiting));
        let plain = ObjectMeta::default();
        let orphan = ObjectMeta { finalizers: Some(vec![ORPHAN.to_owned()]), ..ObjectMeta::default() };
        let unblocked = OwnerReference { block_owner_deletion: Some(false), ..waiting.0.clone() };
        use PropagationPolicy::{Background, Foreground, Orphan};
        for (name, object, owners, dependents, expected) in [
            ("no owner", &plain, vec![], vec![], Verdict::Keep),
            ("a solid owner", &plain, vec![solid.clone()], vec![], Verdict::Keep),
            (
                "one of two is gone",
                &plain,
                vec![solid.clone(), gone.clone()],
                vec![],
                Verdict::Disown(vec![solid.0.clone()]),
            ),
            (
                "one of two waits",
                &plain,
                vec![solid.clone(), waiting.clone()],
                vec![false],
                Verdict::Disown(vec![solid.0.clone()]),
            ),
            ("gone", &plain, vec![gone.clone()], vec![], Verdict::Delete(Background)),
            ("gone, to be orphaned", &orphan, vec![gone.clone()], vec![false], Verdict::Delete(Orphan)),
            ("waiting, no dependents", &plain, vec![waiting.clone()], vec![], Verdict::Delete(Background)),
            ("waiting, dependents", &plain, vec![waiting.clone()], vec![false], Verdict::Delete(Foreground)),
            ("circle", &plain, vec![waiting.clone()], vec![true], Verdict::BreakCircle(vec![unblocked])),
        ] {
            assert_eq!(judge(object, &owners, &dependents), expected, "{name}");
        }
    }

    #[test]
    fn an_owner_of_another_identity_is_gone() {
        let wanted = OwnerReference { uid: "u".to_owned(), ..OwnerReference::default() };
        let live = |uid: &str| ObjectMeta { uid: Some(uid.to_owned()), ..ObjectMeta::default() };
        assert_eq!(classify(&wanted, Some(&live("u"))), Owner::Solid);
        assert_eq!(classify(&wanted, Some(&live("v"))), Owner::Dangling);
        assert_eq!(classify(&wanted, None), Owner::Dangling);
        let waiting = ObjectMeta {
            deletion_timestamp: Some(crate::workload::seconds(testkit::build::at(0))),
            finalizers: Some(vec![FOREGROUND.to_owned()]),
            ..live("u")
        };
        assert_eq!(classify(&wanted, Some(&waiting)), Owner::Waiting);
    }
}
