//! What a profile is started with: ports, mounts, registries, feature gates, images of the cache; as flags and in a file.
//!
//! Needs a Docker engine, Debian's `docker-registry` and the images of `tests/images/build`.

use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;
use tests::docker::docker;
use tests::eventually;
use tests::profile::{Profile, free_port};
use tests::registry::{Access, Registry};

const SIMULATED: &[&str] = &["--runtime", "simulated"];
/// An answer that takes longer is asked for again.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

fn letters(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

fn write(profile: &Profile, name: &str, content: &Value) -> String {
    let path = profile.home().join(name);
    // JSON is YAML.
    fs::write(&path, content.to_string()).expect("written");
    letters(&path).to_owned()
}

fn is_root() -> bool {
    let id = std::process::Command::new("id").arg("-u").output().expect("id runs");
    id.stdout == b"0\n"
}

/// A port that nobody has, for connections and for packets.
fn free_for_both() -> u16 {
    let free = std::iter::repeat_with(free_port)
        .find(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok());
    free.expect("there is always another")
}

/// Whether the web server answers behind a port of this machine.
fn get(port: u16) -> Result<(), String> {
    let said = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(PATIENCE)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        std::io::Result::Ok(said)
    };
    let said = said().map_err(|error| error.to_string())?;
    if said.contains("Hello") { Ok(()) } else { Err(said) }
}

fn ask_by_packet(port: u16) -> Result<(), String> {
    let answer = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(PATIENCE)?;
        socket.send_to(b"?", (Ipv4Addr::LOCALHOST, port))?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer)?;
        std::io::Result::Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let answer = answer().map_err(|error| error.to_string())?;
    if answer.contains("Hello") { Ok(()) } else { Err(answer) }
}

#[test]
fn ports_of_this_machine_lead_to_the_nodes() {
    let profile = Profile::new("ports");
    let (tcp, udp, node) = (free_port(), free_for_both(), free_for_both());
    let settings = json!({"ports": [
        {"hostPort": tcp, "containerPort": node},
        {"hostPort": udp, "nodePort": node, "protocol": "UDP", "listenAddress": "127.0.0.1"},
    ]});
    let file = write(&profile, "cluster.yaml", &settings);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, tcp)).expect("a port");
    let said = profile.start(&["--config", &file]);
    let why = format!("port {tcp} cannot be used for the mapping 127.0.0.1:{tcp}:{node}");
    assert!(said.code == 1 && said.stderr.contains(&why), "{said:?}");
    drop(taken);
    let said = profile.start(&["--ports", "8080"]);
    assert!(said.code == 2 && said.stderr.contains("give both ports: HOST:NODE"), "{said:?}");
    let said = profile.start(&["--runtime", "simulated", "--config", &file]);
    assert!(said.stderr.contains("ports cannot lead to pods on paper"), "{said:?}");

    profile.start(&["--config", &file]).ok();
    let container = json!({"name": "main", "image": "minik/hello:v1", "imagePullPolicy": "Never",
        "env": [{"name": "PORT", "value": node.to_string()}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"hostNetwork": true, "terminationGracePeriodSeconds": 1, "containers": [container]}});
    profile.kctl(&["create", "-f", &write(&profile, "pod.json", &pod)]).ok();
    eventually("connections are passed on", || get(tcp));
    eventually("packets are passed on", || ask_by_packet(udp));
    // They stay what they are until they are changed, and are free when the cluster is stopped.
    let other = free_port();
    let change = format!("{other}:{node}");
    assert!(profile.start(&["--ports", &change]).stderr.contains("is running with other settings"));
    profile.minik(&["stop"]).ok();
    eventually("the port is free again", || {
        TcpListener::bind((Ipv4Addr::LOCALHOST, tcp)).map(drop).map_err(|error| error.to_string())
    });
    profile.start(&["--ports", &change]).ok();
    eventually("the other port leads there", || get(other));
}

