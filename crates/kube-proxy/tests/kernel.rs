//! Every combination of a service's policies, its endpoints, and its client's place, with real packets in network namespaces:
//! a client reaches exactly the endpoints that the meaning of the service allows, and does so while rules change.
//!
//! Needs root, `ip` and `nft`. All services are in one table; what is expected is written down here once more, by itself.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube_proxy::places::{self, Machine};
use kube_proxy::rules::{Base, Objects, base, objects};
use kube_proxy::services::service_ports;
use kube_proxy::table::Table;
use kube_proxy::{Dataplane as _, Family, Nftables};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, from_value, json};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// The machine with two nodes, pods' bridge and all; a namespace a pod, one for endpoints, one for another machine.
struct Net {
    prefix: String,
}

/// Where programs for administrators are.
const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";
const NAMESPACES: [&str; 5] = ["m", "one", "two", "e", "out"];
/// Whoever is not answered by then is not.
const SILENCE: Duration = Duration::from_millis(400);
/// Whoever should be answered is, in this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Enough that none of three endpoints is missed by chance (3 · (2/3)^80 < 1e-13), and one that should not be is found.
const TRIES: std::ops::Range<usize> = 20..80;

/// Whether new namespaces have IPv6.
fn has_six() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6")
        .is_ok_and(|text| text.trim() == "0")
}

/// An address of one kind or the other.
fn either(family: Family, four: String, six: String) -> IpAddr {
    let text = if family == Family::V4 { four } else { six };
    text.parse().expect("an address")
}

/// The address of an endpoint.
fn endpoint(family: Family, number: u8) -> IpAddr {
    either(family, format!("10.77.0.2{number}"), format!("fd77::2{number}"))
}

fn run(program: &str, arguments: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is there");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Net {
    /// One a test, by this letter: they run side by side.
    fn new(letter: char) -> Self {
        let this = Self { prefix: format!("mk{}{letter}", std::process::id()) };
        let ip = |words: &str| {
            let words = words.replace('@', &this.prefix);
            run("ip", &words.split(' ').collect::<Vec<_>>(), "");
        };
        // Where the kernel has no IPv6, its test says so.
        let for_six = |words: &str| {
            if has_six() {
                ip(words);
            }
        };
        for name in NAMESPACES {
            ip(&format!("netns add @{name}"));
            ip(&format!("-n @{name} link set lo up"));
        }
        ip("-n @m link add name bridge0 type bridge");
        ip("-n @m addr add 10.77.0.1/24 dev bridge0");
        for_six("-n @m addr add fd77::1/64 dev bridge0 nodad");
        ip("-n @m link set bridge0 up");
        for (name, addresses) in [("one", &["11"][..]), ("two", &["12"]), ("e", &["21", "22", "23"])] {
            ip(&format!("link add name eth0 netns @{name} type veth peer name to-{name} netns @m"));
            ip(&format!("-n @m link set to-{name} master bridge0 up"));
            for address in addresses {
                ip(&format!("-n @{name} addr add 10.77.0.{address}/24 dev eth0"));
                for_six(&format!("-n @{name} addr add fd77::{address}/64 dev eth0 nodad"));
            }
            ip(&format!("-n @{name} link set eth0 up"));
            ip(&format!("-n @{name} route add default via 10.77.0.1"));
            for_six(&format!("-n @{name} -6 route add default via fd77::1"));
        }
        ip("link add name eth0 netns @out type veth peer name to-out netns @m");
        for (name, link, address) in [("out", "eth0", "198.18.9.2/30"), ("m", "to-out", "198.18.9.1/30")] {
            ip(&format!("-n @{name} addr add {address} dev {link}"));
            ip(&format!("-n @{name} link set {link} up"));
        }
        ip("-n @out route add default via 198.18.9.1");
        ip("-n @m route add default via 198.18.9.2");
        for (name, link, other, address) in [("out", "eth0", 1, 2), ("m", "to-out", 2, 1)] {
            for_six(&format!("-n @{name} addr add fd78::{address}/64 dev {link} nodad"));
            for_six(&format!("-n @{name} -6 route add default via fd78::{other}"));
        }
        this.within("m", || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("it may forward");
            if has_six() {
                std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("it may forward");
            }
        });
        this
    }

    /// Does something in a namespace.
    fn within<T: Send + 'static>(&self, name: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/run/netns/{}{name}", self.prefix);
        let worker = thread::spawn(move || {
            let file = std::fs::File::open(path).expect("the namespace is there");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
            work()
        });
        worker.join().expect("it did not panic")
    }

    /// Servers that tell which endpoint they are, for as long as the process lives.
    fn serve(&self, family: Family) {
        self.within("e", move || {
            for number in 1_u8..=3 {
                let listener = TcpListener::bind((endpoint(family, number), 8080)).expect("a port");
                thread::spawn(move || {
                    for stream in listener.incoming() {
                        let _ = stream.and_then(|mut stream| stream.write_all(&[number]));
                    }
                });
            }
        });
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in NAMESPACES {
            let namespace = format!("{}{name}", self.prefix);
            let _ = Command::new("ip").args(["netns", "del", &namespace]).env("PATH", PATH).status();
        }
    }
}

