//! What of the API the zone is made of, from shared watches.

use client::{Index, Informer, Informers, Key};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::IpAddr;
use std::sync::Arc;

/// A slice's service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What the zone asks about the cluster.
pub trait Objects {
    /// Whether there is a namespace.
    fn namespace(&self, name: &str) -> bool;
    /// A service.
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    /// The slices of a service.
    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>>;
    /// The services with this cluster address.
    fn services_at(&self, address: IpAddr) -> Vec<Arc<Service>>;
    /// The slices with this address, and whose they are.
    fn slices_with(&self, address: IpAddr) -> Vec<(Arc<Service>, Arc<EndpointSlice>)>;
    /// A number that is another once anything has changed.
    fn changes(&self) -> u64;
}

/// The cluster as it is.
pub struct Live {
    namespaces: Informer<Namespace>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    services_by_address: Index<Service>,
    slices_by_service: Index<EndpointSlice>,
    slices_by_address: Index<EndpointSlice>,
}

impl Live {
    /// Starts to watch, and waits until everything is known.
    pub(crate) async fn watch(informers: &Informers) -> Self {
        let (namespaces, services) = (informers.of::<Namespace>(), informers.of::<Service>());
        let slices = informers.of::<EndpointSlice>();
        let this = Self {
            services_by_address: services.index("address", cluster_addresses),
            slices_by_service: slices
                .index("service", |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect()),
            slices_by_address: slices.index("address", |slice| {
                let endpoints = slice.endpoints.iter().flatten();
                endpoints.flat_map(|endpoint| &endpoint.addresses).map(|address| canonical(address)).collect()
            }),
            namespaces,
            services,
            slices,
        };
        this.namespaces.synced().await;
        this.services.synced().await;
        this.slices.synced().await;
        this
    }
}

impl Objects for Live {
    fn namespace(&self, name: &str) -> bool {
        self.namespaces.get("", name).is_some()
    }

    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(namespace, name)
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices_by_service.get(&Key::new(namespace, service).to_string())
    }

    fn services_at(&self, address: IpAddr) -> Vec<Arc<Service>> {
        self.services_by_address.get(&address.to_string())
    }

    fn slices_with(&self, address: IpAddr) -> Vec<(Arc<Service>, Arc<EndpointSlice>)> {
        let slices = self.slices_by_address.get(&address.to_string());
        let with_service = slices
            .into_iter()
            .filter_map(|slice| Some((self.services.get_key(&service_of(&slice)?)?, slice)));
        with_service.collect()
    }

    fn changes(&self) -> u64 {
        // Each only grows.
        self.namespaces.changes() + self.services.changes() + self.slices.changes()
    }
}

fn cluster_addresses(service: &Service) -> Vec<String> {
    let spec = service.spec.as_ref();
    let addresses = spec.and_then(|spec| spec.cluster_ips.as_ref()).into_iter().flatten();
    addresses.map(|address| canonical(address)).collect()
}

/// One text an address, however it was written.
fn canonical(address: &str) -> String {
    address.parse().map_or_else(|_| address.to_owned(), |address: IpAddr| address.to_string())
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.clone()?, name.clone()))
}
