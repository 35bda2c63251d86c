//! The commands of `minik` that a developer uses every day, on a real profile without containers.

use serde_json::Value;
use tests::profile::Profile;

const SIMULATED: &[&str] = &["--runtime", "simulated"];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn nodes_services_and_profiles_are_listed_and_changed() {
    let profile = Profile::new("day");
    profile.start(SIMULATED).ok();
    // The program that `minik kubectl` runs, and the address that nodes have.
    assert!(profile.minik(&["kubectl", "--", "get", "nodes", "--no-headers"]).ok().contains("Ready"));
    assert_eq!(profile.minik(&["node", "list"]).ok().lines().count(), 1);
    assert!(profile.minik(&["node", "add"]).ok().contains("-m02\" is added"));
    let nodes = json(&profile.minik(&["node", "list", "-o", "json"]).ok());
    assert_eq!(nodes.as_array().map(Vec::len), Some(2), "{nodes}");
    let added = format!("{}-m02", profile.name);
    assert!(
        profile
            .minik(&["node", "delete", &profile.name])
            .stderr
            .contains("only the one that was added last can")
    );
    profile.minik(&["node", "delete", &added]).ok();
    assert_eq!(profile.minik(&["node", "list"]).ok().lines().count(), 1);
    let listed = json(&profile.minik(&["profile", "list", "-o", "json"]).ok());
    assert_eq!(listed["valid"][0]["Status"], "Running", "{listed}");
    profile.minik(&["profile", &profile.name]).ok();
    assert_eq!(profile.minik(&["profile"]).ok().trim(), profile.name);
    assert!(profile.minik(&["profile", "nope"]).stderr.contains("it does not exist"));

    profile.kctl(&["create", "deployment", "web", "--image=x", "--port=80"]).ok();
    profile.kctl(&["expose", "deployment", "web", "--type=NodePort"]).ok();
    let url = profile.minik(&["service", "web", "--url"]).ok();
    let port = profile.kctl(&["get", "svc", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"]).ok();
    assert!(url.trim().ends_with(&format!(":{port}")), "{url}");
    assert!(profile.minik(&["service", "list"]).ok().contains("web"));
    assert!(
        profile
            .minik(&["service", "nope"])
            .stderr
            .contains("service 'nope' was not found in 'default' namespace")
    );
    assert!(profile.minik(&["tunnel"]).ok().contains("without a tunnel"));
}

#[test]
fn a_node_stops_and_starts_by_itself() {
    let profile = Profile::new("onenode");
    profile.start(&["--runtime", "simulated", "--nodes", "3"]).ok();
    let (second, third) = (format!("{}-m02", profile.name), format!("{}-m03", profile.name));
    let said = profile.minik(&["node", "stop", &profile.name]);
    assert!(said.code == 1 && said.stderr.contains("it stops with its cluster"), "{said:?}");
    assert!(profile.minik(&["node", "stop", "m07"]).stderr.contains("\"m07\" does not exist"));
    assert_eq!(profile.minik(&["node", "stop", "m02"]).ok(), format!("Node {second:?} is stopped.\n"));
    assert_eq!(
        profile.minik(&["node", "stop", &second]).ok(),
        format!("Node {second:?} is already stopped.\n")
    );
    // The others go on; of this one there are no signs of life any more.
    let node = format!("node/{second}");
    profile.kctl(&["wait", "--for=condition=Ready=Unknown", &node, "--timeout=180s"]).ok();
    for other in [&profile.name, &third] {
        profile.kctl(&["wait", "--for=condition=Ready", &format!("node/{other}"), "--timeout=0s"]).ok();
    }
    let said = profile.minik(&["status"]);
    let of_it = format!("\n{second}\ntype: Worker\nhost: Stopped\nkubelet: Stopped\n");
    assert!(said.code == 1 && said.stdout.contains(&of_it), "{said:?}");
    assert_eq!(profile.minik(&["node", "start", "m02"]).ok(), format!("Node {second:?} is started.\n"));
    profile.kctl(&["wait", "--for=condition=Ready", &node, "--timeout=60s"]).ok();
    profile.minik(&["status"]).ok();
    // A start of the cluster starts all of them.
    profile.minik(&["node", "stop", "m03"]).ok();
    profile.start(&[]).ok();
    assert!(profile.minik(&["node", "start", "m03"]).ok().contains("is already started"));
}

#[test]
fn a_paused_cluster_goes_on_where_it_was() {
    let profile = Profile::new("pause");
    profile.start(SIMULATED).ok();
    profile.minik(&["pause"]).ok();
    let status = json(&profile.minik(&["status", "-o", "json"]).stdout);
    assert_eq!((&status["apiserver"], &status["kubelet"]), (&"Paused".into(), &"Paused".into()), "{status}");
    profile.minik(&["unpause"]).ok();
    profile.kctl(&["create", "configmap", "after"]).ok();
    profile.minik(&["pause"]).ok();
    profile.minik(&["stop"]).ok();
    profile.start(&[]).ok();
    profile.kctl(&["get", "configmap", "after"]).ok();
}

#[test]
fn preferences_and_files_set_what_profiles_start_with() {
    let profile = Profile::new("prefer");
    profile.minik(&["config", "set", "runtime", "simulated"]).ok();
    assert_eq!(profile.minik(&["config", "get", "runtime"]).ok().trim(), "simulated");
    assert!(
        profile
            .minik(&["config", "set", "memory", "4g"])
            .stderr
            .contains("property name \"memory\" not found")
    );
    assert_eq!(profile.minik(&["config", "view"]).ok(), "- runtime: simulated\n");
    let file = profile.home().join("cluster.yaml");
    std::fs::write(&file, "simulatedNodes: 2\ndisks: []\n").expect("written");
    let file = file.to_str().expect("a path of letters");
    assert!(profile.start(&["--config", file]).stderr.contains("unknown setting \"disks\""));
    std::fs::write(file, "simulatedNodes: 2\n").expect("written");
    profile.start(&["--config", file]).ok();
    assert_eq!(profile.minik(&["node", "list"]).ok().lines().count(), 3);
}

#[test]
fn a_command_gets_a_cluster_that_is_gone_afterwards() {
    let profile = Profile::new("run");
    let kctl = tests::binary("kctl");
    let kctl = kctl.to_str().expect("a path of letters");
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--runtime", "simulated", "--"];
        all.extend(words);
        profile.minik(&all)
    };
    let said = run(&[kctl, "get", "nodes", "--no-headers"]);
    assert!(said.stdout.contains("Ready"), "{said:?}");
    assert_eq!(said.code, 0);
    assert_eq!(run(&["sh", "-c", "exit 7"]).code, 7);
    assert_eq!(run(&["sh", "-c", "kill -9 $PPID"]).code, -1);
    // The guard of the one that was killed may still be at work.
    let profiles = profile.home().join("home/profiles");
    tests::eventually("no profile is left", || {
        match std::fs::read_dir(&profiles).map_or(0, Iterator::count) {
            0 => Ok(()),
            left => Err(format!("{left} are")),
        }
    });
}

#[test]
fn expectations_hold_or_say_why_not() {
    let profile = Profile::new("expect");
    profile.start(SIMULATED).ok();
    profile.kctl(&["create", "deployment", "web", "--image=x", "--replicas=2"]).ok();
    let (file, report) = (profile.home().join("a.yaml"), profile.home().join("report.xml"));
    std::fs::write(
        &file,
        "assertions:\n- {name: up, apiVersion: apps/v1, kind: Deployment, object: web, condition: Available}\n- {name: pods, apiVersion: v1, kind: Pod, selector: app=web, count: 2, condition: Ready, restarts: 0}\n- {name: none, apiVersion: v1, kind: Pod, object: nope, absent: true}\n",
    )
    .expect("written");
    let (path, xml) = (file.to_str().expect("letters"), report.to_str().expect("letters"));
    profile.minik(&["expect", "-f", path, "--junit", xml]).ok();
    std::fs::write(
        &file,
        "timeout: 1s\nassertions:\n- {name: three, apiVersion: v1, kind: Pod, selector: app=web, count: 3}\n",
    )
    .expect("written");
    let said = profile.minik(&["expect", "-f", path, "--junit", xml]);
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("there are 2, not 3"), "{said:?}");
    assert!(std::fs::read_to_string(&report).expect("a report").contains("failures=\"1\""));
}

