//! Objects in a line: `build::pod("p").on("n1").phase("Running").get()`.
//!
//! **Contract**: what a builder makes is complete enough to be stored: names, a namespace where there must be one, a
//! container in each pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, Namespace, NamespaceSpec, NamespaceStatus, Node, NodeCondition, NodeSpec, NodeStatus, Pod,
    PodCondition, PodSpec, PodStatus, ResourceRequirements, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

/// 2026-01-01T00:00:00Z, where simulated time starts, plus some seconds.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).expect("a time within range")
}

/// An object under construction.
#[derive(Clone, Debug)]
pub struct Builder<K>(K);

impl<K> Builder<K> {
    /// The object.
    pub fn get(self) -> K {
        self.0
    }

    /// Changes what has no method of its own.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut K)) -> Self {
        change(&mut self.0);
        self
    }
}

impl<K: kube::Resource<DynamicType = ()>> Builder<K> {
    /// In this namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        self.meta(|meta| meta.namespace = Some(namespace.to_owned()))
    }

    /// With this identity.
    #[must_use]
    pub fn uid(self, uid: &str) -> Self {
        self.meta(|meta| meta.uid = Some(uid.to_owned()))
    }

    /// At this revision.
    #[must_use]
    pub fn revision(self, revision: u64) -> Self {
        self.meta(|meta| meta.resource_version = Some(revision.to_string()))
    }

    /// With one more label.
    #[must_use]
    pub fn label(self, key: &str, value: &str) -> Self {
        self.meta(|meta| {
            meta.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        })
    }

    /// With one more annotation.
    #[must_use]
    pub fn annotation(self, key: &str, value: &str) -> Self {
        self.meta(|meta| {
            meta.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        })
    }

    /// With one more finalizer.
    #[must_use]
    pub fn finalizer(self, name: &str) -> Self {
        self.meta(|meta| meta.finalizers.get_or_insert_default().push(name.to_owned()))
    }

    /// Created then.
    #[must_use]
    pub fn created(self, time: Timestamp) -> Self {
        self.meta(|meta| meta.creation_timestamp = Some(Time(time)))
    }

    /// Being deleted since then.
    #[must_use]
    pub fn deleted(self, time: Timestamp) -> Self {
        self.meta(|meta| meta.deletion_timestamp = Some(Time(time)))
    }

    fn meta(mut self, change: impl FnOnce(&mut ObjectMeta)) -> Self {
        change(self.0.meta_mut());
        self
    }
}

fn named(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    }
}

/// An active namespace.
pub fn namespace(name: &str) -> Builder<Namespace> {
    Builder(Namespace {
        metadata: named(name, None),
        spec: Some(NamespaceSpec { finalizers: Some(vec!["kubernetes".to_owned()]) }),
        status: Some(NamespaceStatus { phase: Some("Active".to_owned()), conditions: None }),
    })
}

impl Builder<Namespace> {
    /// Being deleted since [`at`]`(0)`.
    #[must_use]
    pub fn terminating(self) -> Self {
        self.deleted(at(0)).with(|namespace| {
            namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
        })
    }
}

/// A pending pod in `default` with one container of image `busybox`.
pub fn pod(name: &str) -> Builder<Pod> {
    let container =
        Container { name: "main".to_owned(), image: Some("busybox".to_owned()), ..Container::default() };
    Builder(Pod {
        metadata: named(name, Some("default")),
        spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
        status: Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() }),
    })
}

impl Builder<Pod> {
    /// Bound to this node.
    #[must_use]
    pub fn on(self, node: &str) -> Self {
        self.spec(|spec| spec.node_name = Some(node.to_owned()))
    }

    /// In this phase.
    #[must_use]
    pub fn phase(self, phase: &str) -> Self {
        self.status(|status| status.phase = Some(phase.to_owned()))
    }

    /// With this condition.
    #[must_use]
    pub fn condition(self, kind: &str, value: &str) -> Self {
        self.status(|status| {
            status.conditions.get_or_insert_default().push(PodCondition {
                type_: kind.to_owned(),
                status: value.to_owned(),
                ..PodCondition::default()
            });
        })
    }

    /// Its first container asks for this much (`cpu`, `500m`).
    #[must_use]
    pub fn request(self, resource: &str, amount: &str) -> Self {
        self.spec(|spec| {
            let resources = spec.containers[0].resources.get_or_insert_with(ResourceRequirements::default);
            let requests = resources.requests.get_or_insert_default();
            requests.insert(resource.to_owned(), Quantity(amount.to_owned()));
        })
    }

    /// Tolerates a taint; for this long if a time is given.
    #[must_use]
    pub fn tolerates(self, key: &str, effect: &str, seconds: Option<i64>) -> Self {
        self.spec(|spec| {
            spec.tolerations.get_or_insert_default().push(Toleration {
                key: (!key.is_empty()).then(|| key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: (!effect.is_empty()).then(|| effect.to_owned()),
                toleration_seconds: seconds,
                value: None,
            });
        })
    }

    /// May take this long to end.
    #[must_use]
    pub fn grace(self, seconds: i64) -> Self {
        self.spec(|spec| spec.termination_grace_period_seconds = Some(seconds))
    }

    fn spec(self, change: impl FnOnce(&mut PodSpec)) -> Self {
        self.with(|pod| change(pod.spec.get_or_insert_default()))
    }

    fn status(self, change: impl FnOnce(&mut PodStatus)) -> Self {
        self.with(|pod| change(pod.status.get_or_insert_default()))
    }
}

/// A node without conditions, labelled with its host name.
pub fn node(name: &str) -> Builder<Node> {
    let node = Node {
        metadata: named(name, None),
        spec: Some(NodeSpec::default()),
        status: Some(NodeStatus::default()),
    };
    Builder(node).label("kubernetes.io/hostname", name)
}

impl Builder<Node> {
    /// With this condition.
    #[must_use]
    pub fn condition(self, kind: &str, value: &str) -> Self {
        self.with(|node| {
            let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
            conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: value.to_owned(),
                ..NodeCondition::default()
            });
        })
    }

    /// With this taint.
    #[must_use]
    pub fn taint(self, key: &str, effect: &str, since: Option<Timestamp>) -> Self {
        self.with(|node| {
            node.spec.get_or_insert_default().taints.get_or_insert_default().push(Taint {
                key: key.to_owned(),
                value: None,
                effect: effect.to_owned(),
                time_added: since.map(Time),
            });
        })
    }

    /// Closed for new pods.
    #[must_use]
    pub fn unschedulable(self) -> Self {
        self.with(|node| node.spec.get_or_insert_default().unschedulable = Some(true))
    }

    /// Has and offers this much (`cpu`, `4`).
    #[must_use]
    pub fn capacity(self, resource: &str, amount: &str) -> Self {
        self.with(|node| {
            let status = node.status.get_or_insert_default();
            for amounts in [&mut status.capacity, &mut status.allocatable] {
                amounts.get_or_insert_default().insert(resource.to_owned(), Quantity(amount.to_owned()));
            }
        })
    }
}
