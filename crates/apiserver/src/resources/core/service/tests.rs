//! Allocation, type changes, tables of Services.

use super::*;
use crate::auth::UserInfo;
use component_base::Rng;

struct Fixture {
    rng: Rng,
    user: UserInfo,
    strategy: Service,
}

impl Fixture {
    fn new() -> Self {
        Self { rng: Rng::seeded(1), user: UserInfo::default(), strategy: Service::new(DEFAULT_SERVICE_CIDR) }
    }

    fn context(&self) -> WriteContext<'_> {
        WriteContext { now: Timestamp::UNIX_EPOCH, rng: &self.rng, user: &self.user }
    }

    fn created(&self, spec: Value) -> Value {
        let mut service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        self.strategy.default(&mut service);
        self.strategy.prepare_for_create(&self.context(), &mut service);
        service
    }

    fn updated(&self, mut service: Value, old: &Value) -> Value {
        self.strategy.default(&mut service);
        self.strategy.prepare_for_update(&self.context(), &mut service, old);
        service
    }
}

#[test]
fn a_service_gets_an_address_and_keeps_it() {
    let fixture = Fixture::new();
    let service = fixture.created(json!({"ports": [{"port": 80}]}));
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    assert!(DEFAULT_SERVICE_CIDR.contains(address.parse().unwrap()));
    assert_eq!(service["spec"]["clusterIPs"], json!([address]));
    assert_eq!(service["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]));
    assert!(fixture.strategy.validate(&service).is_empty());
    assert_eq!(fixture.strategy.reservations(&service)[0].key, format!("serviceips/{address}"));
    let mut changed = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 81}]}});
    changed = fixture.updated(changed, &service);
    assert_eq!(changed["spec"]["clusterIP"], address);
    changed["spec"]["clusterIPs"] = json!(["10.96.0.9"]);
    changed["spec"]["clusterIP"] = json!("10.96.0.9");
    assert_eq!(
        fixture.strategy.validate_update(&changed, &service)[0].to_string(),
        "spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set"
    );
}

#[test]
fn node_ports_come_and_go_with_the_type() {
    let fixture = Fixture::new();
    let ports = json!([{"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 53}, {"name": "c", "port": 80}]);
    let plain = fixture.created(json!({"ports": ports}));
    assert!(plain["spec"]["ports"][0]["nodePort"].is_null());
    let mut exposed = plain.clone();
    exposed["spec"]["type"] = json!("NodePort");
    let exposed = fixture.updated(exposed, &plain);
    let number = |i: usize| exposed["spec"]["ports"][i]["nodePort"].as_i64().unwrap();
    assert_eq!(number(0), number(1), "one port in two protocols shares its number");
    assert_ne!(number(0), number(2));
    assert!((30086..=32767).contains(&number(2)));
    assert!(fixture.strategy.validate_update(&exposed, &plain).is_empty());
    assert_eq!(fixture.strategy.reservations(&exposed).len(), 4);
    let mut back = exposed.clone();
    back["spec"]["type"] = json!("ClusterIP");
    let back = fixture.updated(back, &exposed);
    assert!(back["spec"]["ports"][2]["nodePort"].is_null());
    assert!(fixture.strategy.validate_update(&back, &exposed).is_empty());
    let mut external = back.clone();
    external["spec"]["type"] = json!("ExternalName");
    external["spec"]["externalName"] = json!("example.com");
    let external = fixture.updated(external, &back);
    assert!(fixture.strategy.reservations(&external).is_empty());
    assert!(fixture.strategy.validate_update(&external, &back).is_empty());
}

#[test]
fn headless_services_claim_nothing() {
    let fixture = Fixture::new();
    let service = fixture.created(json!({"clusterIP": "None", "selector": {"a": "b"}}));
    assert_eq!(service["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
    assert!(fixture.strategy.validate(&service).is_empty());
    assert!(fixture.strategy.reservations(&service).is_empty());
}

#[test]
fn refuses_in_upstreams_words() {
    let fixture = Fixture::new();
    for (spec, error) in [
        (json!({}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 1}], "ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            json!({"ports": [{"port": 1}], "ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"type": "x", "ports": [{"port": 1}]}),
            "spec.type: Unsupported value: \"x\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        (
            json!({"ports": [{"port": 0, "targetPort": 1}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"ports": [{"port": 1, "nodePort": 30000}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (json!({"ports": [{"port": 1}, {"port": 2, "name": "b"}]}), "spec.ports[0].name: Required value"),
        (
            json!({"clusterIP": "10.0.0.1", "ports": [{"port": 1}]}),
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: failed to allocate IP 10.0.0.1: the provided IP (10.0.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/12",
        ),
        (json!({"type": "ExternalName"}), "spec.externalName: Required value"),
    ] {
        let service = fixture.created(spec);
        let errors: Vec<String> =
            fixture.strategy.validate(&service).iter().map(ToString::to_string).collect();
        assert_eq!(errors, [error]);
    }
}

#[test]
fn prints_addresses_and_ports() {
    let fixture = Fixture::new();
    let row = |spec: Value| {
        let service = fixture.created(spec);
        fixture.strategy.row(&service, Timestamp::UNIX_EPOCH)
    };
    let cells = row(json!({"clusterIP": "10.96.0.1", "ports": [{"port": 443}], "selector": {"a": "b"}}));
    assert_eq!(
        cells,
        ["web", "ClusterIP", "10.96.0.1", "<none>", "443/TCP", "<unknown>", "a=b"].map(Value::from)
    );
    let cells = row(json!({"type": "LoadBalancer", "clusterIP": "10.96.0.1",
        "ports": [{"port": 80, "nodePort": 30001}]}));
    assert_eq!(cells[3], "<pending>");
    assert_eq!(cells[4], "80:30001/TCP");
    let cells = row(json!({"type": "ExternalName", "externalName": "a.b"}));
    assert_eq!(cells[2..5], ["<none>", "a.b", "<none>"].map(Value::from));
}