#[test]
fn small_commands_say_what_they_do() {
    let profile = Profile::new("small");
    profile.start(SIMULATED).ok();
    assert!(profile.minik(&["docker-env"]).stderr.contains("have no Docker engine"));
    for words in [&["dashboard"][..], &["dashboard", "--url"]] {
        let said = profile.minik(words);
        assert!(said.code == 1 && said.stderr.contains("minik has no dashboard yet"), "{said:?}");
    }
    assert!(profile.minik(&["update-check"]).ok().contains("CurrentVersion: v"));
    std::fs::remove_file(profile.kubeconfig()).expect("removed");
    profile.minik(&["update-context"]).ok();
    profile.kctl(&["get", "nodes"]).ok();
    assert!(profile.minik(&["ssh", "--", "echo", "$MINIK_PROFILE"]).ok().contains(&profile.name));
    let target = profile.home().join("copied/config.json");
    let config = profile.kubeconfig();
    profile.minik(&["cp", config.to_str().expect("letters"), target.to_str().expect("letters")]).ok();
    assert!(target.exists());
    let man = profile.home().join("man");
    profile.minik(&["man", man.to_str().expect("letters")]).ok();
    assert!(man.join("minik-start.1").exists());
    assert!(profile.minik(&["completion", "bash"]).ok().contains("complete"));
    profile.minik(&["logs", "--problems"]).ok();
    assert_eq!(profile.minik(&["logs", "-n", "1"]).ok().lines().count(), 1);
    assert!(profile.minik(&["stop", "--schedule", "1h"]).ok().contains("stops in"));
    assert!(profile.minik(&["stop", "--cancel-scheduled"]).ok().contains("is cancelled"));
    profile.minik(&["stop", "--schedule", "0s"]).ok();
    tests::eventually("the scheduled stop comes", || {
        let said = profile.minik(&["status"]).stdout;
        if said.contains("host: Running") { Err(said) } else { Ok(()) }
    });
}

