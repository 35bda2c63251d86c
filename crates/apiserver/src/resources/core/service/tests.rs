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
        Self::with(&[DEFAULT_SERVICE_CIDR])
    }

    /// In a cluster with both families, `first` before the other.
    fn dual(first: &str) -> Self {
        let six = ServiceCidr::new("fd00:10:96::".parse().unwrap(), 112);
        Self::with(&if first == "IPv4" { [DEFAULT_SERVICE_CIDR, six] } else { [six, DEFAULT_SERVICE_CIDR] })
    }

    fn with(cidrs: &[ServiceCidr]) -> Self {
        Self { rng: Rng::seeded(1), user: UserInfo::default(), strategy: Service::new(cidrs) }
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

    fn errors(&self, service: &Value, old: Option<&Value>) -> Vec<String> {
        let errors = match old {
            Some(old) => self.strategy.validate_update(service, old),
            None => self.strategy.validate(service),
        };
        errors.iter().map(ToString::to_string).collect()
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

/// The families of a Service's addresses; `None` for a headless one.
fn families_of_addresses(spec: &Value) -> Vec<&str> {
    let addresses = spec["clusterIPs"].as_array().unwrap();
    assert_eq!(spec["clusterIP"], addresses[0]);
    let family = |address: &Value| address.as_str().unwrap().parse().map_or("None", families::of);
    addresses.iter().map(family).collect()
}

#[test]
fn families_are_what_was_meant() {
    let (single, four, six) = (Fixture::new(), Fixture::dual("IPv4"), Fixture::dual("IPv6"));
    let (v4, v6, both, turned) =
        (json!(["IPv4"]), json!(["IPv6"]), json!(["IPv4", "IPv6"]), json!(["IPv6", "IPv4"]));
    let (prefer, require) =
        (json!({"ipFamilyPolicy": "PreferDualStack"}), json!({"ipFamilyPolicy": "RequireDualStack"}));
    let headless = json!({"clusterIP": "None"});
    let selecting = json!({"clusterIP": "None", "selector": {"a": "b"}, "ipFamilyPolicy": "PreferDualStack"});
    for (what, fixture, spec, policy, families, addresses) in [
        ("nothing", &single, json!({}), "SingleStack", &v4, vec!["IPv4"]),
        ("nothing, two", &four, json!({}), "SingleStack", &v4, vec!["IPv4"]),
        ("nothing, IPv6 first", &six, json!({}), "SingleStack", &v6, vec!["IPv6"]),
        ("prefer, one", &single, prefer.clone(), "PreferDualStack", &v4, vec!["IPv4"]),
        ("prefer", &four, prefer.clone(), "PreferDualStack", &both, vec!["IPv4", "IPv6"]),
        ("require, IPv6 first", &six, require, "RequireDualStack", &turned, vec!["IPv6", "IPv4"]),
        ("a family", &four, json!({"ipFamilies": ["IPv6"]}), "SingleStack", &v6, vec!["IPv6"]),
        (
            "prefer, other first",
            &four,
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]}),
            "PreferDualStack",
            &turned,
            vec!["IPv6", "IPv4"],
        ),
        ("an address", &four, json!({"clusterIP": "fd00:10:96::7"}), "SingleStack", &v6, vec!["IPv6"]),
        (
            "an address and another",
            &four,
            json!({"clusterIP": "fd00:10:96::7", "ipFamilyPolicy": "PreferDualStack"}),
            "PreferDualStack",
            &turned,
            vec!["IPv6", "IPv4"],
        ),
        ("headless by hand", &single, headless.clone(), "RequireDualStack", &both, vec!["None"]),
        ("headless by hand, two", &six, headless, "RequireDualStack", &turned, vec!["None"]),
        ("headless", &single, selecting.clone(), "PreferDualStack", &v4, vec!["None"]),
        ("headless, two", &four, selecting, "PreferDualStack", &both, vec!["None"]),
    ] {
        let mut spec = spec;
        spec["ports"] = json!([{"port": 80}]);
        let service = fixture.created(spec);
        assert_eq!(fixture.errors(&service, None), [""; 0], "{what}");
        let made = &service["spec"];
        assert_eq!((&made["ipFamilyPolicy"], &made["ipFamilies"]), (&json!(policy), families), "{what}");
        assert_eq!(families_of_addresses(made), addresses, "{what}");
        let claimed = fixture.strategy.reservations(&service).len();
        assert_eq!(claimed, addresses.iter().filter(|address| **address != "None").count(), "{what}");
    }
}