#[test]
fn mounts_last_as_long_as_the_cluster() {
    let profile = Profile::new("mounts");
    let (source, target) = (profile.home().join("source"), profile.home().join("below/target"));
    fs::create_dir(&source).expect("a folder");
    fs::write(source.join("f"), "here").expect("written");
    let settings = json!({"runtime": "simulated",
        "mounts": [{"hostPath": source, "nodePath": target, "readOnly": true}]});
    let file = write(&profile, "cluster.yaml", &settings);
    assert!(profile.start(&["--mount"]).stderr.contains("--mount does not say which folder"));
    assert!(profile.start(&["--mount-string", "/nowhere:/mnt/x"]).stderr.contains("is no folder"));
    let said = profile.start(&["--config", &file]);
    if !is_root() {
        assert!(said.stderr.contains("only root may mount"), "{said:?}");
        return;
    }
    said.ok();
    let is_mounted = || fs::read_to_string(target.join("f")).is_ok_and(|text| text == "here");
    assert!(is_mounted());
    fs::write(target.join("g"), "").expect_err("it is read-only");
    profile.minik(&["stop"]).ok();
    assert!(!profile.home().join("below").exists());
    // What a crash leaves goes with the next command that ends or begins a server.
    profile.start(&[]).ok();
    profile.kill();
    eventually("the server is gone", || match profile.minik(&["status"]).stdout {
        said if said.contains("host: Running") => Err(said),
        _ => Ok(()),
    });
    assert!(is_mounted());
    profile.start(&[]).ok();
    assert!(is_mounted());
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the kernel's table");
    assert_eq!(table.matches(letters(&target)).count(), 1);
    profile.kill();
    eventually("the server is gone again", || match profile.minik(&["stop"]).stdout {
        said if said.contains("is not running") => Ok(()),
        said => Err(said),
    });
    assert!(!profile.home().join("below").exists());
    let pair = format!("{}:{}", source.display(), target.display());
    profile.start(&["--mount", "--mount-string", &pair]).ok();
    fs::write(target.join("g"), "").expect("it is not read-only any more");
    profile.minik(&["delete"]).ok();
    assert!(source.join("g").exists() && !profile.home().join("below").exists());
}

#[test]
fn images_come_from_mirrors_under_the_name_that_was_asked_for() {
    let profile = Profile::new("mirrors");
    let registry = Registry::start(Access::Open);
    let repository = format!("team/mirrored-{}:1", std::process::id());
    let pushed = registry.push("busybox", &repository);
    // Nobody can be asked by this name but the mirrors; the first of them does not answer.
    let asked = format!("registry.invalid/{repository}");
    let mirrors = ["http://127.0.0.1:1".to_owned(), format!("http://{}", registry.address)];
    let settings = json!({"registries": {
        "mirrors": {"registry.invalid": mirrors}, "insecure": ["127.0.0.0/8"]}});
    let file = write(&profile, "cluster.yaml", &settings);
    for (flags, why) in [
        (["--insecure-registry", "registry.example:5000"], "the Docker engine decides that"),
        (["--registry-mirror", "http://registry.example:5000"], "the Docker engine decides that"),
        (["--registry-mirror", "ftp://registry.example"], "is no mirror"),
    ] {
        let said = profile.start(&flags);
        assert!(said.code == 1 && said.stderr.contains(why), "{said:?}");
    }
    profile.start(&["--config", &file]).ok();
    profile.kctl(&["run", "p", "--image", &asked, "--image-pull-policy=Always", "--", "sleep", "3600"]).ok();
    profile.kctl(&["wait", "--for=condition=Ready", "pod/p", "--timeout=60s"]).ok();
    let names = docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let has = |name: &str| names.lines().any(|line| line == name);
    assert!(has(&asked) && !has(&pushed), "{names}");
    profile.kctl(&["delete", "pod", "p", "--now"]).ok();
    assert_eq!(profile.minik(&["image", "pull", &asked]).ok(), format!("Pulled image: {asked}\n"));
    let back = format!("{}/team/back:1", registry.address);
    profile.minik(&["image", "tag", &asked, &back]).ok();
    assert_eq!(profile.minik(&["image", "push", &back]).ok(), format!("Pushed image: {back}\n"));
    profile.minik(&["delete"]).ok();
    docker(&["image", "rm", &asked, &back]);
}

#[test]
fn feature_gates_are_what_minik_does() {
    let profile = Profile::new("gates");
    for (gates, why) in [
        ("FlyingPods=true", "unrecognized feature gate: FlyingPods"),
        ("SidecarContainers=false", "feature gate \"SidecarContainers\" cannot be switched off"),
    ] {
        let said = profile.start(&["--runtime", "simulated", "--feature-gates", gates]);
        assert!(said.code == 1 && said.stderr.contains(why), "{said:?}");
    }
    let file = write(&profile, "cluster.yaml", &json!({"featureGates": {"GangScheduling": true}}));
    let said = profile.start(&["--runtime", "simulated", "--config", &file]);
    assert!(said.stderr.contains("feature gate \"GangScheduling\" cannot be switched on"), "{said:?}");
    let new = Profile::new("dry");
    assert!(new.start(&[SIMULATED, &["--dry-run"]].concat()).ok().contains("could start"));
    assert!(!new.dir().exists());
    let gates = &["--feature-gates", "SidecarContainers=true,GangScheduling=false", "--addons", "storage"];
    new.start(&[SIMULATED, gates].concat()).ok();
}

