//! What the launcher decides about an API server.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/server/options`; defaults are upstream's.

pub use crate::options::{FlagError, Options};
use crate::resources::ServiceCidr;
use crate::subresources::NodeDialer;
use component_base::Health;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The issuer of service account tokens unless told otherwise.
pub const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What an API server is made of, besides its storage and context.
pub struct Config {
    /// The cluster's certificate authority (PEM): signs the serving certificate, and whatever client may come.
    pub ca_pem: String,
    /// The serving certificate (PEM, chain allowed).
    pub cert_pem: String,
    /// Its key (PEM, PKCS#8 or SEC1).
    pub key_pem: String,
    /// The key (PEM, PKCS#8, P-256) that signs service account tokens.
    pub token_key_pem: String,
    /// `iss` of service account tokens.
    pub token_issuer: String,
    /// Where TLS connections arrive; none: from within the process only.
    pub listeners: Vec<TcpListener>,
    /// The authority (PEM) of proxies that speak for others in `X-Remote-*` headers.
    pub front_proxy_ca_pem: String,
    /// This server's own certificate as such a proxy (PEM), for the servers of aggregated APIs.
    pub front_proxy_cert_pem: String,
    /// Its key.
    pub front_proxy_key_pem: String,
    /// What upstream's flags say.
    pub options: Options,
    /// First address and prefix length of the range of cluster IPs; its family is that of Services which name none.
    pub service_cidr: (IpAddr, u8),
    /// The range of the other family, if Services may have both.
    pub secondary_service_cidr: Option<(IpAddr, u8)>,
    /// The name of the machine that it runs on, as its Lease tells it.
    pub hostname: String,
    /// The address that pods and others reach this server at.
    pub advertise_address: IpAddr,
    /// The port that belongs to it.
    pub advertise_port: u16,
    /// The way to the kubelets.
    pub nodes: Arc<dyn NodeDialer>,
    /// The health of the other components, as ComponentStatuses show it; the server adds the storage's.
    pub components: Health,
}

impl Config {
    /// The ranges of cluster IPs, that of the default family first.
    pub fn service_cidrs(&self) -> Vec<ServiceCidr> {
        let ranges = [self.service_cidr].into_iter().chain(self.secondary_service_cidr);
        ranges.map(|(address, prefix)| ServiceCidr::new(address, prefix)).collect()
    }

    /// The address of the Service `default/kubernetes`: the first of the range.
    pub fn first_service_ip(&self) -> IpAddr {
        ServiceCidr::new(self.service_cidr.0, self.service_cidr.1).first()
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are left out on purpose.
        f.debug_struct("Config")
            .field("token_issuer", &self.token_issuer)
            .field("service_cidr", &self.service_cidr)
            .field("secondary_service_cidr", &self.secondary_service_cidr)
            .field("advertise_address", &self.advertise_address)
            .finish_non_exhaustive()
    }
}
