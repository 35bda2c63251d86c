//! Tables of names and their records.

use super::*;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// Objects as they are in the API.
#[derive(Default)]
pub(crate) struct Fixed {
    services: Vec<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
    pub(crate) changes: AtomicU64,
}

impl Objects for Fixed {
    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn namespace(&self, name: &str) -> bool {
        ["default", "shop"].contains(&name)
    }

    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        let is = |service: &&Arc<Service>| {
            let meta = &service.metadata;
            meta.namespace.as_deref() == Some(namespace) && meta.name.as_deref() == Some(name)
        };
        self.services.iter().find(is).cloned()
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        let is = |slice: &&Arc<EndpointSlice>| {
            slice.metadata.namespace.as_deref() == Some(namespace) && service_of(slice) == service
        };
        self.slices.iter().filter(is).cloned().collect()
    }

    fn services_at(&self, address: IpAddr) -> Vec<Arc<Service>> {
        let has = |service: &&Arc<Service>| {
            service.spec.as_ref().is_some_and(|spec| cluster_addresses(spec).contains(&address))
        };
        self.services.iter().filter(has).cloned().collect()
    }

    fn slices_with(&self, address: IpAddr) -> Vec<(Arc<Service>, Arc<EndpointSlice>)> {
        let text = address.to_string();
        let has = |slice: &&Arc<EndpointSlice>| {
            slice.endpoints.iter().flatten().any(|endpoint| endpoint.addresses.contains(&text))
        };
        let with = |slice: &Arc<EndpointSlice>| {
            Some((self.service(slice.metadata.namespace.as_deref()?, &service_of(slice))?, slice.clone()))
        };
        self.slices.iter().filter(has).filter_map(with).collect()
    }
}

fn service_of(slice: &EndpointSlice) -> String {
    slice.metadata.labels.as_ref().unwrap()["kubernetes.io/service-name"].clone()
}

fn service(name: &str, spec: Value) -> Arc<Service> {
    let service = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    Arc::new(serde_json::from_value(service).unwrap())
}

