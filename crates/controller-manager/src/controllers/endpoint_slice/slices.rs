//! How endpoints are spread over EndpointSlices, with as few writes as possible.
//!
//! **Contract**: pure. A slice has one address type, one list of ports and at most [`MOST`] endpoints; an endpoint that
//! stays stays in its slice.
//! **Upstream**: `endpointslice/reconciler.go` (`reconcileByPortMapping`).

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::api::ObjectMeta;
use std::collections::HashMap;
use std::sync::Arc;

/// Endpoints of a slice (`--max-endpoints-per-slice`).
const MOST: usize = 100;

/// Endpoints that may share slices.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::controllers) struct Group {
    pub(in crate::controllers) address_type: &'static str,
    pub(in crate::controllers) ports: Vec<EndpointPort>,
    pub(in crate::controllers) endpoints: Vec<Endpoint>,
}

/// What to write.
#[derive(Debug, Default, PartialEq)]
pub(in crate::controllers) struct Changes {
    pub(in crate::controllers) create: Vec<EndpointSlice>,
    pub(in crate::controllers) update: Vec<EndpointSlice>,
    pub(in crate::controllers) delete: Vec<String>,
}

/// What tells one endpoint from another.
fn identity(endpoint: &Endpoint) -> (Vec<String>, Option<String>) {
    let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    (endpoint.addresses.clone(), target)
}

fn endpoints(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

fn ports(slice: &EndpointSlice) -> &[EndpointPort] {
    slice.ports.as_deref().unwrap_or_default()
}

/// Decides; every slice is to have the labels, annotations and owners of `like`, and new ones its generated name.
pub(in crate::controllers) fn reconcile(
    existing: &[Arc<EndpointSlice>],
    groups: Vec<Group>,
    like: &ObjectMeta,
) -> Changes {
    let mut changes = Changes::default();
    let mut left: Vec<&Arc<EndpointSlice>> =
        existing.iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()).collect();
    for group in groups {
        let (mine, others) = left.into_iter().partition(|slice| {
            slice.address_type == group.address_type && ports(slice) == group.ports.as_slice()
        });
        left = others;
        spread(group, mine, like, &mut changes);
    }
    changes.delete.extend(left.into_iter().filter_map(|slice| slice.metadata.name.clone()));
    changes
}

fn spread(group: Group, mine: Vec<&Arc<EndpointSlice>>, like: &ObjectMeta, changes: &mut Changes) {
    let empty = group.endpoints.is_empty();
    let mut wanted: Vec<Option<Endpoint>> = group.endpoints.into_iter().map(Some).collect();
    let places: HashMap<_, usize> =
        wanted.iter().flatten().enumerate().map(|(place, endpoint)| (identity(endpoint), place)).collect();
    let mut take = |known: &Endpoint| places.get(&identity(known)).and_then(|place| wanted[*place].take());
    // (slice, whether it must be written)
    let mut kept: Vec<(EndpointSlice, bool)> = Vec::new();
    for slice in mine {
        let stay: Vec<Endpoint> = endpoints(slice).iter().filter_map(&mut take).collect();
        if stay.is_empty() && (!empty || !kept.is_empty()) {
            changes.delete.extend(slice.metadata.name.clone());
            continue;
        }
        let mut next = slice.as_ref().clone();
        dress(&mut next.metadata, like);
        let changed = stay != endpoints(slice) || next.metadata != slice.metadata;
        next.endpoints = Some(stay);
        kept.push((next, changed));
    }
    let mut new: Vec<Endpoint> = wanted.into_iter().flatten().collect();
    // Slices that are written anyhow take what they can, the fullest first.
    kept.sort_by_key(|(slice, changed)| (!changed, std::cmp::Reverse(endpoints(slice).len())));
    for (slice, _) in kept.iter_mut().filter(|(_, changed)| *changed) {
        fill(slice, &mut new);
    }
    // What is left goes into the fullest slice that has room for all of it, or else into new ones.
    let fits = |slice: &EndpointSlice| endpoints(slice).len() + new.len() <= MOST;
    if !new.is_empty()
        && let Some((slice, changed)) = kept.iter_mut().find(|(slice, changed)| !changed && fits(slice))
    {
        fill(slice, &mut new);
        *changed = true;
    }
    let mut create = |endpoints: Vec<Endpoint>| {
        changes.create.push(EndpointSlice {
            metadata: like.clone(),
            address_type: group.address_type.to_owned(),
            ports: Some(group.ports.clone()),
            endpoints: Some(endpoints),
        });
    };
    if empty && kept.is_empty() {
        create(Vec::new());
    }
    while !new.is_empty() {
        create(new.drain(..new.len().min(MOST)).collect());
    }
    changes.update.extend(kept.into_iter().filter(|(_, changed)| *changed).map(|(slice, _)| slice));
}

