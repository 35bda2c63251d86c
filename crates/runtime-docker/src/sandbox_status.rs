//! `pod_sandbox_status`: state and addresses from one inspection.

use std::net::IpAddr;

use bollard::models::ContainerInspectResponse;
use jiff::Timestamp;
use runtime::{
    Error, NamespaceMode, NamespaceOptions, PodSandboxMetadata, PodSandboxStatus, Result, SandboxId,
    SandboxState,
};

use crate::client::DockerRuntime;
use crate::naming::Name;
use crate::{error, labels, time};

impl DockerRuntime {
    pub(crate) async fn sandbox_status(&self, id: &SandboxId) -> Result<PodSandboxStatus> {
        let found = self.client.inspect_container(id.as_str(), None).await;
        let found = found.map_err(error::sandbox("inspect pod sandbox", id.as_str()))?;
        let only_v6 = self.config.network.as_ref().is_some_and(|network| network.only_v6);
        describe(found, only_v6).ok_or_else(|| Error::sandbox_not_found(id.as_str()))
    }
}

/// None: the name is not a sandbox's.
fn describe(found: ContainerInspectResponse, only_v6: bool) -> Option<PodSandboxStatus> {
    let name = Name::parse(found.name.as_deref()?)?;
    let (labels, annotations) =
        labels::split(found.config.and_then(|config| config.labels).unwrap_or_default());
    let running = found.state.and_then(|state| state.running) == Some(true);
    let host = found.host_config.unwrap_or_default();
    let mode = |text: Option<&String>, other| {
        if text.is_some_and(|text| text == "host") { NamespaceMode::Node } else { other }
    };
    let namespaces = NamespaceOptions {
        network: mode(host.network_mode.as_ref(), NamespaceMode::Pod),
        pid: mode(host.pid_mode.as_ref(), NamespaceMode::Container),
        ipc: mode(host.ipc_mode.as_ref(), NamespaceMode::Pod),
    };
    let mut ips: Vec<IpAddr> = Vec::new();
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    for endpoint in networks.values().filter(|_| running && namespaces.network == NamespaceMode::Pod) {
        let texts = [&endpoint.ip_address, &endpoint.global_ipv6_address];
        ips.extend(texts.into_iter().flatten().filter_map(|text| text.parse::<IpAddr>().ok()));
    }
    ips.retain(|ip| ip.is_ipv6() || !only_v6);
    ips.sort_by_key(IpAddr::is_ipv6);
    Some(PodSandboxStatus {
        id: found.id?.into(),
        metadata: PodSandboxMetadata {
            name: name.pod,
            uid: name.uid,
            namespace: name.namespace,
            attempt: name.attempt,
        },
        state: if running { SandboxState::Ready } else { SandboxState::NotReady },
        created_at: time::parse(found.created.as_deref()).unwrap_or(Timestamp::UNIX_EPOCH),
        ips,
        namespaces,
        labels,
        annotations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_of_a_family_that_pods_do_not_have_are_not_told() {
        let found = json!({
            "Id": "1", "Name": "/k8s_POD_web_default_uid_0", "State": {"Running": true},
            "NetworkSettings": {"Networks": {"n": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": "fd00::2"}}},
        });
        for (only_v6, expected) in [(false, &["172.18.0.2", "fd00::2"][..]), (true, &["fd00::2"])] {
            let found = serde_json::from_value(found.clone()).expect("an inspection");
            let ips = describe(found, only_v6).expect("a sandbox").ips;
            assert_eq!(ips.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }
}