#[test]
fn a_compose_file_comes_up_and_goes() {
    let profile = Profile::new("compose");
    profile.start(SIMULATED).ok();
    let file = profile.home().join("compose.yaml");
    std::fs::write(
        &file,
        "services:\n  db:\n    image: db\n    command: [sleep, '3600']\n    volumes: ['data:/var/lib/data']\n    healthcheck: {test: [CMD, 'true'], interval: 1s}\n  web:\n    image: web\n    ports: ['18080:80']\n    depends_on: {db: {condition: service_healthy}}\n    deploy: {replicas: 2}\nvolumes: {data: {}}\n",
    )
    .expect("written");
    let file = file.to_str().expect("letters");
    let compose = |words: &[&str]| profile.kctl(&[&["compose", "-f", file][..], words].concat()).ok();
    for _ in 0..2 {
        let said = compose(&["up"]);
        let order = |name: &str| said.find(&format!("deployment.apps/{name} applied")).expect("applied");
        assert!(order("db") < order("web"), "{said}");
        profile.kctl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    }
    let policies = "jsonpath={.items[*].spec.containers[0].imagePullPolicy}";
    let policies = profile.kctl(&["get", "pods", "-o", policies]).ok();
    assert_eq!(policies, "IfNotPresent IfNotPresent IfNotPresent");
    compose(&["down"]);
    let left = "deployments,services,pvc";
    assert_eq!(
        profile.kctl(&["get", left, "-o", "name"]).ok(),
        "service/kubernetes\npersistentvolumeclaim/data\n"
    );
    compose(&["down", "--volumes"]);
    profile.kctl(&["wait", "--for=delete", "pvc/data", "--timeout=60s"]).ok();
}

#[test]
fn credentials_come_from_a_plugin() {
    let profile = Profile::new("plugin");
    profile.start(SIMULATED).ok();
    let token = profile.kctl(&["create", "token", "default"]).ok();
    let plugin = profile.home().join("plugin.sh");
    let write = |body: &str| {
        std::fs::write(&plugin, format!("#!/bin/sh\n{body}\n")).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&plugin, mode).expect("a program");
    };
    let command = format!("--exec-command={}", plugin.display());
    profile
        .kctl(&[
            "config",
            "set-credentials",
            "plug",
            &command,
            "--exec-api-version=client.authentication.k8s.io/v1",
            "--exec-interactive-mode=Never",
        ])
        .ok();
    let whoami = || profile.kctl(&["auth", "whoami", "--user=plug"]);
    write(&format!(
        "echo '{{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{{\"token\":\"{}\"}}}}'",
        token.trim()
    ));
    assert!(whoami().ok().contains("system:serviceaccount:default:default"));
    for (body, why) in [
        ("exit 3", format!("exec: executable {} failed with exit code 3", plugin.display())),
        (
            "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\"}'",
            "exec plugin didn't return a status field".to_owned(),
        ),
    ] {
        write(body);
        let said = whoami();
        assert_eq!(said.stderr, format!("Unable to connect to the server: getting credentials: {why}\n"));
        assert_eq!(said.code, 1);
    }
    std::fs::remove_file(&plugin).expect("removed");
    let said = whoami();
    assert!(said.stderr.contains("exec: fork/exec") && said.stderr.contains("no such file"), "{said:?}");
}

#[test]
fn a_dump_has_objects_and_logs() {
    let profile = Profile::new("dump");
    profile.start(SIMULATED).ok();
    let pod = format!("kube-scheduler-{}", profile.name);
    profile.kctl(&["wait", "-n", "kube-system", "--for=create", &format!("pod/{pod}"), "--timeout=60s"]).ok();
    let ready = format!("pod/{pod}");
    profile.kctl(&["wait", "-n", "kube-system", "--for=condition=Ready", &ready, "--timeout=60s"]).ok();
    let folder = profile.home().join("dump");
    let to = format!("--output-directory={}", folder.display());
    let said = profile.kctl(&["cluster-info", "dump", &to]).ok();
    assert!(said.contains("Cluster info dumped to"), "{said}");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file of the dump");
    assert_eq!(json(&read("nodes.json"))["items"][0]["metadata"]["name"], profile.name.as_str());
    let log = read(&format!("kube-system/{pod}/logs.txt"));
    assert!(
        log.contains("==== START logs for container kube-scheduler") && log.contains("starting"),
        "{log}"
    );
    assert!(profile.kctl(&["cluster-info", "dump", "-o", "yaml"]).ok().contains("kind: PodList"));
}