/// What a client finds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// These, and no others.
    Endpoints(BTreeSet<u8>),
    Refused,
    Silence,
}

/// Which endpoint answers.
fn ask_once(at: SocketAddr, patience: Duration) -> io::Result<u8> {
    let mut stream = TcpStream::connect_timeout(&at, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(answer[0])
}

/// Asks until as many endpoints have answered as are expected, and some more.
fn ask(at: SocketAddr, expected: &Found) -> Found {
    let patience = if *expected == Found::Silence { SILENCE } else { PATIENCE };
    let mut seen = BTreeSet::new();
    for tried in 0..TRIES.end {
        match ask_once(at, patience) {
            Ok(endpoint) => drop(seen.insert(endpoint)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Found::Refused,
            Err(_) => return Found::Silence,
        }
        if tried >= TRIES.start && *expected == Found::Endpoints(seen.clone()) {
            break;
        }
    }
    Found::Endpoints(seen)
}

/// An endpoint as a case has it: its number, its node, whether it is ready, and its zone's hint.
#[derive(Clone, Copy, Debug)]
struct End {
    number: u8,
    node: &'static str,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Ending,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hints {
    None,
    Zones,
    Nodes,
}

#[derive(Clone, Debug)]
struct Case {
    family: Family,
    index: usize,
    internal: &'static str,
    external: &'static str,
    ends: Vec<End>,
    hints: Hints,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Machine,
    One,
    Two,
    Outside,
}

fn zone(node: &str) -> &'static str {
    if node == "one" { "x" } else { "y" }
}

fn cases(family: Family) -> Vec<Case> {
    let end = |number, node, state| End { number, node, state };
    use State::{Ending, Gone, Ready};
    let layouts = [
        vec![],
        vec![end(1, "one", Ready)],
        vec![end(1, "one", Ready), end(2, "two", Ready), end(3, "afar", Ready)],
        vec![end(1, "one", Ending), end(2, "two", Ready)],
        vec![end(1, "one", Ending), end(2, "two", Ending)],
        vec![end(1, "one", Gone), end(2, "two", Ready), end(3, "two", Ready)],
        vec![end(3, "afar", Ready)],
    ];
    let mut cases = Vec::new();
    for ends in layouts {
        for internal in ["Cluster", "Local"] {
            for external in ["Cluster", "Local"] {
                for hints in [Hints::None, Hints::Zones, Hints::Nodes] {
                    let (index, ends) = (cases.len(), ends.clone());
                    cases.push(Case { family, index, internal, external, ends, hints });
                }
            }
        }
    }
    cases
}

impl Case {
    fn address(&self) -> IpAddr {
        let number = self.index + 1;
        either(self.family, format!("10.96.1.{number}"), format!("fd00:10:96::1:{number}"))
    }

    fn node_port(&self) -> u16 {
        30_000 + u16::try_from(self.index).expect("few cases")
    }

    fn service(&self) -> Service {
        from_value(json!({
            "metadata": {"namespace": "n", "name": format!("s{}", self.index)},
            "spec": {
                "type": "NodePort", "clusterIP": self.address(), "ports": [{"port": 80, "nodePort": self.node_port()}],
                "internalTrafficPolicy": self.internal, "externalTrafficPolicy": self.external,
            },
        }))
        .expect("a service")
    }

    fn slice(&self) -> Arc<EndpointSlice> {
        let endpoint = |End { number, node, state }: &End| -> Value {
            let hints = match self.hints {
                Hints::None => json!(null),
                Hints::Zones => json!({"forZones": [{"name": zone(node)}]}),
                Hints::Nodes => json!({"forNodes": [{"name": node}], "forZones": [{"name": zone(node)}]}),
            };
            json!({
                "addresses": [endpoint(self.family, *number)], "nodeName": node, "hints": hints, "conditions": {
                    "ready": *state == State::Ready, "serving": *state != State::Gone, "terminating": *state != State::Ready,
                },
            })
        };
        let slice = json!({
            "metadata": {}, "addressType": self.family.api(), "ports": [{"port": 8080}],
            "endpoints": self.ends.iter().map(endpoint).collect::<Vec<_>>(),
        });
        Arc::new(from_value(slice).expect("a slice"))
    }

    /// What the semantics allow at the cluster address (`inside`) or the node port.
    fn expected(&self, place: Place, inside: bool) -> Found {
        let usable = |wanted: &dyn Fn(&End) -> bool| -> BTreeSet<u8> {
            let of = |state| {
                self.ends
                    .iter()
                    .filter(|end| end.state == state && wanted(end))
                    .map(|end| end.number)
                    .collect()
            };
            let ready: BTreeSet<u8> = of(State::Ready);
            if ready.is_empty() { of(State::Ending) } else { ready }
        };
        let node = match (inside, place) {
            (true, Place::One) => Some("one"),
            (true, Place::Two) => Some("two"),
            // Node ports and others than pods are at the machine, which is both nodes.
            _ => None,
        };
        let policy = if inside { self.internal } else { self.external };
        let found = match (policy, node) {
            ("Local", Some(node)) => usable(&|end| end.node == node),
            ("Local", None) => usable(&|end| end.node != "afar"),
            (_, None) => usable(&|_| true),
            (_, Some(node)) => {
                let ready = |wanted: &dyn Fn(&End) -> bool| {
                    self.ends.iter().any(|end| end.state == State::Ready && wanted(end))
                };
                if self.hints == Hints::Nodes && ready(&|end| end.node == node) {
                    usable(&|end| end.node == node)
                } else if self.hints != Hints::None && ready(&|end| zone(end.node) == zone(node)) {
                    usable(&|end| zone(end.node) == zone(node))
                } else {
                    usable(&|_| true)
                }
            }
        };
        match (found.is_empty(), usable(&|_| true).is_empty()) {
            (false, _) => Found::Endpoints(found),
            (true, true) => Found::Refused,
            // There are some, but not for this client.
            (true, false) => Found::Silence,
        }
    }
}

/// The table's beginning.
fn beginning(family: Family, pods: &[String]) -> String {
    let services = if family == Family::V4 { "10.96.0.0/16" } else { "fd00:10:96::/112" };
    base("t", &Base { family, services, pods, masqueraded: None, masquerade_all: true })
}

#[test]
fn clients_reach_exactly_what_a_service_means_for_them() {
    reach_exactly(Net::new('a'), Family::V4, cases(Family::V4));
}

/// The rules are the same but for the addresses: some of the cases show it.
#[test]
fn clients_reach_it_over_ipv6_as_well() {
    if !has_six() {
        eprintln!("not tested: this machine has no IPv6");
        return;
    }
    let some = cases(Family::V6).into_iter().filter(|case| case.index % 4 == 0);
    reach_exactly(Net::new('d'), Family::V6, some.collect());
}

fn reach_exactly(net: Net, family: Family, cases: Vec<Case>) {
    net.serve(family);
    let mut machine = Machine::new(["one".to_owned(), "two".to_owned()]);
    for node in ["one", "two"] {
        machine.learn(node, Some(zone(node).to_owned()));
    }
    let mut table = Table::new(family);
    let wanted = cases.iter().map(|case| {
        let ports = service_ports(family, &case.service(), &[case.slice()], &machine);
        (client::Key::new("n", format!("s{}", case.index)), objects(&ports))
    });
    let change = table.update("t", wanted.collect());
    let pods = [("one", 11), ("two", 12)]
        .map(|(node, number)| (node, either(family, format!("10.77.0.{number}"), format!("fd77::{number}"))))
        .map(|(node, pod)| format!("add element {} t {} {{ {pod} }}\n", family.nft(), places::set(node)));
    let rules = beginning(family, &machine.sets()) + &change + &pods.concat();
    let namespace = format!("{}m", net.prefix);
    run("ip", &["netns", "exec", &namespace, "nft", "-f", "-"], &rules);

    // Each place asks by itself.
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for (place, name) in
            [(Place::Machine, "m"), (Place::One, "one"), (Place::Two, "two"), (Place::Outside, "out")]
        {
            let (tell, cases, net) = (tell.clone(), cases.clone(), &net);
            scope.spawn(move || {
                net.within(name, move || {
                    for case in cases {
                        // Who is outside knows no cluster addresses.
                        let inside =
                            (place != Place::Outside).then(|| (SocketAddr::new(case.address(), 80), true));
                        let node = match place {
                            Place::Outside => either(family, "198.18.9.1".to_owned(), "fd78::1".to_owned()),
                            _ => either(family, "10.77.0.1".to_owned(), "fd77::1".to_owned()),
                        };
                        let outside = (SocketAddr::new(node, case.node_port()), false);
                        for (at, inside) in inside.into_iter().chain([outside]) {
                            let expected = case.expected(place, inside);
                            let found = ask(at, &expected);
                            if found != expected {
                                let _ = tell.send(format!(
                                    "{place:?} at {at}: {found:?}, expected {expected:?}: {case:?}"
                                ));
                            }
                        }
                    }
                });
            });
        }
    });
    drop(tell);
    let wrong: Vec<String> = told.into_iter().collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Rules without effect that take a packet a while, before those of services: so changes meet packets that are on their way.
