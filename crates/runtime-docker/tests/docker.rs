//! What only a real engine can show: namespaces, users, mounts, names, networks, adoption.

mod support;

use bollard::query_parameters::ListContainersOptionsBuilder;
use futures::{StreamExt, TryStreamExt};
use runtime::testing::{self, Harness};
use runtime::*;
use runtime_docker::{DockerConfig, DockerRuntime, NetworkConfig, PROFILE_LABEL};
use support::{config, harness, harness_with};

/// What a container printed, once it has ended with 0.
async fn output(
    h: &Harness,
    sandbox: &SandboxId,
    pod: &PodSandboxConfig,
    container: &ContainerConfig,
) -> String {
    let id = h.start_in(sandbox, pod, container).await;
    let status = h.ended(&id).await;
    let lines = h.runtime.container_logs(&id, &LogOptions::default()).await.expect("a log");
    let lines: Vec<LogLine> = lines.try_collect().await.expect("no error");
    let text: String = lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect();
    assert_eq!(status.exit_code, 0, "{text}");
    text
}

#[tokio::test]
async fn gives_a_container_what_was_asked() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let mut pod = h.pod("asked");
            pod.hostname = "my-host".into();
            pod.dns = Some(DnsConfig {
                servers: vec!["10.96.0.10".into()],
                searches: vec!["default.svc.cluster.local".into(), "svc.cluster.local".into()],
                options: vec!["ndots:5".into()],
            });
            let sandbox = h.sandbox(&pod).await;
            let directory = tempfile::tempdir().expect("a directory");
            std::fs::write(directory.path().join("file"), "mounted\n").expect("written");
            let steps = [
                "env=A",
                "env=FROM_IMAGE",
                "cwd",
                "hostname",
                "ids",
                "cat=/data/file",
                "cat=/etc/resolv.conf",
            ];
            let mut container = h.container("main", &steps);
            container.env = vec![EnvVar::new("A", "1"), EnvVar::new("A", "2 three")];
            container.working_dir = "/data".into();
            container.mounts = vec![Mount {
                container_path: "/data".into(),
                host_path: directory.path().display().to_string(),
                readonly: true,
                ..Mount::default()
            }];
            container.security.run_as_user = Some(1000);
            container.security.run_as_group = Some(3000);
            container.security.supplemental_groups = vec![4000];
            // Kept below: a temporary directory is private.
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory.path(), open).expect("readable for all");
            let text = output(h, &sandbox, &pod, &container).await;
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("A=2 three"));
            assert_eq!(lines.next(), Some("FROM_IMAGE=yes"));
            assert_eq!(lines.next(), Some("/data"));
            assert_eq!(lines.next(), Some("my-host"));
            let ids = lines.next().expect("ids");
            for part in ["Uid:\t1000\t1000", "Gid:\t3000\t3000", "4000"] {
                assert!(ids.contains(part), "{ids}");
            }
            assert_eq!(lines.next(), Some("mounted"));
            let resolv: Vec<_> = lines.collect();
            for line in [
                "nameserver 10.96.0.10",
                "search default.svc.cluster.local svc.cluster.local",
                "options ndots:5",
            ] {
                assert!(resolv.contains(&line), "{resolv:?}");
            }
        })
    })
    .await;
}

#[tokio::test]
async fn read_only_mounts_and_root_refuse_writes() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let pod = h.pod("readonly");
            let sandbox = h.sandbox(&pod).await;
            let mut container = h.container("main", &["write=/file"]);
            container.security.readonly_rootfs = true;
            let id = h.start_in(&sandbox, &pod, &container).await;
            assert_eq!(h.ended(&id).await.exit_code, 9);
        })
    })
    .await;
}

#[tokio::test]
async fn names_and_labels_are_dockershims() {
    let (docker, harness) = harness_with(config()).await;
    testing::run(harness, |h| {
        Box::pin(async move {
            let pod = h.pod("web");
            let sandbox = h.sandbox(&pod).await;
            let id = h.start_in(&sandbox, &pod, &h.container("main", &["forever"])).await;
            let engine = bollard::Docker::connect_with_defaults().expect("an engine");
            let label = format!("{PROFILE_LABEL}={}", profile_of(&docker));
            let filters = std::collections::HashMap::from([("label", vec![label])]);
            let options = ListContainersOptionsBuilder::default().filters(&filters).build();
            let found = engine.list_containers(Some(options)).await.expect("a list");
            let uid = &pod.metadata.uid;
            let names: Vec<_> = found.iter().flat_map(|c| c.names.clone().unwrap_or_default()).collect();
            assert!(names.contains(&format!("/k8s_POD_web_default_{uid}_0")), "{names:?}");
            assert!(names.contains(&format!("/k8s_main_web_default_{uid}_0")), "{names:?}");
            let main = found.iter().find(|c| c.id.as_deref() == Some(id.as_str())).expect("listed");
            let labels = main.labels.as_ref().expect("labels");
            assert_eq!(labels["io.kubernetes.docker.type"], "container");
            assert_eq!(labels["io.kubernetes.sandbox.id"], sandbox.as_str());
            assert_eq!(labels["io.kubernetes.pod.namespace"], "default");
        })
    })
    .await;
}

