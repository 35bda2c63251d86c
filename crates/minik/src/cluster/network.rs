//! Services on this machine: the proxy, and the table of rules that is the profile's own.
//!
//! **Contract**: where rules cannot be changed the cluster runs without, and says so. The table is gone after a stop; what
//! a crash leaves goes with the next start or with `minik delete`.

use component_base::logging::chain;
use kube_proxy::{Error, Nftables};

/// The name of a profile's table.
fn table(profile: &str) -> String {
    let name: String = profile.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("minik-{name}")
}

/// The proxy's configuration; none where rules cannot be changed.
pub(super) async fn proxy(
    profile: &str,
    nodes: impl Iterator<Item = String>,
) -> Result<kube_proxy::Config, Error> {
    Nftables::check().await?;
    Ok(kube_proxy::Config {
        table: table(profile),
        dataplane: std::sync::Arc::new(Nftables),
        masquerade_all: !Nftables::sees_bridges(),
        nodes: nodes.collect(),
        interner: client::Interner::default(),
    })
}

/// Removes a profile's rules, where there can be any.
pub(crate) async fn remove(profile: &str) {
    if Nftables::check().await.is_ok()
        && let Err(error) = Nftables::remove(&table(profile)).await
    {
        tracing::warn!("remove the rules of services: {}", chain(&error));
    }
}