fn fill(slice: &mut EndpointSlice, new: &mut Vec<Endpoint>) {
    let endpoints = slice.endpoints.get_or_insert_default();
    let room = MOST.saturating_sub(endpoints.len()).min(new.len());
    endpoints.extend(new.drain(..room));
}

/// Gives a slice the labels, annotations and owner that it should have.
fn dress(meta: &mut ObjectMeta, like: &ObjectMeta) {
    meta.labels.clone_from(&like.labels);
    if like.annotations.is_some() || meta.annotations.is_some() {
        meta.annotations.clone_from(&like.annotations);
    }
    meta.owner_references.clone_from(&like.owner_references);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(number: usize) -> Endpoint {
        Endpoint { addresses: vec![format!("10.0.{}.{}", number / 256, number % 256)], ..Endpoint::default() }
    }

    fn group(numbers: impl IntoIterator<Item = usize>, port: i32) -> Group {
        let port = EndpointPort { port: Some(port), ..EndpointPort::default() };
        let endpoints = numbers.into_iter().map(endpoint).collect();
        Group { address_type: "IPv4", ports: vec![port], endpoints }
    }

    fn named(slices: Vec<EndpointSlice>) -> Vec<Arc<EndpointSlice>> {
        let name = |(number, mut slice): (usize, EndpointSlice)| {
            slice.metadata.name = Some(format!("s{number}"));
            Arc::new(slice)
        };
        slices.into_iter().enumerate().map(name).collect()
    }

    fn lengths(slices: &[EndpointSlice]) -> Vec<usize> {
        slices.iter().map(|slice| endpoints(slice).len()).collect()
    }

    #[test]
    fn slices_are_filled_kept_and_cleared() {
        let like = ObjectMeta::default();
        let first = reconcile(&[], vec![group(0..250, 80)], &like);
        assert_eq!(lengths(&first.create), [100, 100, 50]);
        let slices = named(first.create);
        assert_eq!(reconcile(&slices, vec![group(0..250, 80)], &like), Changes::default(), "nothing to do");

        let more = reconcile(&slices, vec![group(0..260, 80)], &like);
        assert_eq!((lengths(&more.update), more.create.len()), (vec![60], 0), "the one with room");
        let many = reconcile(&slices, vec![group(0..400, 80)], &like);
        assert_eq!(
            (many.update.len(), lengths(&many.create)),
            (0, vec![100, 50]),
            "new ones, none is rewritten"
        );

        let fewer = reconcile(&slices, vec![group(0..5, 80)], &like);
        assert_eq!((lengths(&fewer.update), fewer.delete.len()), (vec![5], 2));
        let other = reconcile(&slices, vec![group(0..5, 81)], &like);
        assert_eq!((lengths(&other.create), other.delete.len()), (vec![5], 3));
        let none = reconcile(&slices, vec![group([], 80)], &like);
        assert_eq!(
            (lengths(&none.update), none.delete.len()),
            (vec![0], 2),
            "an empty one says that there is none"
        );
    }

    #[test]
    fn labels_follow() {
        let like = ObjectMeta::default();
        let slices = named(reconcile(&[], vec![group(0..2, 80)], &like).create);
        let labels = std::collections::BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let like = ObjectMeta { labels: Some(labels), ..like };
        let changes = reconcile(&slices, vec![group(0..2, 80)], &like);
        assert_eq!(changes.update[0].metadata.labels, like.labels);
    }
}
