//! The Docker engine by its command: what a pod's start is compared with.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

/// Fails if the engine does not answer or the image is missing.
pub(super) fn check(image: &str) -> Result<()> {
    docker(&["version"]).context("the Docker engine does not answer")?;
    docker(&["image", "inspect", image])
        .map(drop)
        .with_context(|| format!("the image {image} is missing: docker pull {image}, or tests/images/build"))
}

/// The engine's version.
pub(super) fn version() -> String {
    docker(&["version", "--format", "{{.Server.Version}}"]).unwrap_or_default()
}

/// The image of a profile's sandboxes, from one that runs.
pub(super) fn pause_image(profile: &str) -> Result<String> {
    let filter = format!("label=minik.profile={profile}");
    let lines = docker(&["ps", "--filter", &filter, "--format", "{{.Names}} {{.Image}}"])?;
    let sandbox = lines.lines().find_map(|line| line.strip_prefix("k8s_POD_"));
    let image = sandbox.and_then(|line| line.split(' ').nth(1));
    image.map(str::to_owned).with_context(|| format!("no sandbox of {profile} among: {lines}"))
}

/// How long `docker run` takes for a pause container and one container in its network.
pub(super) fn run_pair(name: &str, pause_image: &str, image: &str) -> Result<Duration> {
    let (pause, main) = (format!("{name}-pause"), format!("{name}-main"));
    let network = format!("--network=container:{pause}");
    let before = Instant::now();
    let ran = docker(&["run", "--detach", "--name", &pause, pause_image])
        .and_then(|_| docker(&["run", "--detach", "--name", &main, &network, image, "sleep", "600"]));
    let took = before.elapsed();
    let removed = docker(&["rm", "--force", "--volumes", &pause, &main]);
    ran?;
    removed?;
    Ok(took)
}

/// What a command of its says.
pub(super) fn docker(arguments: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(arguments).output().context("run docker")?;
    if !output.status.success() {
        bail!("docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).context("docker's answer")?;
    Ok(text.trim_end().to_owned())
}
