//! A profile of its own for each test, and an image with the program `/steps`.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use runtime::ImageService;
use runtime::testing::Harness;
use runtime_docker::archive::{self, File};
use runtime_docker::{DockerConfig, DockerRuntime};
use tokio::sync::OnceCell;

/// The image, a fixture that stays on the engine.
static IMAGE: OnceCell<String> = OnceCell::const_new();
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A profile that no other test has.
pub(crate) fn profile() -> String {
    format!("test-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// The engine that `DOCKER_HOST` names, or the local one.
pub(crate) fn config() -> DockerConfig {
    DockerConfig { host: std::env::var("DOCKER_HOST").unwrap_or_default(), ..DockerConfig::new(profile()) }
}

pub(crate) async fn harness() -> Harness {
    harness_with(config()).await.1
}

pub(crate) async fn harness_with(config: DockerConfig) -> (Arc<DockerRuntime>, Harness) {
    let unique = config.profile.clone();
    let docker = Arc::new(DockerRuntime::connect(config).await.expect("these tests need a Docker engine"));
    let image = IMAGE.get_or_init(|| load_image(&docker)).await.clone();
    let cleaner = docker.clone();
    let harness = Harness {
        runtime: docker.clone(),
        images: docker.clone(),
        image,
        missing_image: "minik/no-such-image:v1".to_owned(),
        unique,
        cleanup: Box::new(move || {
            let docker = cleaner.clone();
            Box::pin(async move { docker.remove_profile().await.expect("cleaned up") })
        }),
    };
    (docker, harness)
}

/// The tag is the source's hash: built once, and again when the source changes.
async fn load_image(docker: &DockerRuntime) -> String {
    let source = include_bytes!("steps.rs");
    let reference = format!("minik/steps:{}", &archive::hex(source)[..12]);
    if docker.image_status(&reference).await.expect("an answer").is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let content = std::fs::read(compile(directory.path())).expect("the program");
        let file = File { path: "steps", mode: 0o755, content: &content };
        let config =
            serde_json::json!({"Cmd": ["/steps"], "Env": ["PATH=/", "FROM_IMAGE=yes"], "WorkingDir": "/"});
        docker.load(archive::build(&reference, &[file], &config)).await.expect("loaded");
    }
    reference
}

fn compile(directory: &Path) -> PathBuf {
    let program = directory.join("steps");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/steps.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition=2024", "-Ctarget-feature=+crt-static", "-Copt-level=s", "-Cstrip=symbols", "-o"])
        .args([&program, &source])
        .status()
        .expect("rustc can be run");
    assert!(status.success(), "the test program does not compile");
    program
}