#[test]
fn images_of_the_cache_come_back() {
    let profile = Profile::new("cache");
    let image = format!("minik-test/cached-{}:1", std::process::id());
    docker(&["tag", "busybox:latest", &image]);
    let is_there = || docker(&["image", "ls", "--quiet", &image]).lines().next().is_some();
    let minik = |words: &[&str]| profile.minik(&[&["cache"][..], words].concat());
    assert_eq!(minik(&["list"]).ok(), "");
    assert_eq!(minik(&["add", &image]).ok(), format!("Cached image: {image}\n"));
    assert_eq!(minik(&["list"]).ok(), format!("{image}\n"));
    assert_eq!(minik(&["list", "-o", "json"]).ok(), format!("[\"{image}\"]\n"));
    assert_eq!(minik(&["list", "--format", "<{{.CacheImage}}>"]).ok(), format!("<{image}>\n"));
    docker(&["image", "rm", &image]);
    let said = profile.start(&[]).ok();
    assert!(said.contains(&format!("Loaded from the cache: {image}")) && is_there(), "{said}");
    // The registry's port is another setting that may change while the cluster runs.
    let port = free_port();
    let configure = |addon| profile.minik(&["addons", "configure", addon, "--port", &port.to_string()]);
    assert_eq!(configure("registry").ok(), "registry was successfully configured\n");
    assert!(configure("dns").stderr.contains("dns has no option --port"));
    let listed: Value =
        serde_json::from_str(&profile.minik(&["profile", "list", "-o", "json"]).ok()).expect("JSON");
    assert_eq!(listed["valid"][0]["Config"]["registryPort"], port);
    docker(&["image", "rm", &image]);
    assert_eq!(minik(&["reload"]).ok(), format!("Loaded image: {image}\n"));
    assert!(is_there());
    assert_eq!(minik(&["delete", &image]).ok(), format!("Deleted from the cache: {image}\n"));
    let said = minik(&["delete", &image]);
    assert!(said.code == 1 && said.stderr.contains("is not in the cache"), "{said:?}");
    docker(&["image", "rm", &image]);
}

#[test]
fn results_are_written_as_they_are_asked_for() {
    let profile = Profile::new("formats");
    assert_eq!(profile.minik(&["status", "--format", "{{.Host}}"]).stdout, "Nonexistent\n");
    profile.start(SIMULATED).ok();
    let format = "{{.Name}} {{.Host}} {{.APIServer}} {{.Kubelet}} {{.Kubeconfig}}";
    let said = profile.minik(&["status", "--format", format]).ok();
    assert_eq!(said, format!("{} Running Running Running Configured\n", profile.name));
    let said = profile.minik(&["status", "--format", "{{.Colour}}"]);
    assert!(said.stderr.contains("can't evaluate field Colour"), "{said:?}");
    assert!(profile.minik(&["version", "--short"]).ok().starts_with('v'));
    assert!(profile.minik(&["ip", "-n", "m07"]).stderr.contains("\"m07\" does not exist"));
    profile.minik(&["ip", "-n", &profile.name]).ok();
    let log = profile.home().join("log");
    assert_eq!(profile.minik(&["logs", "-n", "2", "--file", letters(&log)]).ok(), "");
    assert_eq!(fs::read_to_string(&log).expect("written").lines().count(), 2);
    profile.kctl(&["create", "deployment", "web", "--image=x", "--port=80"]).ok();
    profile.kctl(&["expose", "deployment", "web", "--type=LoadBalancer"]).ok();
    let said = profile.minik(&["service", "web", "--url", "--format", "{{.Port}}"]).ok();
    let port = profile.kctl(&["get", "svc", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"]).ok();
    assert_eq!(said, format!("{port}\n"));
    let tunnel: Value = serde_json::from_str(&profile.minik(&["tunnel", "-o", "json"]).ok()).expect("JSON");
    assert_eq!((&tunnel[0]["name"], &tunnel[0]["ports"]), (&json!("web"), &json!([80])));
    let deleted: Value = serde_json::from_str(&profile.minik(&["delete", "-o", "json"]).ok()).expect("JSON");
    assert_eq!(deleted, json!({"deleted": [profile.name], "purged": false}));
}