fn profile_of(docker: &DockerRuntime) -> &str {
    docker.config().profile.as_str()
}

#[tokio::test]
async fn profiles_do_not_see_each_other() {
    let (_, other) = harness_with(config()).await;
    testing::run(harness().await, |h| {
        Box::pin(async move {
            h.start("mine", &["forever"]).await;
            let theirs = other.start("theirs", &["forever"]).await;
            let seen = h.runtime.list_containers(&ContainerFilter::default()).await.expect("a list");
            assert_eq!(seen.len(), 1);
            assert_ne!(seen[0].id, theirs);
            (other.cleanup)().await;
            let seen = h.runtime.list_containers(&ContainerFilter::default()).await.expect("a list");
            assert_eq!(seen.len(), 1, "the other profile's clean-up took ours");
        })
    })
    .await;
}

#[tokio::test]
async fn a_new_connection_finds_what_runs() {
    let config = config();
    let (_, harness) = harness_with(config.clone()).await;
    testing::run(harness, |h| {
        Box::pin(async move {
            let pod = h.pod("adopted");
            let id = h.start("adopted", &["forever"]).await;
            let before = h.status(&id).await;
            let again = DockerRuntime::connect(config).await.expect("connected");
            assert_eq!(again.container_status(&id).await.expect("a status"), before);
            assert_eq!(again.run_pod_sandbox(&pod).await.expect("the same"), before.pod_sandbox_id);
            assert!(again.version().await.expect("a version").runtime_api_version.starts_with("1."));
        })
    })
    .await;
}

#[tokio::test]
async fn an_interrupted_sandbox_is_finished() {
    let (docker, harness) = harness_with(config()).await;
    testing::run(harness, |h| {
        Box::pin(async move {
            docker.prepare().await.expect("prepared");
            // What a process leaves that dies between the two calls.
            let pod = h.pod("half");
            let name = runtime_docker::naming::Name::of_sandbox(&pod.metadata).to_string();
            let body = bollard::models::ContainerCreateBody {
                image: Some(docker.pause_image().to_owned()),
                labels: Some([(PROFILE_LABEL.to_owned(), profile_of(&docker).to_owned())].into()),
                ..Default::default()
            };
            let options =
                bollard::query_parameters::CreateContainerOptionsBuilder::default().name(&name).build();
            let engine = bollard::Docker::connect_with_defaults().expect("an engine");
            let made = engine.create_container(Some(options), body).await.expect("created");
            let sandbox = h.sandbox(&pod).await;
            assert_eq!(sandbox.as_str(), made.id);
            let status = h.runtime.pod_sandbox_status(&sandbox).await.expect("a status");
            assert_eq!(status.state, SandboxState::Ready);
            h.runtime.remove_pod_sandbox(&sandbox).await.expect("removed");
        })
    })
    .await;
}

#[tokio::test]
async fn a_shared_pid_namespace_is_reaped_and_seen() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let mut pod = h.pod("pids");
            pod.namespaces.pid = NamespaceMode::Pod;
            // The sandbox has its own namespace, which the containers join.
            let sandbox = h.sandbox(&pod).await;
            let mut container = h.container("main", &["cat=/proc/1/comm"]);
            container.security.namespaces.pid = NamespaceMode::Pod;
            assert_eq!(output(h, &sandbox, &pod, &container).await, "pause\n");
        })
    })
    .await;
}

#[tokio::test]
async fn a_negative_oom_score_never_stops_a_container() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let pod = h.pod("guaranteed");
            let sandbox = h.sandbox(&pod).await;
            let mut container = h.container("main", &["cat=/proc/self/oom_score_adj"]);
            container.resources.oom_score_adj = Some(-997);
            let score = output(h, &sandbox, &pod, &container).await;
            let warned = !h.runtime.status().await.expect("a status").warnings.is_empty();
            assert_eq!(score.trim() == "-997", !warned, "{score}");
        })
    })
    .await;
}

#[tokio::test]
async fn limits_are_set_and_changed() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let pod = h.pod("limits");
            let sandbox = h.sandbox(&pod).await;
            let mut container = h.container("main", &["forever"]);
            container.resources = Resources {
                cpu_shares: Some(512),
                cpu_quota: Some(50_000),
                cpu_period: Some(100_000),
                memory_limit: Some(64 << 20),
                memory_swap_limit: Some(64 << 20),
                ..Resources::default()
            };
            let id = h.start_in(&sandbox, &pod, &container).await;
            assert_eq!(h.status(&id).await.resources, container.resources);
            let more = Resources { cpu_quota: Some(80_000), ..Resources::default() };
            h.runtime.update_container_resources(&id, &more).await.expect("changed");
            let changed = Resources { cpu_quota: Some(80_000), ..container.resources };
            assert_eq!(h.status(&id).await.resources, changed);
        })
    })
    .await;
}

