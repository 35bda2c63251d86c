//! The profile's bridge, where one is configured.
//!
//! Contract: made when absent, found by name when present; a network of the same name that is not the profile's is
//! refused, never changed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use runtime::{Error, Result};

use crate::client::DockerRuntime;
use crate::config::NetworkConfig;
use crate::error;
use crate::labels::PROFILE_LABEL;

/// The network of containers that ask for none.
const DEFAULT_BRIDGE: &str = "bridge";

impl DockerRuntime {
    /// Makes the profile's network unless it exists. Without a configured network: nothing to do.
    pub(crate) async fn ensure_network(&self) -> Result<()> {
        let Some(network) = &self.config.network else { return Ok(()) };
        self.network_ready.get_or_try_init(|| self.make_network(network)).await.copied()
    }

    /// This machine's address in the pods' network, if the network has one. (Whether the engine runs on this machine is
    /// for the caller to find out.)
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn gateway(&self) -> Result<Option<IpAddr>> {
        self.ensure_network().await?;
        let name = self.config.network.as_ref().map_or(DEFAULT_BRIDGE, |network| network.name.as_str());
        let found = self.client.inspect_network(name, None).await.map_err(error::other("inspect network"))?;
        let pools = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(pools.iter().find_map(|pool| gateway(pool.gateway.as_deref(), pool.subnet.as_deref())))
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
        let subnet = network.subnet.clone().map(|subnet| Ipam {
            config: Some(vec![IpamConfig { subnet: Some(subnet), ..IpamConfig::default() }]),
            ..Ipam::default()
        });
        let request = NetworkCreateRequest {
            name: network.name.clone(),
            driver: Some("bridge".to_owned()),
            ipam: subnet,
            labels: Some(HashMap::from([(PROFILE_LABEL.to_owned(), self.config.profile.clone())])),
            ..NetworkCreateRequest::default()
        };
        self.client.create_network(request).await.map_err(error::other("create network"))?;
        Ok(())
    }

    /// Removes the profile's network. One that is gone: success.
    pub(crate) async fn remove_network(&self) -> Result<()> {
        let Some(network) = &self.config.network else { return Ok(()) };
        match self.client.remove_network(&network.name).await {
            Ok(()) => Ok(()),
            Err(error) if error::is_status(&error, 404) => Ok(()),
            Err(error) => Err(error::other("remove network")(error)),
        }
    }
}

/// The gateway of a pool of addresses: as the engine tells it, or, where it does not, the pool's first address, which
/// the engine takes for itself.
fn gateway(told: Option<&str>, subnet: Option<&str>) -> Option<IpAddr> {
    if let Some(told) = told.filter(|told| !told.is_empty()) {
        return told.parse().ok().filter(IpAddr::is_ipv4);
    }
    let network: Ipv4Addr = subnet?.split('/').next()?.parse().ok()?;
    Some(IpAddr::from(Ipv4Addr::from(u32::from(network).checked_add(1)?)))
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
            (Some("fd00::1"), Some("fd00::/64"), None),
            (None, Some("fd00::/64"), None),
            (None, None, None),
        ] {
            let expected = expected.and_then(|ip| ip.parse::<IpAddr>().ok());
            assert_eq!(gateway(told, subnet), expected, "{told:?} {subnet:?}");
        }
    }
}