fn detour() -> String {
    const TURNS: usize = 40;
    let of = |rule: &dyn Fn(usize) -> String| (1..=TURNS).map(rule).collect::<String>();
    format!(
        "table ip t {{\n chain turn-3 {{ {} }}\n chain turn-2 {{ {} }}\n chain turn-1 {{ {} }}\n}}
insert rule ip t output jump turn-1
insert rule ip t prerouting jump turn-1
",
        of(&|number| format!("ip daddr 192.0.2.{number} return; ")),
        of(&|_| "jump turn-3; ".to_owned()),
        of(&|_| "jump turn-2; ".to_owned()),
    )
}

/// What the table needs of a service with this affinity and these endpoints.
fn changing(affinity: &str, ends: &[u8]) -> Objects {
    let service = from_value(json!({
        "metadata": {"namespace": "n", "name": "changing"},
        "spec": {
            "type": "NodePort", "clusterIP": "10.96.1.1", "sessionAffinity": affinity,
            "ports": [{"port": 80, "nodePort": 30_000}],
        },
    }));
    let end = |number: &u8| json!({"addresses": [endpoint(Family::V4, *number)], "nodeName": "one"});
    let slice = from_value(json!({
        "metadata": {}, "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": ends.iter().map(end).collect::<Vec<_>>(),
    }));
    let machine = Machine::new(["one".to_owned()]);
    objects(&service_ports(
        Family::V4,
        &service.expect("a service"),
        &[Arc::new(slice.expect("a slice"))],
        &machine,
    ))
}

