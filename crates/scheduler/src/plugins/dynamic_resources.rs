//! Pods that ask for devices by resource claims: nothing here hands out devices, so they are told.

use crate::framework::{ClusterEvent, Plugin, PodInfo, PreFilter, Rejection, Snapshot};

pub(super) const NAME: &str = "DynamicResources";

pub(crate) struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, pod: &PodInfo, _: &Snapshot) -> Result<PreFilter, Rejection> {
        let asks = pod.spec().is_some_and(|spec| spec.resource_claims.iter().flatten().next().is_some());
        if asks {
            let reason = "spec.resourceClaims is not supported: nothing allocates devices in this cluster";
            return Err(Rejection::unresolvable(NAME, reason));
        }
        Ok(PreFilter::Skip)
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
    fn says_that_devices_are_not_handed_out() {
        let cluster = Cluster::of(&[json!({})]);
        assert_eq!(cluster.passing(&DynamicResources, &pod(json!({}))), ["n"]);
        let asks = pod(json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}));
        assert!(cluster.passing(&DynamicResources, &asks).is_empty());
    }
}
