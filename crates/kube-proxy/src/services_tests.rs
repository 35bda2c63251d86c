//! Tables of services and the endpoints chosen for them.

use super::*;
use serde_json::{Value, json};

fn service(spec: Value) -> Service {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}]},
    });
    for (name, value) in spec.as_object().unwrap() {
        service["spec"][name] = value.clone();
    }
    serde_json::from_value(service).unwrap()
}

/// Endpoints by their last number, node and conditions.
fn slice(endpoints: &[(u8, &str, Value)]) -> Arc<EndpointSlice> {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(number, node, conditions)| json!({"addresses": [format!("10.1.0.{number}")], "nodeName": node, "conditions": conditions}))
        .collect();
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "shop"}, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    });
    Arc::new(serde_json::from_value(slice).unwrap())
}

fn ends(addresses: &[SocketAddr]) -> Vec<u8> {
    addresses
        .iter()
        .map(|address| match address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        })
        .collect()
}

#[test]
fn chooses_endpoints() {
    let (ready, not) = (json!({"ready": true}), json!({"ready": false}));
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    let nodes = Machine::new(["here".to_owned()]);
    let local = json!({"internalTrafficPolicy": "Local"});
    for (what, spec, endpoints, inside, outside) in [
        (
            "ready ones",
            json!({}),
            vec![(2, "here", &ready), (1, "there", &ready), (3, "here", &not)],
            vec![1, 2],
            vec![1, 2],
        ),
        ("no condition is ready", json!({}), vec![(1, "here", &json!({}))], vec![1], vec![1]),
        (
            "ending ones if none is ready",
            json!({}),
            vec![(1, "here", &ending), (2, "here", &not)],
            vec![1],
            vec![1],
        ),
        ("ready before ending", json!({}), vec![(1, "here", &ending), (2, "here", &ready)], vec![2], vec![2]),
        ("each once", json!({}), vec![(1, "here", &ready), (1, "here", &ready)], vec![1], vec![1]),
        ("local inside", local.clone(), vec![(1, "here", &ready), (2, "there", &ready)], vec![1], vec![1, 2]),
        ("none local", local, vec![(2, "there", &ready)], vec![], vec![2]),
        (
            "local outside, ending",
            json!({"externalTrafficPolicy": "Local"}),
            vec![(1, "here", &ending), (2, "there", &ready)],
            vec![2],
            vec![1],
        ),
    ] {
        let endpoints: Vec<_> =
            endpoints.into_iter().map(|(n, node, conditions)| (n, node, conditions.clone())).collect();
        let ports = service_ports(Family::V4, &service(spec), &[slice(&endpoints)], &nodes);
        assert_eq!((ends(&ports[0].inside), ends(&ports[0].outside)), (inside, outside), "{what}");
        assert!(ports[0].elsewhere, "{what}");
        let of_here = endpoints.iter().filter(|(_, node, conditions)| *node == "here" && *conditions != not);
        let here: BTreeSet<_> = of_here.map(|(number, ..)| IpAddr::from([10, 1, 0, *number])).collect();
        assert_eq!(ports[0].here, here, "{what}");
        assert!(ports[0].inside.iter().all(|address| address.port() == 8080));
    }
}

#[test]
fn reads_addresses_and_ports() {
    let mut whole = service(json!({
        "type": "LoadBalancer", "externalIPs": ["192.0.2.7"], "sessionAffinity": "ClientIP",
        "loadBalancerSourceRanges": ["198.51.100.0/24"],
        "ports": [
            {"name": "http", "port": 80, "nodePort": 30080},
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "odd", "port": 9, "protocol": "ODD"},
        ],
    }));
    let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.8", "ipMode": "VIP"}, {"ip": "192.0.2.9", "ipMode": "Proxy"}, {"hostname": "h"}]}});
    whole.status = Some(serde_json::from_value(status).unwrap());
    let ports = service_ports(Family::V4, &whole, &[], &Machine::default());
    assert_eq!(ports.len(), 2);
    assert_eq!(ports[0].name, "shop/web:http");
    assert_eq!((ports[0].node_port, ports[0].affinity), (Some(30080), Some(10_800)));
    assert_eq!(ports[0].external_ips, [IpAddr::from([192, 0, 2, 7])]);
    assert_eq!(ports[0].balancer_ips, [IpAddr::from([192, 0, 2, 8])]);
    assert_eq!(ports[0].source_ranges, ["198.51.100.0/24"]);
    assert_eq!((ports[1].protocol, ports[1].port, ports[1].node_port), (Protocol::Udp, 53, None));
    assert!(!ports[0].elsewhere);
}

#[test]
fn leaves_alone_what_has_no_address() {
    let nodes = Machine::default();
    for spec in [
        json!({"clusterIP": "None"}),
        json!({"clusterIP": ""}),
        json!({"type": "ExternalName"}),
        json!({"clusterIP": "fd00::1"}),
    ] {
        assert!(service_ports(Family::V4, &service(spec.clone()), &[], &nodes).is_empty(), "{spec}");
    }
    let mut other = service(json!({}));
    other.metadata.labels = Some([(OTHER_PROXY.to_owned(), "mesh".to_owned())].into());
    assert!(service_ports(Family::V4, &other, &[], &nodes).is_empty());
}

