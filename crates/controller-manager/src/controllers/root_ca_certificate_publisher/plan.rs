//! How a namespace's CA ConfigMap differs from what it should be.

use crate::controllers::namespace::is_active;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// The ConfigMap's name.
pub(super) const CONFIG_MAP: &str = api::well_known::ROOT_CA_CONFIG_MAP;
/// Its one key.
const CA: &str = "ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Leave,
    Create(ConfigMap),
    Repair(ConfigMap),
}

pub(super) fn step(namespace: Option<&Namespace>, known: Option<&ConfigMap>, root_ca: &str) -> Step {
    let Some(namespace) = namespace.filter(|namespace| is_active(namespace)) else { return Step::Leave };
    let data = BTreeMap::from([(CA.to_owned(), root_ca.to_owned())]);
    let description = (DESCRIPTION_KEY.to_owned(), DESCRIPTION.to_owned());
    let Some(known) = known else {
        let metadata = ObjectMeta {
            name: Some(CONFIG_MAP.to_owned()),
            namespace: namespace.metadata.name.clone(),
            annotations: Some(BTreeMap::from([description])),
            ..ObjectMeta::default()
        };
        return Step::Create(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() });
    };
    let described = known.metadata.annotations.iter().flatten().any(|(key, _)| key == DESCRIPTION_KEY);
    if described && known.data.as_ref() == Some(&data) {
        return Step::Leave;
    }
    let mut repaired = known.clone();
    repaired.data = Some(data);
    repaired.metadata.annotations.get_or_insert_default().extend([description]);
    Step::Repair(repaired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::build;

    #[test]
    fn the_map_is_made_and_repaired_while_the_namespace_is_active() {
        let active = build::namespace("a").get();
        let Step::Create(good) = step(Some(&active), None, "CA") else { panic!("expected a new map") };
        assert_eq!(good.metadata.namespace.as_deref(), Some("a"));
        assert_eq!(step(Some(&active), Some(&good), "CA"), Step::Leave);

        let mut edited = good.clone();
        edited.data = Some(BTreeMap::from([("ca.crt".to_owned(), "other".to_owned())]));
        assert_eq!(step(Some(&active), Some(&edited), "CA"), Step::Repair(good.clone()));

        let mut undescribed = good.clone();
        undescribed.metadata.annotations = None;
        assert_eq!(step(Some(&active), Some(&undescribed), "CA"), Step::Repair(good.clone()));

        let going = build::namespace("a").terminating().get();
        assert_eq!(step(Some(&going), None, "CA"), Step::Leave);
        assert_eq!(step(None, None, "CA"), Step::Leave);
    }
}
