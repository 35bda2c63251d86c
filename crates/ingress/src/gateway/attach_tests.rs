//! Which routes are attached, where they lead, and what is said of them.

use super::*;
use http::Request;
use serde_json::{Value, from_value, json};

/// A world in which there are these Services, one certificate, and ports that can be had.
#[derive(Default)]
struct Fake {
    taken: Option<u16>,
}

impl World for Fake {
    fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        let labels = json!({"metadata": {"name": name, "labels": {"name": name}}});
        Some(Arc::new(from_value(labels).expect("a namespace")))
    }

    fn service(&self, key: &Key) -> Option<Arc<Service>> {
        let service = json!({"spec": {"ports": [{"port": 80}]}});
        key.name.starts_with("web").then(|| Arc::new(from_value(service).expect("a service")))
    }

    fn certificate(&self, key: &Key) -> Result<Arc<CertifiedKey>, String> {
        if key.name != "tls" {
            return Err(format!("secret {key} of type kubernetes.io/tls not found"));
        }
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("a certificate");
        let (certificate, private) = (made.cert.pem(), made.signing_key.serialize_pem());
        Ok(crate::tls::certified(certificate.as_bytes(), private.as_bytes()).expect("a pair"))
    }

    fn upstream(&mut self, _: &BackendKey) -> Arc<Upstream> {
        Arc::default()
    }

    fn door(&self, port: u16) -> Option<Result<(), String>> {
        Some(if self.taken == Some(port) { Err("taken".to_owned()) } else { Ok(()) })
    }
}

fn gateway(name: &str, listeners: Value) -> Arc<Gateway> {
    let gateway = json!({"metadata": {"namespace": "n", "name": name}, "spec": {"listeners": listeners}});
    Arc::new(from_value(gateway).expect("a gateway"))
}

fn route(name: &str, parents: Value, hostnames: Value, rules: Value) -> Arc<HttpRoute> {
    let spec = json!({"parentRefs": parents, "hostnames": hostnames, "rules": rules});
    let (namespace, name) = name.split_once('/').unwrap_or(("n", name));
    let route = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
    Arc::new(from_value(route).expect("a route"))
}

fn to(service: &str) -> Value {
    json!({"backendRefs": [{"name": service, "port": 80}]})
}

fn at(path: &str, service: &str) -> Value {
    let mut rule = to(service);
    rule["matches"] = json!([{"path": {"type": "PathPrefix", "value": path}}]);
    rule
}

/// The Service that a request is led to.
fn led(outcome: &Outcome, port: u16, host: &str, path: &str) -> String {
    let request = Request::get(path).body(()).expect("a request").into_parts().0;
    let found = outcome.ports.get(&port).and_then(|port| port.find(host, &request));
    match found.map(|route| route.rule.backends.as_slice()) {
        None => "-".to_owned(),
        Some([(_, Some(target)), ..]) => target.backend.service.name.clone(),
        Some(_) => "nowhere".to_owned(),
    }
}

/// `Accepted`, or the reasons of what is not so.
fn told(conditions: &[Condition]) -> String {
    let wrong = conditions.iter().filter(|one| one.holds == (one.kind == "Conflicted"));
    let wrong: Vec<&str> = wrong.map(|one| one.reason.as_str()).collect();
    if wrong.is_empty() { "fine".to_owned() } else { wrong.join(" ") }
}

#[test]
fn requests_are_led_by_listener_host_and_path() {
    let http =
        |name: &str, host: &str| json!({"name": name, "port": 80, "protocol": "HTTP", "hostname": host});
    let any = json!({"name": "any", "port": 80, "protocol": "HTTP"});
    let objects = Objects {
        gateways: vec![gateway("g", json!([any, http("wild", "*.example"), http("one", "a.example")]))],
        routes: vec![
            route("all", json!([{"name": "g", "sectionName": "any"}]), json!([]), json!([to("web-all")])),
            route(
                "wild",
                json!([{"name": "g", "sectionName": "wild"}]),
                json!(["b.example", "*.c.example", "other.test"]),
                json!([at("/", "web-wild"), at("/x/y", "web-deep"), at("/x", "web-x")]),
            ),
            route(
                "a",
                json!([{"name": "g", "port": 80, "sectionName": "one"}]),
                json!([]),
                json!([at("/a", "web-a")]),
            ),
        ],
        ..Objects::default()
    };
    let outcome = attach(&objects, &mut Fake::default());
    for (host, path, expected) in [
        ("other.test", "/", "web-all"),
        ("b.example", "/", "web-wild"),
        ("b.example", "/x/y/z", "web-deep"),
        ("b.example", "/x/z", "web-x"),
        ("q.c.example", "/", "web-wild"),
        ("d.example", "/", "-"),
        ("a.example", "/a", "web-a"),
        ("a.example", "/", "-"),
    ] {
        assert_eq!(led(&outcome, 80, host, path), expected, "{host} {path}");
    }
    let said = &outcome.gateways[0].1;
    assert_eq!(told(&said.conditions), "fine");
    let attached: Vec<usize> = said.listeners.iter().map(|listener| listener.attached).collect();
    assert_eq!(attached, [1, 1, 1]);
    assert!(outcome.routes.iter().all(|(_, said)| told(&said[0].conditions) == "fine"));
}