fn slice(service: &str, family: &str, endpoints: Value) -> Arc<EndpointSlice> {
    let slice = json!({
        "metadata": {"name": format!("{service}-x"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": family, "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
    });
    Arc::new(serde_json::from_value(slice).unwrap())
}

/// A service of each sort.
pub(crate) fn objects() -> Fixed {
    let ports = json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let services = vec![
        service("web", json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": ports})),
        service(
            "dual",
            json!({"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8", "fd00::8"], "ports": [{"port": 80}]}),
        ),
        service("db", json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": ports})),
        service("none", json!({"clusterIP": "None"})),
        service("ext", json!({"type": "ExternalName", "externalName": "example.com"})),
        service("alias", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"})),
        service(
            "circle",
            json!({"type": "ExternalName", "externalName": "circle.default.svc.cluster.local"}),
        ),
    ];
    let slices = vec![
        slice("web", "IPv4", json!([{"addresses": ["10.1.0.5"], "conditions": {"ready": true}}])),
        slice(
            "db",
            "IPv4",
            json!([
                {"addresses": ["10.1.0.1"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.1.0.2"], "conditions": {}},
                {"addresses": ["10.1.0.3"], "hostname": "db-2", "conditions": {"ready": false}},
            ]),
        ),
        slice("db", "IPv6", json!([{"addresses": ["fd00::1"], "hostname": "db-0"}])),
        slice("none", "IPv4", json!([{"addresses": ["10.1.0.7"], "conditions": {"ready": false}}])),
    ];
    Fixed { services, slices, ..Fixed::default() }
}

pub(crate) fn zone() -> Zone {
    Zone::new("cluster.local", "10.96.0.10".parse().unwrap(), 7).unwrap()
}

fn text(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| format!("{} {}", record.name, record.data)).collect()
}

#[test]
fn names_have_the_records_of_the_specification() {
    use RecordType::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
    let (zone, objects) = (zone(), objects());
    let db_0 = "db-0.db.default.svc.cluster.local.";
    let db_1 = "10-1-0-2.db.default.svc.cluster.local.";
    for (name, kind, expected) in [
        ("cluster.local", SOA, vec!["ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"]),
        ("cluster.local", NS, vec!["ns.dns.cluster.local."]),
        ("ns.dns.cluster.local", A, vec!["10.96.0.10"]),
        ("dns-version.cluster.local", TXT, vec!["1.1.0"]),
        ("web.default.svc.cluster.local", A, vec!["10.96.0.9"]),
        ("WEB.Default.svc.Cluster.LOCAL", A, vec!["10.96.0.9"]),
        ("dual.default.svc.cluster.local", A, vec!["10.96.0.8"]),
        ("dual.default.svc.cluster.local", AAAA, vec!["fd00::8"]),
        ("db.default.svc.cluster.local", A, vec!["10.1.0.1", "10.1.0.2"]),
        ("db.default.svc.cluster.local", AAAA, vec!["fd00::1"]),
        ("db-0.db.default.svc.cluster.local", A, vec!["10.1.0.1"]),
        ("10-1-0-2.db.default.svc.cluster.local", A, vec!["10.1.0.2"]),
        ("10-1-0-5.web.default.svc.cluster.local", A, vec!["10.1.0.5"]),
        ("ext.default.svc.cluster.local", A, vec!["example.com."]),
        ("ext.default.svc.cluster.local", CNAME, vec!["example.com."]),
        ("10-2-3-4.default.pod.cluster.local", A, vec!["10.2.3.4"]),
        ("fd00--1.default.pod.cluster.local", AAAA, vec!["fd00::1"]),
        ("_http._tcp.web.default.svc.cluster.local", SRV, vec!["0 100 80 web.default.svc.cluster.local."]),
        ("_DNS._UDP.web.default.svc.cluster.local", SRV, vec!["0 100 53 web.default.svc.cluster.local."]),
        (
            "_http._tcp.db.default.svc.cluster.local",
            SRV,
            vec![&*format!("0 50 8080 {db_0}"), &*format!("0 50 8080 {db_1}")],
        ),
        (
            "web.default.svc.cluster.local",
            SRV,
            vec!["0 50 80 web.default.svc.cluster.local.", "0 50 53 web.default.svc.cluster.local."],
        ),
        ("9.0.96.10.in-addr.arpa", PTR, vec!["web.default.svc.cluster.local."]),
        ("1.0.1.10.in-addr.arpa", PTR, vec![db_0]),
        ("5.0.1.10.in-addr.arpa", PTR, vec!["10-1-0-5.web.default.svc.cluster.local."]),
        (
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            PTR,
            vec!["db-0.db.default.svc.cluster.local."],
        ),
    ] {
        let asked = Name::from_ascii(format!("{name}.")).unwrap();
        let found = zone.find(&asked, kind, &objects).expect("a name of the cluster");
        let expected: Vec<String> = expected.iter().map(|data| format!("{asked} {data}")).collect();
        assert_eq!((found.code, text(&found.answers)), (ResponseCode::NoError, expected), "{name} {kind}");
    }
}

#[test]
fn what_does_not_exist_is_told_from_what_has_no_such_record() {
    use RecordType::{A, AAAA, MX, PTR, SRV};
    let (zone, objects) = (zone(), objects());
    for (name, kind, exists) in [
        ("cluster.local", A, true),
        ("svc.cluster.local", A, true),
        ("default.svc.cluster.local", A, true),
        ("elsewhere.svc.cluster.local", A, false),
        ("web.default.svc.cluster.local", AAAA, true),
        ("web.default.svc.cluster.local", MX, true),
        ("web.shop.svc.cluster.local", A, false),
        ("web.default.svc.cluster.local.default.svc.cluster.local", A, false),
        ("example.com.cluster.local", A, false),
        ("_tcp.web.default.svc.cluster.local", SRV, true),
        ("_sctp.web.default.svc.cluster.local", SRV, false),
        ("_http._tcp.web.default.svc.cluster.local", A, true),
        ("_https._tcp.web.default.svc.cluster.local", SRV, false),
        ("http.tcp.web.default.svc.cluster.local", SRV, false),
        ("_._udp.db.default.svc.cluster.local", SRV, false),
        ("db-2.db.default.svc.cluster.local", A, false),
        ("none.default.svc.cluster.local", A, false),
        ("x.ext.default.svc.cluster.local", A, false),
        ("10-2-3-4.elsewhere.pod.cluster.local", A, false),
        ("10-2-3.default.pod.cluster.local", A, false),
        ("*.default.svc.cluster.local", A, false),
    ] {
        let asked = Name::from_ascii(format!("{name}.")).unwrap();
        let found = zone.find(&asked, kind, &objects).expect("a name of the cluster");
        let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        assert_eq!((found.code, found.answers.len()), (code, 0), "{name} {kind}");
    }
    for (name, kind) in [
        ("example.com", A),
        ("local", A),
        ("notcluster.local", A),
        ("99.0.96.10.in-addr.arpa", PTR),
        ("0.96.10.in-addr.arpa", PTR),
        ("9.0.96.10.in-addr.arpa", A),
    ] {
        let asked = Name::from_ascii(format!("{name}.")).unwrap();
        assert_eq!(zone.find(&asked, kind, &objects), None, "{name} {kind}");
    }
}

#[test]
fn addresses_of_targets_come_along() {
    let (zone, objects) = (zone(), objects());
    let additional = |name: &str, kind| {
        text(&zone.find(&Name::from_ascii(name).unwrap(), kind, &objects).unwrap().additionals)
    };
    assert_eq!(additional("cluster.local.", RecordType::NS), ["ns.dns.cluster.local. 10.96.0.10"]);
    assert_eq!(
        additional("_http._tcp.web.default.svc.cluster.local.", RecordType::SRV),
        ["web.default.svc.cluster.local. 10.96.0.9"]
    );
    assert_eq!(
        additional("_http._tcp.db.default.svc.cluster.local.", RecordType::SRV),
        [
            "db-0.db.default.svc.cluster.local. 10.1.0.1",
            "10-1-0-2.db.default.svc.cluster.local. 10.1.0.2",
            "db-0.db.default.svc.cluster.local. fd00::1"
        ]
    );
}