#[test]
fn addons_are_switches_or_say_what_they_are() {
    let profile = Profile::new("addons");
    profile.start(SIMULATED).ok();
    let status = |name: &str| {
        let all = json(&profile.minik(&["addons", "list", "-o", "json"]).ok());
        all[name]["Status"].as_str().map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(
        (&*status("storage"), &*status("dns"), &*status("dashboard")),
        ("enabled", "disabled", "not available")
    );
    profile.kctl(&["wait", "--for=create", "storageclass/standard", "--timeout=60s"]).ok();
    profile.minik(&["addons", "disable", "storage"]).ok();
    assert_eq!(status("storage"), "disabled");
    assert!(profile.kctl(&["get", "storageclass", "standard"]).stderr.contains("not found"));
    profile.minik(&["addons", "enable", "storage"]).ok();
    profile.kctl(&["wait", "--for=create", "storageclass/standard", "--timeout=60s"]).ok();
    for (words, why) in [
        (["enable", "dashboard"], "minik has no addon dashboard yet"),
        (["enable", "registry"], "needs containers"),
        (["disable", "metrics-server"], "part of the API server"),
        (["enable", "ingress"], "needs containers"),
        (["enable", "nonsense"], "nonsense is not a valid addon"),
    ] {
        let said = profile.minik(&[&["addons"][..], &words].concat());
        assert!(said.code != 0 && said.stderr.contains(why), "{said:?}");
    }
    let said = profile.minik(&["addons", "configure", "storage"]).ok();
    assert!(said.contains("no available configuration options"), "{said}");
}

#[test]
fn a_mount_lasts_as_long_as_its_command() {
    let profile = Profile::new("mount");
    profile.start(SIMULATED).ok();
    let (source, target) = (profile.home().join("source"), profile.home().join("target"));
    std::fs::create_dir(&source).expect("a folder");
    std::fs::write(source.join("f"), "here").expect("written");
    assert!(profile.minik(&["mount", "nowhere"]).stderr.contains("does not name two folders"));
    let pair = format!("{}:{}", source.display(), target.display());
    let id = std::process::Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout != b"0\n" {
        assert!(profile.minik(&["mount", &pair]).stderr.contains("only root may mount"));
        return;
    }
    let mut command = profile.command(&tests::binary("minik"));
    let mut child = command.args(["-p", &profile.name, "mount", &pair]).spawn().expect("minik runs");
    tests::eventually("the folder is mounted", || {
        std::fs::read_to_string(target.join("f")).map(drop).map_err(|error| error.to_string())
    });
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().expect("kill runs").success());
    assert!(child.wait().expect("it ends").success());
    assert!(!target.exists());
}

#[test]
fn kctl_completes_live_names_in_the_users_shell() {
    let profile = Profile::new("complete");
    profile.start(SIMULATED).ok();
    profile.kctl(&["create", "configmap", "a-long-name"]).ok();
    let kctl = tests::binary("kctl");
    let folder = kctl.parent().expect("a folder").display().to_string();
    let bash = format!(
        "PATH={folder}:$PATH; source <(kctl completion bash); COMP_LINE='kctl get configmap a-lo'; COMP_POINT=${{#COMP_LINE}}; __kctl_complete; echo \"${{COMPREPLY[@]}}\""
    );
    let mut command = profile.command(std::path::Path::new("bash"));
    let said = tests::profile::Said::of(command.args(["-c", &bash]).output().expect("bash runs"));
    assert_eq!(said.stdout, "a-long-name\n", "{said:?}");
    // zsh's own functions need a terminal; what ours hands to them is caught.
    let zsh = format!(
        "PATH={folder}:$PATH; compdef() {{ :; }}; compadd() {{ shift; print -r -- \"$@\"; }}; source <(kctl completion zsh); words=(kctl get configmap a-lo); CURRENT=4; _kctl"
    );
    let mut command = profile.command(std::path::Path::new("zsh"));
    let said = tests::profile::Said::of(
        command.args(["-fc", &zsh]).output().expect("zsh runs: ./xtask/setup --tests"),
    );
    assert_eq!(said.stdout, "a-long-name\n", "{said:?}");
    let man = profile.home().join("kctl-man");
    profile.kctl(&["man", man.to_str().expect("letters")]).ok();
    assert!(man.join("kctl-get.1").exists() && man.join("kctl-rollout-undo.1").exists());
}