#[tokio::test]
async fn a_profile_can_have_its_own_network() {
    let name = support::profile();
    // A range that no engine picks by itself.
    let network = NetworkConfig { name, subnet: Some("10.213.77.0/24".into()), ..NetworkConfig::default() };
    let config = DockerConfig { network: Some(network.clone()), ..config() };
    let (docker, harness) = harness_with(config).await;
    testing::run(harness, |h| {
        Box::pin(async move {
            let mut pod = h.pod("bridged");
            pod.dns = Some(DnsConfig {
                servers: vec!["10.96.0.10".into()],
                options: vec!["ndots:5".into()],
                ..DnsConfig::default()
            });
            let sandbox = h.sandbox(&pod).await;
            let ips = h.runtime.pod_sandbox_status(&sandbox).await.expect("a status").ips;
            assert!(ips[0].to_string().starts_with("10.213.77."), "{ips:?}");
            let resolv = output(h, &sandbox, &pod, &h.container("main", &["cat=/etc/resolv.conf"])).await;
            assert_eq!(resolv, "nameserver 10.96.0.10\noptions ndots:5\n");
            docker.remove_profile().await.expect("removed");
            let engine = bollard::Docker::connect_with_defaults().expect("an engine");
            engine.inspect_network(&network.name, None).await.expect_err("the network is gone");
        })
    })
    .await;
}

#[tokio::test]
async fn pulls_fail_with_a_type() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            // A registry on this machine where nobody listens.
            let free =
                std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
            let image = format!("localhost:{}/nothing:v1", free.port());
            let error = h.images.pull_image(&image, None).await.expect_err("nobody there");
            assert!(matches!(error, Error::RegistryUnavailable { .. }), "{error:?}");
        })
    })
    .await;
}

#[tokio::test]
async fn follows_a_terminal_and_long_lines() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let pod = h.pod("tty");
            let sandbox = h.sandbox(&pod).await;
            let mut container = h.container("tty", &["out=hello"]);
            container.tty = true;
            assert_eq!(output(h, &sandbox, &pod, &container).await, "hello\r\n");
            let long = "x".repeat(40_000);
            let container = h.container("long", &[&format!("out={long}")]);
            assert_eq!(output(h, &sandbox, &pod, &container).await, format!("{long}\n"));
        })
    })
    .await;
}

#[tokio::test]
async fn the_kubelets_hosts_file_wins() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let pod = h.pod("hosts");
            let sandbox = h.sandbox(&pod).await;
            let hosts = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(hosts.path(), "# Kubernetes-managed hosts file.\n").expect("written");
            let mut container = h.container("main", &["cat=/etc/hosts"]);
            container.mounts = vec![Mount {
                container_path: "/etc/hosts".into(),
                host_path: hosts.path().display().to_string(),
                ..Mount::default()
            }];
            assert_eq!(output(h, &sandbox, &pod, &container).await, "# Kubernetes-managed hosts file.\n");
        })
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_goes_away_is_unavailable() {
    // A stand-in for the engine's socket, which a test may take away.
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
    let proxy = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut engine =
                    tokio::net::UnixStream::connect("/var/run/docker.sock").await.expect("an engine");
                tokio::io::copy_bidirectional(&mut client, &mut engine).await
            });
        }
    });
    let config = DockerConfig { host: socket.display().to_string(), ..DockerConfig::new(support::profile()) };
    let docker = DockerRuntime::connect(config).await.expect("connected");
    let mut events = docker.events().await.expect("events");
    // The subscription is made when the stream is first asked.
    assert!(futures::poll!(events.next()).is_pending());
    docker.list_containers(&ContainerFilter::default()).await.expect("a list");
    proxy.abort();
    proxy.await.expect_err("taken away");
    let last = tokio::time::timeout(testing::DEADLINE, events.next()).await.expect("the stream notices");
    let error = last.expect("an error before the end").expect_err("the engine is gone");
    assert!(error.is_unavailable(), "{error:?}");
    let error = docker.list_containers(&ContainerFilter::default()).await.expect_err("the engine is gone");
    assert!(error.is_unavailable(), "{error:?}");
    let error = docker.version().await.expect_err("the engine is gone");
    assert!(error.is_unavailable(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_start_at_once() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let names: Vec<String> = (0..10).map(|n| format!("many-{n}")).collect();
            let started = names.iter().map(|name| h.start(name, &["forever"]));
            let ids = futures::future::join_all(started).await;
            let running = ContainerFilter { state: Some(ContainerState::Running), ..Default::default() };
            let found = h.runtime.list_containers(&running).await.expect("a list");
            assert_eq!(found.len(), ids.len());
            let sandboxes = h.runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await.expect("a list");
            let removed = sandboxes.iter().map(|sandbox| h.runtime.remove_pod_sandbox(&sandbox.id));
            futures::future::try_join_all(removed).await.expect("removed at once");
        })
    })
    .await;
}

/// Not a limit, a reminder: a pod's start is four calls, and the rest is the engine's.
#[tokio::test]
async fn a_pod_starts_in_seconds() {
    testing::run(harness().await, |h| {
        Box::pin(async move {
            let before = tokio::time::Instant::now();
            h.start("quick", &["forever"]).await;
            assert!(before.elapsed() < testing::DEADLINE, "{:?}", before.elapsed());
        })
    })
    .await;
}