/// A slice of endpoints by their last number, node, and hints.
fn hinted(endpoints: &[(u8, &str, Value)]) -> Arc<EndpointSlice> {
    let mut made = serde_json::to_value(&*slice(
        &endpoints.iter().map(|(number, node, _)| (*number, *node, json!({}))).collect::<Vec<_>>(),
    ))
    .unwrap();
    for (at, (.., hints)) in endpoints.iter().enumerate() {
        made["endpoints"][at]["hints"] = hints.clone();
    }
    Arc::new(serde_json::from_value(made).unwrap())
}

#[test]
fn what_a_client_gets_depends_on_where_it_is() {
    let zone = |name: &str| json!({"forZones": [{"name": name}]});
    let both = |node: &str, zone: &str| json!({"forNodes": [{"name": node}], "forZones": [{"name": zone}]});
    let local = json!({"internalTrafficPolicy": "Local"});
    let mut machine = Machine::new(["one".to_owned(), "two".to_owned(), "bare".to_owned()]);
    machine.learn("one", Some("x".to_owned()));
    machine.learn("two", Some("y".to_owned()));
    for (what, spec, endpoints, [itself, one, two, bare]) in [
        (
            "local",
            local,
            vec![(1, "one", json!(null)), (2, "two", json!(null)), (3, "afar", json!(null))],
            [vec![1, 2], vec![1], vec![2], vec![]],
        ),
        (
            "zones",
            json!({}),
            vec![(1, "one", zone("x")), (2, "two", zone("y")), (3, "afar", zone("x"))],
            [vec![1, 2, 3], vec![1, 3], vec![2], vec![1, 2, 3]],
        ),
        (
            "nodes before zones",
            json!({}),
            vec![(1, "one", both("one", "x")), (3, "afar", both("afar", "y"))],
            [vec![1, 3], vec![1], vec![3], vec![1, 3]],
        ),
        (
            "one without a hint",
            json!({}),
            vec![(1, "one", zone("x")), (2, "two", json!(null))],
            [vec![1, 2], vec![1, 2], vec![1, 2], vec![1, 2]],
        ),
    ] {
        let ports = service_ports(Family::V4, &service(spec), &[hinted(&endpoints)], &machine);
        let port = &ports[0];
        let of = |node: &str| ends(port.by_node.get(node).unwrap_or(&port.inside));
        assert_eq!(
            [ends(&port.inside), of("one"), of("two"), of("bare")],
            [itself, one, two, bare],
            "{what}"
        );
    }
    // A machine that is one node is that node.
    let mut machine = Machine::new(["one".to_owned()]);
    machine.learn("one", Some("x".to_owned()));
    let slices = [hinted(&[(1, "one", zone("x")), (2, "afar", zone("y"))])];
    let ports = service_ports(Family::V4, &service(json!({})), &slices, &machine);
    assert_eq!((ends(&ports[0].inside), ends(&ports[0].outside)), (vec![1], vec![1]));
    assert!(ports[0].by_node.is_empty());
}

#[test]
fn each_family_has_its_own_addresses_and_endpoints() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00:10:96::9"],
        "externalIPs": ["192.0.2.7", "2001:db8::7"], "loadBalancerSourceRanges": ["198.51.100.0/24", "2001:db8::/32"],
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
    });
    let mut service = service(spec);
    let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"ip": "2001:db8::8"}]}});
    service.status = Some(serde_json::from_value(status).unwrap());
    let mut six = serde_json::to_value(&*slice(&[(3, "here", json!({}))])).unwrap();
    (six["addressType"], six["endpoints"][0]["addresses"]) = (json!("IPv6"), json!(["fd00::3"]));
    let slices = [
        slice(&[(1, "here", json!({})), (2, "here", json!({}))]),
        Arc::new(serde_json::from_value(six).unwrap()),
    ];
    for (family, cluster_ip, external, balancer, ranges, inside) in [
        (Family::V4, "10.96.0.9", "192.0.2.7", "192.0.2.8", "198.51.100.0/24", vec![1, 2]),
        (Family::V6, "fd00:10:96::9", "2001:db8::7", "2001:db8::8", "2001:db8::/32", vec![3]),
    ] {
        let ports = service_ports(family, &service, &slices, &Machine::default());
        assert_eq!(ports.len(), 1);
        let port = &ports[0];
        let told = [vec![port.cluster_ip], port.external_ips.clone(), port.balancer_ips.clone()].concat();
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, [cluster_ip, external, balancer]);
        assert_eq!((&port.source_ranges[..], ends(&port.inside)), (&[ranges.to_owned()][..], inside));
        assert_eq!((port.family(), port.node_port), (family, Some(30080)));
    }
}
