//! The profile's bridge, where one is configured.
//!
//! Contract: made when absent, found by name when present; a network of the same name that is not the profile's is
//! refused, never changed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use runtime::{Error, Result};

use crate::client::DockerRuntime;
use crate::config::NetworkConfig;
use crate::error;
use crate::labels::PROFILE_LABEL;

/// The network of containers that ask for none.
const DEFAULT_BRIDGE: &str = "bridge";
/// An option of a network.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

impl DockerRuntime {
    /// Makes the profile's network unless it exists. Without a configured network: nothing to do.
    pub(crate) async fn ensure_network(&self) -> Result<()> {
        let Some(network) = &self.config.network else { return Ok(()) };
        self.network_ready.get_or_try_init(|| self.make_network(network)).await.copied()
    }

    /// This machine's addresses in the pods' network, as far as the network has any, that of IPv4 first. (Whether the engine runs on this machine is
    /// for the caller to find out.)
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn gateways(&self) -> Result<Vec<IpAddr>> {
        let pools = self.pools().await?;
        let mut gateways: Vec<IpAddr> = pools
            .iter()
            .filter_map(|pool| gateway(pool.gateway.as_deref(), pool.subnet.as_deref()))
            .collect();
        gateways.sort_by_key(IpAddr::is_ipv6);
        Ok(gateways)
    }

    /// The blocks of addresses that pods get theirs from, that of IPv4 first.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn subnets(&self) -> Result<Vec<String>> {
        let pools = self.pools().await?;
        let mut subnets: Vec<String> = pools.into_iter().filter_map(|pool| pool.subnet).collect();
        subnets.sort_by_key(|subnet| subnet.contains(':'));
        Ok(subnets)
    }

    /// The machine's name of the pods' bridge.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn bridge(&self) -> Result<Option<String>> {
        let found = self.network().await?;
        let named = found.options.unwrap_or_default().remove(BRIDGE_NAME);
        // **Upstream**: libnetwork's `parseNetworkOptions`.
        Ok(named.or_else(|| Some(format!("br-{}", found.id?.get(..12)?))))
    }

    async fn pools(&self) -> Result<Vec<IpamConfig>> {
        Ok(self.network().await?.ipam.and_then(|ipam| ipam.config).unwrap_or_default())
    }

    async fn network(&self) -> Result<NetworkInspect> {
        self.ensure_network().await?;
        let name = self.config.network.as_ref().map_or(DEFAULT_BRIDGE, |network| network.name.as_str());
        self.client.inspect_network(name, None).await.map_err(error::other("inspect network"))
    }

    async fn make_network(&self, network: &NetworkConfig) -> Result<()> {
        match self.client.inspect_network(&network.name, None).await {
            Ok(found) => {
                let owner = found.labels.unwrap_or_default().remove(PROFILE_LABEL);
                if owner.as_deref() == Some(&self.config.profile) {
                    return Ok(());
                }
                let message = format!(
                    "the network {} exists and is not of profile {}",
                    network.name, self.config.profile
                );
                return Err(Error::Invalid { message });
            }
            Err(error) if error::is_status(&error, 404) => {}
            Err(error) => return Err(error::other("inspect network")(error)),
        }
        let subnets = network.subnet.iter().chain(&network.subnet_v6);
        let pools: Vec<IpamConfig> = subnets
            .map(|subnet| IpamConfig { subnet: Some(subnet.clone()), ..IpamConfig::default() })
            .collect();
        let ipam = (!pools.is_empty()).then(|| Ipam { config: Some(pools), ..Ipam::default() });
        let request = NetworkCreateRequest {
            name: network.name.clone(),
            driver: Some("bridge".to_owned()),
            ipam,
            // Engines before 28 do not know it, and have IPv4 always.
            enable_ipv4: network.only_v6.then_some(false),
            enable_ipv6: network.subnet_v6.as_ref().map(|_| true),
            labels: Some(HashMap::from([(PROFILE_LABEL.to_owned(), self.config.profile.clone())])),
            ..NetworkCreateRequest::default()
        };
        self.client.create_network(request).await.map_err(error::other("create network"))?;
        Ok(())
    }

    /// Removes the profile's network, whether or not one is configured now. One that is gone: success.
    pub(crate) async fn remove_network(&self) -> Result<()> {
        let label = format!("{PROFILE_LABEL}={}", self.config.profile);
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found = self.client.list_networks(Some(options)).await.map_err(error::other("list networks"))?;
        for id in found.into_iter().filter_map(|network| network.id) {
            match self.client.remove_network(&id).await {
                Err(error) if !error::is_status(&error, 404) => {
                    return Err(error::other("remove network")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The gateway of a pool of addresses: as the engine tells it, or, where it does not, the pool's first address, which
/// the engine takes for itself.
fn gateway(told: Option<&str>, subnet: Option<&str>) -> Option<IpAddr> {
    if let Some(told) = told.filter(|told| !told.is_empty()) {
        return told.parse().ok();
    }
    Some(match subnet?.split('/').next()?.parse().ok()? {
        IpAddr::V4(network) => Ipv4Addr::from(u32::from(network).checked_add(1)?).into(),
        IpAddr::V6(network) => Ipv6Addr::from(u128::from(network).checked_add(1)?).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_what_the_engine_says_or_the_first_address() {
        for (told, subnet, expected) in [
            (Some("172.17.0.5"), Some("172.17.0.0/16"), Some("172.17.0.5")),
            (None, Some("172.17.0.0/16"), Some("172.17.0.1")),
            (Some(""), Some("10.9.0.0/24"), Some("10.9.0.1")),
            (Some("fd00::7"), Some("fd00::/64"), Some("fd00::7")),
            (None, Some("fd00::/64"), Some("fd00::1")),
            (None, None, None),
        ] {
            let expected = expected.and_then(|ip| ip.parse::<IpAddr>().ok());
            assert_eq!(gateway(told, subnet), expected, "{told:?} {subnet:?}");
        }
    }
}