#[test]
fn what_is_wrong_is_said() {
    let tls = |secret: &str| json!({"certificateRefs": [{"name": secret}]});
    let listeners = json!([
        {"name": "same", "port": 80, "protocol": "HTTP"},
        {"name": "tcp", "port": 81, "protocol": "TCP"},
        {"name": "taken", "port": 82, "protocol": "HTTP"},
        {"name": "safe", "port": 443, "protocol": "HTTPS", "tls": tls("tls")},
        {"name": "bare", "port": 444, "protocol": "HTTPS", "tls": tls("none")},
        {"name": "foreign", "port": 445, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "tls", "namespace": "o"}]}},
        {"name": "mixed", "port": 80, "protocol": "HTTPS", "tls": tls("tls")},
        {"name": "grpc", "port": 83, "protocol": "HTTP", "allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}},
        {"name": "named", "port": 84, "protocol": "HTTP", "hostname": "a.example",
            "allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"name": "friend"}}}}},
    ]);
    let parent = |section: &str| json!([{"name": "g", "namespace": "n", "sectionName": section}]);
    let mut foreign = to("web");
    foreign["backendRefs"][0]["namespace"] = json!("o");
    let mut odd = to("web");
    odd["filters"] = json!([{"type": "RequestMirror"}]);
    let cases = [
        ("good", parent("same"), json!([]), to("web"), "fine"),
        ("no-listener", parent("other"), json!([]), to("web"), "NoMatchingParent"),
        ("elsewhere/stranger", parent("same"), json!([]), to("web"), "NotAllowedByListeners"),
        ("friend/friend", parent("named"), json!([]), to("web"), "fine"),
        ("friend/hosts", parent("named"), json!(["b.example"]), to("web"), "NoMatchingListenerHostname"),
        ("no-backend", parent("same"), json!([]), to("missing"), "BackendNotFound"),
        ("foreign", parent("same"), json!([]), foreign.clone(), "RefNotPermitted"),
        (
            "granted/route",
            json!([{"name": "g", "namespace": "n", "sectionName": "named"}]),
            json!([]),
            foreign,
            "NotAllowedByListeners RefNotPermitted",
        ),
        ("odd", parent("same"), json!([]), odd, "UnsupportedValue"),
    ];
    let routes = cases
        .iter()
        .map(|(name, parents, hosts, rule, _)| route(name, parents.clone(), hosts.clone(), json!([rule])));
    let objects =
        Objects { gateways: vec![gateway("g", listeners)], routes: routes.collect(), ..Objects::default() };
    let outcome = attach(&objects, &mut Fake { taken: Some(82) });
    for ((name, .., expected), (_, said)) in cases.iter().zip(&outcome.routes) {
        assert_eq!(told(&said[0].conditions), *expected, "{name}");
    }
    let said = &outcome.gateways[0].1;
    let listeners: Vec<(&str, String)> =
        said.listeners.iter().map(|listener| (listener.name.as_str(), told(&listener.conditions))).collect();
    for (name, expected) in [
        ("same", "fine"),
        ("tcp", "UnsupportedProtocol Invalid"),
        ("taken", "PortUnavailable Invalid"),
        ("safe", "fine"),
        ("bare", "Invalid InvalidCertificateRef"),
        ("foreign", "Invalid RefNotPermitted"),
        ("mixed", "ProtocolConflict Invalid ProtocolConflict"),
        ("grpc", "Invalid InvalidRouteKinds"),
        ("named", "fine"),
    ] {
        let found = listeners.iter().find(|(listener, _)| *listener == name).expect("it is there");
        assert_eq!(found.1, expected, "{name}");
    }
    assert_eq!(
        (told(&said.conditions).as_str(), said.conditions[0].reason.as_str()),
        ("fine", "ListenersNotValid")
    );
    assert_eq!(outcome.certificates.keys().collect::<Vec<_>>(), [&443]);
    // One that leads nowhere keeps its requests.
    assert_eq!(led(&outcome, 80, "h", "/"), "nowhere");
}

#[test]
fn grants_open_other_namespaces() {
    let grant = json!({"metadata": {"namespace": "o", "name": "g"}, "spec": {
        "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "n"}], "to": [{"group": "", "kind": "Service", "name": "web"}],
    }});
    let mut rule = to("web");
    rule["backendRefs"][0]["namespace"] = json!("o");
    let mut other = to("web-2");
    other["backendRefs"][0]["namespace"] = json!("o");
    let objects = Objects {
        gateways: vec![gateway("g", json!([{"name": "l", "port": 80, "protocol": "HTTP"}]))],
        routes: vec![
            route("one", json!([{"name": "g"}]), json!([]), json!([rule])),
            route("two", json!([{"name": "g"}]), json!([]), json!([other])),
        ],
        grants: vec![Arc::new(from_value(grant).expect("a grant"))],
    };
    let outcome = attach(&objects, &mut Fake::default());
    let said: Vec<String> = outcome.routes.iter().map(|(_, said)| told(&said[0].conditions)).collect();
    assert_eq!(said, ["fine", "RefNotPermitted"]);
}

#[test]
fn durations_have_units() {
    for (text, expected) in [
        ("10s", Some(10_000)),
        ("1m30s", Some(90_000)),
        ("500ms", Some(500)),
        ("0s", Some(0)),
        ("10", None),
        ("", None),
        ("1x", None),
    ] {
        assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
    }
}
