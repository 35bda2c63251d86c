//! Who owns whom: what is known of every object that can be deleted.
//!
//! **Contract**: pure. Each change tells which objects are to be looked at. An owner that is only known from its
//! dependents is virtual until its own kind's watch (or a live look) says whether it is there.
//! **Upstream**: `pkg/controller/garbagecollector/graph_builder.go`, `graph.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;

/// Absent owners that are remembered (`uidCacheSize`).
const REMEMBERED: usize = 500;

/// Where an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) api_version: String,
    pub(super) kind: String,
    /// Of the object, or of the dependent from which an owner is known.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Place {
    pub(super) fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The owner that a reference of an object in this namespace means.
    pub(super) fn of(owner: &OwnerReference, namespace: &str) -> Self {
        Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            namespace: namespace.to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api_version, kind, namespace, name, uid } = self;
        write!(f, "[{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}]")
    }
}

/// An object, or one that somebody says is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: BTreeSet<String>,
    /// Nobody has seen it.
    pub(super) is_virtual: bool,
    pub(super) being_deleted: bool,
    /// It goes when its dependents have.
    pub(super) deleting_dependents: bool,
    /// It goes when its dependents are orphans.
    orphaning: bool,
}

/// What is to be looked at, by uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// Whether it is to be deleted.
    Delete(String),
    /// Its dependents become orphans.
    Orphan(String),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(uid) => write!(f, "delete {uid}"),
            Self::Orphan(uid) => write!(f, "orphan {uid}"),
        }
    }
}

/// All objects and their owners.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    absent: Absent,
}

/// The owners that were found to be gone last.
#[derive(Debug, Default)]
struct Absent {
    order: VecDeque<Place>,
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|known| known == finalizer)
}

fn blocks(owner: &OwnerReference) -> bool {
    owner.block_owner_deletion == Some(true)
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<Node> {
        self.nodes.get(uid).cloned()
    }

    /// How many objects are known.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// An object is there, or has changed.
    pub(super) fn changed(&mut self, place: Place, meta: &ObjectMeta) -> Vec<Work> {
        let uid = place.uid.clone();
        let going = meta.deletion_timestamp.is_some();
        let owners = meta.owner_references.clone().unwrap_or_default();
        let mut work = Vec::new();
        let known = self.nodes.get(&uid).cloned().unwrap_or_default();
        let deleting_dependents = going && has(meta, api::well_known::finalizer::FOREGROUND);
        let orphaning = going && has(meta, api::well_known::finalizer::ORPHAN);
        let node = Node {
            place,
            owners: owners.clone(),
            dependents: known.dependents.clone(),
            is_virtual: false,
            being_deleted: going,
            deleting_dependents,
            orphaning,
        };
        self.nodes.insert(uid.clone(), node);
        self.unblock(&known.owners, &owners, &mut work);
        for owner in known.owners.iter().filter(|old| !owners.iter().any(|new| new.uid == old.uid)) {
            self.unlink(&owner.uid, &uid);
        }
        for owner in owners.iter().filter(|new| !known.owners.iter().any(|old| old.uid == new.uid)) {
            self.link(owner, &uid, &mut work);
        }
        if orphaning && !known.orphaning {
            work.push(Work::Orphan(uid));
        } else if deleting_dependents && !known.deleting_dependents {
            work.extend(known.dependents.into_iter().map(Work::Delete));
            work.push(Work::Delete(uid));
        }
        work
    }

    /// An object is gone.
    pub(super) fn removed(&mut self, uid: &str) -> Vec<Work> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut work = Vec::new();
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            if self.nodes.get(&owner.uid).is_some_and(|owner| owner.deleting_dependents) {
                work.push(Work::Delete(owner.uid.clone()));
            }
        }
        if !node.dependents.is_empty() {
            self.absent.insert(node.place);
        }
        work.extend(node.dependents.into_iter().map(Work::Delete));
        work
    }

    /// The dependents without which an owner in foreground deletion does not go, as far as they are not looked at yet.
    pub(super) fn blocking(&self, uid: &str) -> Vec<Node> {
        let dependents = self.dependents(uid);
        let blocking = |node: &Node| node.owners.iter().any(|owner| owner.uid == uid && blocks(owner));
        dependents.into_iter().filter(blocking).collect()
    }

    /// What an object owns.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Node> {
        let node = self.nodes.get(uid);
        let uids = node.into_iter().flat_map(|node| &node.dependents);
        uids.filter_map(|uid| self.nodes.get(uid).cloned()).collect()
    }

    /// Remembers that an owner is not there.
    pub(super) fn note_absent(&mut self, place: Place) {
        self.absent.insert(place);
    }

    /// Whether an owner was found to be gone.
    pub(super) fn is_absent(&self, place: &Place) -> bool {
        self.absent.order.contains(place)
    }

    fn link(&mut self, owner: &OwnerReference, dependent: &str, work: &mut Vec<Work>) {
        let namespace =
            self.nodes.get(dependent).map(|node| node.place.namespace.clone()).unwrap_or_default();
        let claimed = Place::of(owner, &namespace);
        let node = self.nodes.entry(owner.uid.clone()).or_insert_with(|| {
            // Whether it is there, a live look will tell.
            work.push(Work::Delete(owner.uid.clone()));
            Node { place: claimed.clone(), is_virtual: true, ..Node::default() }
        });
        node.dependents.insert(dependent.to_owned());
        let place = &node.place;
        let elsewhere = !place.namespace.is_empty() && place.namespace != namespace;
        let another =
            (place.group(), &place.kind, &place.name) != (claimed.group(), &claimed.kind, &claimed.name);
        if elsewhere || another {
            // The reference means something that is not there under that name: the dependent has to be judged by it.
            work.push(Work::Delete(dependent.to_owned()));
        }
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        let Some(node) = self.nodes.get_mut(owner) else { return };
        node.dependents.remove(dependent);
        if node.is_virtual && node.dependents.is_empty() {
            self.nodes.remove(owner);
        }
    }

    /// Owners that a change no longer keeps from going.
    fn unblock(&self, old: &[OwnerReference], new: &[OwnerReference], work: &mut Vec<Work>) {
        for before in old.iter().filter(|owner| blocks(owner)) {
            let after = new.iter().find(|owner| owner.uid == before.uid);
            let waits = self.nodes.get(&before.uid).is_some_and(|owner| owner.deleting_dependents);
            if waits && !after.is_some_and(blocks) {
                work.push(Work::Delete(before.uid.clone()));
            }
        }
    }
}

