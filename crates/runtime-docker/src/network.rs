//! The profile's bridge, where one is configured.
//!
//! Contract: made when absent, found by name when present; a network of the same name that is not the profile's is
//! refused, never changed.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use runtime::{Error, Result};

use crate::client::DockerRuntime;
use crate::config::NetworkConfig;
use crate::error;
use crate::labels::PROFILE_LABEL;

impl DockerRuntime {
    /// Makes the profile's network unless it exists. Without a configured network: nothing to do.
    pub(crate) async fn ensure_network(&self) -> Result<()> {
        let Some(network) = &self.config.network else { return Ok(()) };
        self.network_ready.get_or_try_init(|| self.make_network(network)).await.copied()
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
