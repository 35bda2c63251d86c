//! A cluster of an ordinary user who may use the Docker engine: services answer by way of a helper that the engine runs.
//!
//! Needs root, to become somebody else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;
use tests::docker::docker;
use tests::profile::{Said, free_port};
use tests::{binary, eventually};

/// Nobody in particular.
const USER: &str = "65534";

/// A profile of a user's, gone with its value.
struct User {
    home: TempDir,
    minik: PathBuf,
    /// The group that may use the engine.
    group: String,
    profile: String,
}

impl User {
    fn new() -> Self {
        let home = TempDir::new().expect("a folder");
        let everybody = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(home.path(), everybody).expect("it is ours");
        // Where others cannot look, nothing can be run by them.
        let minik = home.path().join("minik");
        std::fs::copy(binary("minik"), &minik).expect("copied");
        let said = Command::new("stat").args(["--format", "%g", "/var/run/docker.sock"]).output();
        let group = Said::of(said.expect("stat runs")).ok().trim().to_owned();
        Self { home, minik, group, profile: format!("user-{}", std::process::id()) }
    }

    /// Runs `minik …` as that user, who is no one else, and has no rights but those of the group.
    fn minik(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--groups", &self.group]);
        command.args(["--no-new-privs", "--bounding-set=-all"]).arg(&self.minik);
        command.args(["-p", &self.profile]).args(arguments).current_dir(self.home.path());
        command.env("HOME", self.home.path()).env("MINIK_HOME", self.home.path().join("minik-home"));
        command.env("KUBECONFIG", self.kubeconfig()).env("NO_COLOR", "1");
        Said::of(command.output().expect("it runs"))
    }

    fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// What kctl says; it only asks the API.
    fn kctl(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(binary("kctl"));
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).env("HOME", self.home.path());
        Said::of(command.output().expect("kctl runs"))
    }

    /// A pod that runs a script.
    fn run(&self, name: &str, more: &[&str], script: &str) {
        let of = ["run", name, "--image=busybox", "--image-pull-policy=IfNotPresent"];
        self.kctl(&[&of, more, &["--command", "--", "sh", "-c", script]].concat()).ok();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let said = self.minik(&["delete"]);
        if said.code != 0 && !std::thread::panicking() {
            panic!("delete the profile: {said:?}");
        }
    }
}

fn shows(what: &str, part: &str, ask: impl Fn() -> Said) {
    eventually(what, || {
        let said = ask();
        if said.stdout.contains(part) { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

fn run(program: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    Said::of(command.output().unwrap_or_else(|error| panic!("{program}: {error}")))
}

#[test]
fn services_answer_to_an_ordinary_users_cluster() {
    let user = User::new();
    let started = user.minik(&["start", "--api-port", &free_port().to_string()]);
    assert_eq!(started.code, 0, "{started:?}");
    assert!(started.stdout.contains("by a helper container"), "{started:?}");
    let helpers = || docker(&["ps", "--all", "--format", "{{.Names}}"]);
    let helper = format!("minik_network_{}", user.profile);
    assert!(helpers().contains(&helper));

    user.kctl(&["wait", "--for=create", "serviceaccount/default", "--timeout=60s"]).ok();
    let serve = "mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w";
    user.run("web", &["--labels=app=web"], serve);
    let port = free_port().to_string();
    let wanted = [&format!("--port={port}"), "--target-port=8080", "--type=LoadBalancer"];
    user.kctl(&[&["expose", "pod", "web"], &wanted[..]].concat()).ok();
    let of = |path: &str| user.kctl(&["get", "service", "web", "-o", &format!("jsonpath={path}")]).ok();
    let (cluster_ip, node_port) = (of("{.spec.clusterIP}"), of("{.spec.ports[0].nodePort}"));
    for address in
        [format!("{cluster_ip}:{port}"), format!("127.0.0.1:{node_port}"), format!("127.0.0.1:{port}")]
    {
        let url = format!("http://{address}/");
        shows(&url, "web", || run("curl", &["--silent", "--max-time", "10", &url]));
    }
    // From a pod, and by name.
    let ask = format!(
        "until timeout 10 wget -qO- http://{cluster_ip}:{port}/; do :; done
         until timeout 10 nslookup web.default.svc.cluster.local; do :; done"
    );
    user.run("ask", &["--restart=Never"], &ask);
    shows("the service, from a pod", "web\n", || user.kctl(&["logs", "ask"]));
    shows("its name, from a pod", &cluster_ip, || user.kctl(&["logs", "ask"]));

    // Nothing is left.
    let table = format!("minik-{}", user.profile);
    let tables = || run("nft", &["list", "tables"]).ok();
    assert!(tables().contains(&table));
    assert_eq!(user.minik(&["stop"]).code, 0);
    assert!(!tables().contains(&table));
    assert!(!helpers().contains(&helper));
}
