//! What a pod reads of the network: `/etc/hosts`, its host name, `/etc/resolv.conf`.
//!
//! **Contract**: pure, but for reading the node's own files.
//! **Upstream**: `pkg/kubelet/kubelet_pods.go` (`managedHostsFileContent`, `GeneratePodHostNameAndDomain`),
//! `pkg/kubelet/network/dns`.

use api::k8s_openapi::api::core::v1::{HostAlias, Pod, PodSpec};
use runtime::DnsConfig;
use std::net::IpAddr;

/// What `pod.spec.hostname` may be: `HOST_NAME_MAX` of Linux less one.
const HOSTNAME_MAX: usize = 63;
/// `HOST_NAME_MAX` of Linux.
const FQDN_MAX: usize = 64;
/// `MaxDNSNameservers`, `MaxDNSSearchPaths`, `MaxDNSSearchListChars`.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
/// The node's resolvers, and where systemd-resolved keeps them when the first file only names itself.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// What a cluster tells its kubelets of DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDns {
    /// Addresses of the cluster's DNS service; empty: there is none.
    pub servers: Vec<IpAddr>,
    /// `cluster.local`.
    pub domain: String,
}

/// `cluster.local`, and no DNS service.
impl Default for ClusterDns {
    fn default() -> Self {
        Self { servers: Vec::new(), domain: "cluster.local".to_owned() }
    }
}

/// A pod's host name and, if it has one, its domain.
pub(crate) fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let Some(spec) = &pod.spec else { return Default::default() };
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (name.to_owned(), None);
    }
    let name = spec.hostname.as_deref().filter(|h| !h.is_empty()).or(pod.metadata.name.as_deref());
    // A name that is too long is cut, and must not end in a separator then.
    let name: String = name.unwrap_or_default().chars().take(HOSTNAME_MAX).collect();
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
    (name, subdomain.map(|subdomain| format!("{subdomain}.{namespace}.svc.{cluster_domain}")))
}

/// The name that the pod's kernel has.
pub(crate) fn node_name(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (name, domain) = hostname_and_domain(pod, cluster_domain);
    let as_fqdn = pod.spec.as_ref().and_then(|s| s.set_hostname_as_fqdn) == Some(true);
    let Some(domain) = domain.filter(|_| as_fqdn) else { return Ok(name) };
    let fqdn = format!("{name}.{domain}");
    if fqdn.len() > FQDN_MAX {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long \
             ({FQDN_MAX} characters is the max, {} characters requested)",
            fqdn.len()
        ));
    }
    Ok(fqdn)
}

/// The content of a pod's `/etc/hosts`; `of_node` is the node's own, for pods on its network.
pub(crate) fn hosts_file(pod: &Pod, ips: &[String], cluster_domain: &str, of_node: &str) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut text = if spec.host_network == Some(true) {
        format!("# Kubernetes-managed hosts file (host network).\n{of_node}")
    } else {
        let mut text = "# Kubernetes-managed hosts file.\n\
            127.0.0.1\tlocalhost\n\
            ::1\tlocalhost ip6-localhost ip6-loopback\n\
            fe00::0\tip6-localnet\n\
            fe00::0\tip6-mcastprefix\n\
            fe00::1\tip6-allnodes\n\
            fe00::2\tip6-allrouters\n"
            .to_owned();
        let (name, domain) = hostname_and_domain(pod, cluster_domain);
        let names = domain.map_or_else(|| name.clone(), |domain| format!("{name}.{domain}\t{name}"));
        for ip in ips {
            text.push_str(&format!("{ip}\t{names}\n"));
        }
        text
    };
    text.push_str(&aliases(spec.host_aliases.as_deref().unwrap_or_default()));
    text
}

fn aliases(list: &[HostAlias]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut text = "\n# Entries added by HostAliases.\n".to_owned();
    for alias in list {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

/// The resolvers of a pod, and what is to be told of those that were left out; none: the engine's choice, which is the
/// node's.
pub(crate) fn dns(
    pod: &Pod,
    cluster: &ClusterDns,
    of_node: impl Fn() -> DnsConfig,
) -> Option<(DnsConfig, Vec<String>)> {
    let spec = pod.spec.as_ref()?;
    let asked = spec.dns_config.as_ref();
    let mut config = match policy(spec, cluster) {
        Policy::Nothing => DnsConfig::default(),
        Policy::Node => {
            // The engine takes the node's file better than we do: it knows what a local resolver means.
            asked?;
            of_node()
        }
        Policy::Cluster => {
            let (domain, namespace) =
                (&cluster.domain, pod.metadata.namespace.as_deref().unwrap_or_default());
            let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            DnsConfig {
                servers: cluster.servers.iter().map(IpAddr::to_string).collect(),
                searches: own.into_iter().chain(of_node().searches).collect(),
                options: vec!["ndots:5".to_owned()],
            }
        }
    };
    if let Some(asked) = asked {
        config.servers.extend(asked.nameservers.iter().flatten().cloned());
        config.searches.extend(asked.searches.iter().flatten().cloned());
        for option in asked.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            config.options.retain(|o| o.split(':').next() != Some(&name));
            config.options.push(match &option.value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name,
            });
        }
    }
    unique(&mut config.servers);
    unique(&mut config.searches);
    let asked_for = (config.servers.len(), config.searches.len());
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    while config.searches.join(" ").len() > MAX_SEARCH_CHARS {
        config.searches.pop();
    }
    let mut omitted = Vec::new();
    if config.servers.len() < asked_for.0 {
        omitted.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            config.servers.join(" ")
        ));
    }
    if config.searches.len() < asked_for.1 {
        omitted.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            config.searches.join(" ")
        ));
    }
    Some((config, omitted))
}