/// Says that it is over, also when it ends with a panic.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn connections_are_led_to_an_endpoint_while_rules_change() {
    const ROUNDS: usize = 30;
    let net = Net::new('b');
    net.serve(Family::V4);
    let namespace = format!("{}m", net.prefix);
    let apply = |rules: &str| run("ip", &["netns", "exec", &namespace, "nft", "-f", "-"], rules);
    let mut table = Table::new(Family::V4);
    let mut to = |objects| table.update("t", vec![(client::Key::new("n", "changing"), objects)]);
    apply(&(beginning(Family::V4, &[]) + &detour() + &to(changing("None", &[1, 2]))));

    let over = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for (place, at) in [
            ("m", "10.96.1.1:80"),
            ("m", "10.77.0.1:30000"),
            ("one", "10.96.1.1:80"),
            ("one", "10.77.0.1:30000"),
        ] {
            let (tell, over, net) = (tell.clone(), over.clone(), &net);
            scope.spawn(move || {
                net.within(place, move || {
                    while !over.load(Ordering::Relaxed) {
                        let asked = ask_once(at.parse().expect("an address"), PATIENCE);
                        let _ = tell.send(asked.map_err(|error| format!("{place} at {at}: {error}")));
                    }
                });
            });
        }
        let _over = Over(over);
        for _ in 0..ROUNDS {
            for (affinity, ends) in
                [("ClientIP", &[1, 2][..]), ("None", &[2, 3]), ("ClientIP", &[3]), ("None", &[1, 2])]
            {
                apply(&to(changing(affinity, ends)));
            }
        }
    });
    drop(tell);
    let (answered, failed): (Vec<_>, Vec<_>) = told.into_iter().partition(Result::is_ok);
    assert!(!answered.is_empty() && failed.is_empty(), "of {}: {failed:?}", answered.len() + failed.len());
}

#[test]
fn the_pods_bridge_keeps_its_hardware_address() {
    let net = Net::new('c');
    let hardware = |link: &'static str| {
        net.within("m", move || {
            let links =
                Command::new("ip").args(["-json", "link", "show", "dev", link]).env("PATH", PATH).output();
            let links: Value = serde_json::from_slice(&links.expect("ip runs").stdout).expect("JSON");
            links[0]["address"].as_str().expect("an address").to_owned()
        })
    };
    let pod = |name: &str, hardware: &str| {
        let namespace = format!("{}m", net.prefix);
        for words in [
            format!("link add name {name} address {hardware} type veth peer name {name}-peer"),
            format!("link set {name} master bridge0 up"),
        ] {
            run("ip", &[&["-n", &namespace][..], &words.split(' ').collect::<Vec<_>>()].concat(), "");
        }
    };
    // As it is by itself.
    let before = hardware("bridge0");
    pod("low", "02:00:00:00:00:02");
    assert_eq!(hardware("bridge0"), "02:00:00:00:00:02", "not {before}");

    for address in [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(192, 0, 2, 99)] {
        net.within("m", move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime
                .block_on(Nftables::new(OsStr::new("/usr/bin:/bin")).hold(address.into()))
                .expect("it is held");
        });
    }
    pod("lower", "02:00:00:00:00:01");
    assert_eq!(hardware("bridge0"), "02:00:00:00:00:02");
}
