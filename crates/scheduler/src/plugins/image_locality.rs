//! Nodes that have a pod's images already are better, the more so the larger those are.

use crate::framework::{
    ClusterEvent, MAX_NODE_SCORE, NodeInfo, Plugin, PodInfo, Snapshot, State, View, normalized_image,
};

pub(super) const NAME: &str = "ImageLocality";

const MB: i64 = 1024 * 1024;
/// Images of less than this together do not count (`minThreshold`).
const MIN: i64 = 23 * MB;
/// What counts most, a container (`maxContainerThreshold`).
const MAX: i64 = 1000 * MB;

pub(crate) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        NAME
    }

    fn default_weight(&self) -> i64 {
        1
    }

    fn pre_score(&self, pod: &PodInfo, cluster: &Snapshot, _: &[&NodeInfo]) -> Option<State> {
        let spec = pod.spec()?;
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let of_containers = containers.filter_map(|container| container.image.as_deref());
        let volumes = spec.volumes.iter().flatten();
        let of_volumes = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
        let names: Vec<String> = of_containers.chain(of_volumes).map(normalized_image).collect();
        let known = names.iter().any(|name| cluster.image_nodes(name) > 0);
        known.then(|| Box::new(names) as State)
    }

    /// The sizes of the images that the node has; one that few nodes have counts less, lest all pods go there.
    fn score(&self, view: &View<'_>, node: &NodeInfo) -> i64 {
        let names = view.state::<Vec<String>>();
        let nodes = view.cluster.len() as f64;
        let scaled = names.iter().filter_map(|name| {
            let size = *node.images.get(name)?;
            Some((size as f64 * (view.cluster.image_nodes(name) as f64 / nodes)) as i64)
        });
        let most = (MAX * names.len() as i64).max(MIN + 1);
        let sum = scaled.sum::<i64>().clamp(MIN, most);
        MAX_NODE_SCORE * (sum - MIN) / (most - MIN)
    }

    fn may_help(&self, _: &PodInfo, _: &ClusterEvent) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn large_images_that_are_there_count() {
        let node = |name: &str, images: &[(&str, i64)]| {
            let image = |(name, size): &(&str, i64)| json!({"names": [name], "sizeBytes": size * MB});
            let images: Vec<_> = images.iter().map(image).collect();
            json!({"metadata": {"name": name}, "status": {"images": images}})
        };
        let cluster = Cluster::of(&[
            node("both", &[("web:1", 500), ("side:latest", 250)]),
            node("one", &[("web:1", 500)]),
            node("none", &[("other:1", 900)]),
        ]);
        let asks =
            pod(json!({"containers": [{"name": "a", "image": "web:1"}, {"name": "b", "image": "side"}]}));
        // web is on two of three nodes, side on one.
        let both = 100 * ((500 * MB * 2 / 3 + 250 * MB / 3) - MIN) / (2 * MAX - MIN);
        let one = 100 * (500 * MB * 2 / 3 - MIN) / (2 * MAX - MIN);
        let expected = vec![("both".to_owned(), both), ("none".to_owned(), 0), ("one".to_owned(), one)];
        assert_eq!(cluster.scores(&ImageLocality, &asks), Some(expected));
        let unknown = pod(json!({"containers": [{"name": "a", "image": "nobody:has"}]}));
        assert_eq!(cluster.scores(&ImageLocality, &unknown), None);
    }
}