enum Policy {
    Cluster,
    Node,
    Nothing,
}

fn policy(spec: &PodSpec, cluster: &ClusterDns) -> Policy {
    let on_node = spec.host_network == Some(true);
    match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => Policy::Nothing,
        "Default" => Policy::Node,
        "ClusterFirst" if on_node => Policy::Node,
        // Upstream falls back, too.
        _ if cluster.servers.is_empty() => Policy::Node,
        _ => Policy::Cluster,
    }
}

fn unique(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// The node's own resolvers.
pub(crate) fn dns_of_node() -> DnsConfig {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| parse(&text)).unwrap_or_default();
    let own = read(RESOLV_CONF);
    let is_local = |server: &String| server.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !own.servers.is_empty() && own.servers.iter().all(is_local) {
        let behind = read(RESOLVED_CONF);
        if !behind.servers.is_empty() {
            return behind;
        }
    }
    own
}

/// A `resolv.conf`; of several `search` or `options` lines the last counts.
fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let first = words.next();
        let rest = || words.clone().map(str::to_owned).collect::<Vec<_>>();
        match first {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = rest().into_iter().filter(|s| s != ".").collect(),
            Some("options") => config.options = rest(),
            _ => {}
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        let meta = json!({"name": "p", "namespace": "ns"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a pod")
    }

    #[test]
    fn a_hostname_is_cut_at_63_and_ends_in_a_letter_or_digit() {
        let mut long = pod(json!({"containers": []}));
        long.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b".repeat(20)));
        assert_eq!(hostname_and_domain(&long, "d").0, "a".repeat(62));
    }

    #[test]
    fn a_name_may_be_fully_qualified() {
        let spec = json!({"hostname": "h", "subdomain": "sub", "setHostnameAsFQDN": true, "containers": []});
        assert_eq!(node_name(&pod(spec), "cluster.local"), Ok("h.sub.ns.svc.cluster.local".to_owned()));
        let long = json!({"subdomain": "s".repeat(60), "setHostnameAsFQDN": true, "containers": []});
        assert!(node_name(&pod(long), "cluster.local").is_err());
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let spec = json!({"subdomain": "sub", "containers": [],
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}]});
        let text = hosts_file(&pod(spec), &["10.0.0.5".to_owned()], "cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with(
            "10.0.0.5\tp.sub.ns.svc.cluster.local\tp\n\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"
        ));
        let on_node =
            hosts_file(&pod(json!({"hostNetwork": true, "containers": []})), &[], "d", "1.1.1.1 x\n");
        assert_eq!(on_node, "# Kubernetes-managed hosts file (host network).\n1.1.1.1 x\n");
    }

    #[test]
    fn policies_choose_the_resolvers() {
        let cluster = ClusterDns {
            servers: vec!["10.96.0.10".parse().expect("an address")],
            domain: "cluster.local".to_owned(),
        };
        let node = || parse("nameserver 9.9.9.9\nsearch corp .\noptions timeout:1\n");
        let config = json!({"nameservers": ["1.1.1.1"], "searches": ["x", "corp"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        let own = "ns.svc.cluster.local svc.cluster.local cluster.local corp";
        for (spec, expected) in [
            (json!({}), Some(format!("10.96.0.10|{own}|ndots:5"))),
            (json!({"hostNetwork": true}), None),
            (
                json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
                Some(format!("10.96.0.10|{own}|ndots:5")),
            ),
            (json!({"dnsPolicy": "Default"}), None),
            (
                json!({"dnsPolicy": "Default", "dnsConfig": config}),
                Some("9.9.9.9,1.1.1.1|corp x|timeout:1 ndots:2 edns0".to_owned()),
            ),
            (
                json!({"dnsPolicy": "None", "dnsConfig": config}),
                Some("1.1.1.1|x corp|ndots:2 edns0".to_owned()),
            ),
            (json!({"dnsConfig": config}), Some(format!("10.96.0.10,1.1.1.1|{own} x|ndots:2 edns0"))),
        ] {
            let mut spec = spec;
            spec["containers"] = json!([]);
            let got = dns(&pod(spec.clone()), &cluster, node);
            assert!(got.as_ref().is_none_or(|(_, omitted)| omitted.is_empty()), "{spec}");
            let shown = got
                .map(|(config, _)| config)
                .map(|c| format!("{}|{}|{}", c.servers.join(","), c.searches.join(" "), c.options.join(" ")));
            assert_eq!(shown, expected, "{spec}");
        }
    }

    #[test]
    fn what_is_too_much_for_a_resolver_is_left_out_and_told() {
        let node = || parse("nameserver 9.9.9.9\nnameserver 8.8.8.8\n");
        let spec = json!({"dnsPolicy": "Default", "containers": [],
            "dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2"], "searches": ["a".repeat(2000), "b".repeat(60)]}});
        let (config, omitted) = dns(&pod(spec), &ClusterDns::default(), node).expect("resolvers");
        assert_eq!((config.servers.len(), config.searches.len()), (3, 1));
        assert_eq!(
            omitted[0],
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
             9.9.9.9 8.8.8.8 1.1.1.1"
        );
        assert!(
            omitted[1].starts_with("Search Line limits were exceeded, some search paths have been omitted")
        );
    }
}
