//! Images: from a registry, by pods and by hand; from archives and folders; their files as volumes.
//!
//! Needs a Docker engine, Debian's `docker-registry` and the images of `tests/images/build`.

use serde_json::{Value, json};
use std::fs;
use std::process::Stdio;
use tests::docker::{DockerCluster, docker, script};
use tests::profile::{Profile, Said};
use tests::registry::{Access, Registry};

fn waiting(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["waiting"]
}

/// A pod that says `up` and ends, of an image that is always pulled.
fn pulling(name: &str, image: &str, secret: Option<&str>) -> Value {
    by_policy("Always", name, image, secret)
}

fn by_policy(policy: &str, name: &str, image: &str, secret: Option<&str>) -> Value {
    let secrets: Vec<Value> = secret.into_iter().map(|name| json!({"name": name})).collect();
    script(
        name,
        "echo up",
        json!({"imagePullSecrets": secrets}),
        json!({"image": image, "imagePullPolicy": policy}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_images_from_a_registry_with_and_without_a_password() {
    let (open, closed) = (Registry::start(Access::Open), Registry::start(Access::Password));
    let free = open.push("busybox", "team/free:1");
    let secret = closed.push("busybox", "team/secret:1");
    let cluster = DockerCluster::start("img-pull").await;
    cluster.create(closed.secret("right", "secret")).await;
    cluster.create(closed.secret("wrong", "guessed")).await;

    // All at once: none waits for another.
    cluster.create(pulling("free", &free, None)).await;
    cluster.create(pulling("nobody", &secret, None)).await;
    cluster.create(pulling("wrong", &secret, Some("wrong"))).await;
    cluster.create(pulling("right", &secret, Some("right"))).await;
    cluster.create(pulling("missing", &format!("{}/team/none:1", open.address), None)).await;

    assert_eq!(cluster.output("free").await, "up\n");
    assert_eq!(cluster.output("right").await, "up\n");
    cluster.event("right", "Pulling", &format!("Pulling image \"{secret}\"")).await;
    let pulled = cluster.event("right", "Pulled", "Successfully pulled image").await;
    assert!(pulled.starts_with(&format!("Successfully pulled image \"{secret}\" in ")), "{pulled}");
    assert!(pulled.contains(" including waiting). Image size: ") && pulled.ends_with(" bytes."), "{pulled}");

    for (pod, image, why) in [
        ("nobody", secret.as_str(), "no basic auth credentials"),
        ("wrong", secret.as_str(), "unauthorized: authentication required"),
        ("missing", &format!("{}/team/none:1", open.address), "manifest unknown"),
    ] {
        let failed = cluster.event(pod, "Failed", "Failed to pull image").await;
        assert!(failed.starts_with(&format!("Failed to pull image \"{image}\": ")), "{failed}");
        assert!(failed.contains(why), "{pod}: {failed}");
        let held = cluster.until(pod, |pod| waiting(pod)["reason"] == "ImagePullBackOff").await;
        let message = waiting(&held)["message"].as_str().expect("a message");
        let expected = format!("Back-off pulling image \"{image}\": ErrImagePull: ");
        assert!(message.starts_with(&expected) && message.contains(why), "{message}");
        cluster.event(pod, "Failed", "Error: ErrImagePull").await;
        cluster.event(pod, "BackOff", &format!("Back-off pulling image \"{image}\"")).await;
    }
    // The image is here now, for those with the password.
    let here = "already present on machine and can be accessed by the pod";
    for (pod, policy, login, event, part) in [
        ("here", "IfNotPresent", Some("right"), "Pulled", here),
        ("strange", "IfNotPresent", None, "Failed", "no basic auth credentials"),
        ("never", "Never", Some("wrong"), "ErrImageNeverPull", "is not present with pull policy of Never"),
    ] {
        cluster.create(by_policy(policy, pod, &secret, login)).await;
        cluster.event(pod, event, part).await;
    }
    // The right password comes later.
    cluster
        .patch("v1", "Secret", "wrong", json!({"stringData": closed.secret("wrong", "secret")["stringData"]}))
        .await;
    assert_eq!(cluster.output("wrong").await, "up\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_an_image_are_a_volume() {
    let registry = Registry::start(Access::Password);
    let image = registry.push("nginx", "files:1");
    let cluster = DockerCluster::start("img-volume").await;
    cluster.create(registry.secret("login", "secret")).await;
    let spec = json!({
        "imagePullSecrets": [{"name": "login"}],
        "volumes": [{"name": "files", "image": {"reference": image, "pullPolicy": "IfNotPresent"}}],
    });
    let main = json!({"volumeMounts": [
        {"name": "files", "mountPath": "/files"}, {"name": "files", "mountPath": "/etc/only", "subPath": "etc/nginx"}]});
    let text = "ls -d /files/etc/nginx /files/.dockerenv; ls /etc/only/nginx.conf; echo x > /files/x || echo read-only";
    cluster.create(script("p", text, spec.clone(), main.clone())).await;
    let log = cluster.output("p").await;
    for part in
        ["/files/etc/nginx\n", "/etc/only/nginx.conf\n", "read-only\n", "ls: /files/.dockerenv: No such file"]
    {
        assert!(log.contains(part), "{part:?}: {log}");
    }
    cluster.delete("p", 1).await;
    cluster.clean().await;

    let mut spec = spec;
    spec["volumes"][0]["image"]["reference"] = json!(format!("{}/none:1", registry.address));
    cluster.create(script("none", "true", spec, main)).await;
    cluster
        .event("none", "FailedMount", "MountVolume.SetUp failed for volume \"files\" : ErrImagePull: ")
        .await;
    cluster.delete("none", 1).await;
}

#[test]
fn images_are_handled_without_a_registry() {
    let profile = Profile::new("image");
    let missing = profile.minik(&["image", "ls"]);
    assert!(missing.code == 1 && missing.stderr.contains("does not exist"), "{missing:?}");
    profile.start(&["--nodes", "1"]).ok();
    let name = format!("minik-test/built-{}:1", std::process::id());
    let full = format!("docker.io/{name}");

    let folder = profile.home().join("context");
    fs::create_dir_all(folder.join("secret")).expect("made");
    fs::write(folder.join("secret/key"), "x").expect("written");
    fs::write(folder.join("hello"), "hello from a folder\n").expect("written");
    fs::write(folder.join(".dockerignore"), "secret\n").expect("written");
    // The label makes it an image of this test's own: what another run has built would be taken again, with its names.
    let dockerfile = format!(
        "FROM busybox\nLABEL name={name}\nARG WHO\nCOPY . /files/\nENV WHO=$WHO\n\
         CMD cat /files/hello; echo $WHO; ls /files\n"
    );
    fs::write(folder.join("Dockerfile"), dockerfile).expect("written");
    let path = folder.to_str().expect("UTF-8");
    let built = profile.minik(&["image", "build", "-t", &name, "--build-arg", "WHO=me", path]).ok();
    assert!(built.contains(&format!("Successfully tagged {name}")), "{built}");
    assert!(profile.minik(&["image", "ls"]).ok().lines().any(|line| line == full));

    let run = ["run", "p", "--image", &name, "--image-pull-policy=Never", "--restart=Never"];
    profile.kctl(&run).ok();
    tests::eventually("the pod writes", || {
        let said = profile.kctl(&["logs", "p"]);
        match said.stdout == "hello from a folder\nme\nDockerfile\nhello\n" {
            true => Ok(()),
            false => Err(format!("{said:?}")),
        }
    });
    let used = profile.minik(&["image", "rm", &name]);
    assert!(used.code == 1 && used.stderr.contains("is using its referenced image"), "{used:?}");
    profile.kctl(&["delete", "pod", "p"]).ok();
    // A pod that has ended is gone at once; its containers follow.
    tests::eventually("its containers are removed", || {
        let left = profile.containers(true);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });

    let other = format!("minik-test/other-{}:2", std::process::id());
    profile.minik(&["image", "tag", &name, &other]).ok();
    let archive = profile.home().join("images.tar");
    let archive = archive.to_str().expect("UTF-8");
    profile.minik(&["image", "save", &name, &other, archive]).ok();
    assert_eq!(
        profile.minik(&["image", "rm", &name, &other]).ok(),
        format!("Removed image: {name}\nRemoved image: {other}\n")
    );
    let gone = profile.minik(&["image", "load", &name]);
    assert!(gone.code == 1 && gone.stderr.contains(&format!("No such image: {name}")), "{gone:?}");

    let loaded = profile.minik(&["image", "load", archive]).ok();
    assert!(loaded.contains(&format!("Loaded image: {name}")) && loaded.contains(&other), "{loaded}");
    profile.minik(&["image", "rm", &name, &other]).ok();
    let mut command = profile.command(&tests::binary("minik"));
    command
        .args(["-p", &profile.name, "image", "load", "-"])
        .stdin(Stdio::from(fs::File::open(archive).expect("there")));
    assert!(Said::of(command.output().expect("minik runs")).ok().contains(&name));
    assert_eq!(profile.minik(&["image", "load", &name]).ok(), format!("Image is there: {name}\n"));
    profile.minik(&["image", "rm", &name, &other]).ok();

    let rubbish = profile.home().join("rubbish");
    fs::write(&rubbish, "this is no archive").expect("written");
    let said = profile.minik(&["image", "load", rubbish.to_str().expect("UTF-8")]);
    assert!(said.code == 1 && said.stderr.starts_with("error: load images from "), "{said:?}");

    let registry = Registry::start(Access::Password);
    let image = registry.push("busybox", "by-hand:1");
    let refused = profile.minik(&["image", "pull", &image]);
    assert!(refused.code == 1 && refused.stderr.contains("no basic auth credentials"), "{refused:?}");
    let mut command = profile.command(&tests::binary("minik"));
    command.env("DOCKER_CONFIG", registry.logins()).args(["-p", &profile.name, "image", "pull", &image]);
    assert_eq!(Said::of(command.output().expect("minik runs")).ok(), format!("Pulled image: {image}\n"));
    assert!(docker(&["image", "ls", "--quiet", &image]).lines().next().is_some());
}

/// What is pushed to the registry of a profile is there for its pods, and for nobody when it is switched off.
#[test]
fn a_profile_has_a_registry_of_its_own() {
    let profile = Profile::new("pushed");
    let port = tests::profile::free_port();
    let file = profile.home().join("cluster.yaml");
    std::fs::write(&file, format!("registryPort: {port}\n")).expect("written");
    profile.start(&["--config", file.to_str().expect("letters")]).ok();
    let mut command = profile.command(&tests::binary("minik"));
    command.env("PATH", profile.home()).args(["-p", &profile.name, "addons", "enable", "registry"]);
    let said = tests::profile::Said::of(command.output().expect("minik runs"));
    assert!(said.code == 1 && said.stderr.contains("apt-get install docker-registry"), "{said:?}");
    assert!(profile.minik(&["addons", "enable", "registry"]).ok().contains("'registry' addon is enabled"));
    let image = format!("localhost:{port}/app:1");
    let push = || {
        docker(&["tag", "busybox:latest", &image]);
        let pushed = std::process::Command::new("docker").args(["push", "--quiet", &image]).output();
        let pushed = tests::profile::Said::of(pushed.expect("docker runs"));
        docker(&["image", "rm", &image]);
        pushed
    };
    push().ok();
    profile
        .kctl(&["run", "app", "--image", &image, "--image-pull-policy=Always", "--", "sleep", "3600"])
        .ok();
    profile.kctl(&["wait", "--for=condition=Ready", "pod/app", "--timeout=60s"]).ok();
    profile.minik(&["addons", "disable", "registry"]).ok();
    let said = push();
    assert_ne!(said.code, 0, "{said:?}");
    profile.kctl(&["delete", "pod", "app", "--now"]).ok();
    docker(&["image", "rm", &image]);
}