#[test]
fn a_second_family_comes_and_goes() {
    let fixture = Fixture::dual("IPv4");
    let plain = fixture.created(json!({"ports": [{"port": 80}]}));
    let changed = |old: &Value, change: &dyn Fn(&mut Value)| {
        let mut service = old.clone();
        change(&mut service["spec"]);
        fixture.updated(service, old)
    };
    let dual = changed(&plain, &|spec| spec["ipFamilyPolicy"] = json!("RequireDualStack"));
    assert_eq!(fixture.errors(&dual, Some(&plain)), [""; 0]);
    assert_eq!(families_of_addresses(&dual["spec"]), ["IPv4", "IPv6"]);
    assert_eq!(dual["spec"]["clusterIP"], plain["spec"]["clusterIP"], "the first stays");
    // A client that knows none of the fields changes nothing.
    let mut bare = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 81}]}});
    bare = fixture.updated(bare, &dual);
    assert_eq!(bare["spec"]["clusterIPs"], dual["spec"]["clusterIPs"]);
    assert_eq!(fixture.errors(&bare, Some(&dual)), [""; 0]);
    let back = changed(&dual, &|spec| spec["ipFamilyPolicy"] = json!("SingleStack"));
    assert_eq!(fixture.errors(&back, Some(&dual)), [""; 0]);
    assert_eq!(
        (&back["spec"]["clusterIPs"], &back["spec"]["ipFamilies"]),
        (&json!([plain["spec"]["clusterIP"]]), &json!(["IPv4"]))
    );
    let first = plain["spec"]["clusterIP"].clone();
    for (what, errors, change) in [
        (
            "taken without saying so",
            vec!["spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary cluster IP".to_owned()],
            &(|spec: &mut Value| spec["clusterIPs"] = json!([first])) as &dyn Fn(&mut Value),
        ),
        (
            "a family taken",
            vec!["spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary IP family".to_owned()],
            &|spec| spec["ipFamilies"] = json!(["IPv4"]),
        ),
        (
            "the first one changed",
            vec![format!(
                "spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\",{}]: may not change once set",
                dual["spec"]["clusterIPs"][1]
            )],
            &|spec| {
                spec["clusterIP"] = json!("10.96.0.9");
                spec["clusterIPs"][0] = json!("10.96.0.9");
            },
        ),
    ] {
        let service = changed(&dual, change);
        assert_eq!(fixture.errors(&service, Some(&dual)), errors, "{what}");
    }
    // One that prefers both keeps one when the cluster gets two.
    let preferring =
        Fixture::new().created(json!({"ports": [{"port": 80}], "ipFamilyPolicy": "PreferDualStack"}));
    let kept = changed(&preferring, &|spec| spec["sessionAffinity"] = json!("ClientIP"));
    assert_eq!(kept["spec"]["clusterIPs"], preferring["spec"]["clusterIPs"]);
    assert_eq!(fixture.errors(&kept, Some(&preferring)), [""; 0]);
}

#[test]
fn refuses_families_in_upstreams_words() {
    let (single, dual) = (Fixture::new(), Fixture::dual("IPv4"));
    for (fixture, spec, error) in [
        (
            &single,
            json!({"clusterIP": "fd00:10:96::7"}),
            "spec.clusterIPs[0]: Invalid value: [\"fd00:10:96::7\"]: IPv6 is not configured on this cluster",
        ),
        (
            &single,
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilies[1]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            &dual,
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
        (
            &dual,
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:10:96::7"]}),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
        ),
        (
            &dual,
            json!({"ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilies[1]: Duplicate value: \"IPv4\"",
        ),
        (
            &dual,
            json!({"clusterIPs": ["10.96.0.7"]}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.7\"]: must be empty when `clusterIP` is not specified",
        ),
        (
            &dual,
            json!({"clusterIP": "None", "clusterIPs": ["None", "10.96.0.7"]}),
            "spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.7\"]: 'None' must be the first and only value",
        ),
        (
            &dual,
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "10.96.0.8"], "ipFamilyPolicy": "RequireDualStack"}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"10.96.0.8\"]: may specify no more than one IP for each IP family",
        ),
        (
            &dual,
            json!({"clusterIP": "10.96.0.7", "ipFamilies": ["IPv6"]}),
            "spec.clusterIPs[0]: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            &dual,
            json!({"clusterIP": "fd00::7"}),
            "spec.clusterIPs: Invalid value: [\"fd00::7\"]: failed to allocate IP fd00::7: the provided IP (fd00::7) is not in the valid range. The range of valid IPs is fd00:10:96::/112",
        ),
        (
            &dual,
            json!({"ipFamilyPolicy": "x"}),
            "spec.ipFamilyPolicy: Unsupported value: \"x\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
        ),
    ] {
        let mut spec = spec;
        spec["ports"] = json!([{"port": 80}]);
        let service = fixture.created(spec.clone());
        assert_eq!(fixture.errors(&service, None), [error], "{spec}");
    }
}

#[test]
fn blocks_give_what_is_theirs() {
    for (block, first, inside, outside) in [
        (
            "10.96.0.0/29",
            "10.96.0.1",
            vec!["10.96.0.1", "10.96.0.6"],
            vec!["10.96.0.0", "10.96.0.7", "fd00::1"],
        ),
        ("fd00::/126", "fd00::1", vec!["fd00::1", "fd00::3"], vec!["fd00::", "fd00::4", "10.96.0.1"]),
    ] {
        let (address, prefix) = block.split_once('/').unwrap();
        let cidr = ServiceCidr::new(address.parse().unwrap(), prefix.parse().unwrap());
        assert_eq!((cidr.to_string(), cidr.first().to_string()), (block.to_owned(), first.to_owned()));
        let contains = |address: &str| cidr.contains(address.parse().unwrap());
        assert!(inside.iter().all(|address| contains(address)), "{block}");
        assert!(!outside.iter().any(|address| contains(address)), "{block}");
    }
    let wide = ServiceCidr::new("fd00::".parse().unwrap(), 48);
    assert!(!wide.contains("fd00::".parse().unwrap()) && wide.contains("fd00::ffff".parse().unwrap()));
}