impl Absent {
    fn insert(&mut self, place: Place) {
        if self.order.contains(&place) {
            return;
        }
        if self.order.len() == REMEMBERED {
            self.order.pop_front();
        }
        self.order.push_back(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::build::at;

    fn place(uid: &str) -> Place {
        Place {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: "ns".to_owned(),
            name: uid.to_owned(),
            uid: uid.to_owned(),
        }
    }

    fn owner(uid: &str, block: bool) -> OwnerReference {
        OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: uid.to_owned(),
            uid: uid.to_owned(),
            block_owner_deletion: Some(block),
            controller: None,
        }
    }

    fn meta(owners: &[OwnerReference], finalizer: &str) -> ObjectMeta {
        ObjectMeta {
            owner_references: Some(owners.to_vec()),
            deletion_timestamp: (!finalizer.is_empty()).then(|| crate::workload::seconds(at(0))),
            finalizers: Some(vec![finalizer.to_owned()]),
            ..ObjectMeta::default()
        }
    }

    fn delete(uids: &[&str]) -> Vec<Work> {
        uids.iter().map(|uid| Work::Delete((*uid).to_owned())).collect()
    }

    #[test]
    fn an_owner_that_nobody_has_seen_is_looked_for_and_its_end_concerns_its_dependents() {
        let mut graph = Graph::default();
        assert_eq!(graph.changed(place("a"), &meta(&[owner("o", true)], "")), delete(&["o"]));
        assert!(graph.get("o").unwrap().is_virtual);
        assert_eq!(graph.changed(place("b"), &meta(&[owner("o", true)], "")), []);
        assert_eq!(graph.changed(place("o"), &meta(&[], "")), []);
        assert!(!graph.get("o").unwrap().is_virtual);
        assert_eq!(graph.removed("o"), delete(&["a", "b"]));
        assert!(graph.is_absent(&place("o")));
        assert_eq!(graph.len(), 2);
    }

    #[test]
    fn a_foreground_deletion_looks_at_dependents_and_goes_on_when_they_go_or_let_go() {
        let mut graph = Graph::default();
        graph.changed(place("o"), &meta(&[], ""));
        for (uid, block) in [("a", true), ("b", true), ("c", false)] {
            graph.changed(place(uid), &meta(&[owner("o", block)], ""));
        }
        let going = meta(&[], "foregroundDeletion");
        assert_eq!(graph.changed(place("o"), &going), delete(&["a", "b", "c", "o"]));
        assert_eq!(graph.changed(place("o"), &going), [], "only once");
        assert_eq!(graph.blocking("o").len(), 2);
        assert_eq!(graph.removed("a"), delete(&["o"]));
        assert_eq!(graph.changed(place("b"), &meta(&[owner("o", false)], "")), delete(&["o"]));
        assert!(graph.blocking("o").is_empty());
    }

    #[test]
    fn orphaning_is_told_once_and_references_across_namespaces_are_judged() {
        let mut graph = Graph::default();
        graph.changed(place("o"), &meta(&[], ""));
        graph.changed(place("a"), &meta(&[owner("o", true)], ""));
        let going = meta(&[], "orphan");
        assert_eq!(graph.changed(place("o"), &going), [Work::Orphan("o".to_owned())]);
        assert_eq!(graph.changed(place("o"), &going), []);
        let elsewhere = Place { namespace: "other".to_owned(), ..place("x") };
        assert_eq!(graph.changed(elsewhere, &meta(&[owner("o", true)], "")), delete(&["x"]));
    }
}
