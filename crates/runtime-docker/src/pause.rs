//! The sandbox's image: built into this program, loaded into the engine when absent.
//!
//! Contract: the tag has the program's hash, so two versions of minik on one engine do not disturb each other.

use bollard::query_parameters::ImportImageOptionsBuilder;
use futures::TryStreamExt;
use runtime::Result;
use serde_json::json;

use crate::archive::{self, File};
use crate::client::DockerRuntime;
use crate::error;

/// The program; see `pause/pause.rs`.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// `minik/pause:<version>-<first eight digits of the program's hash>`.
pub(crate) fn reference() -> String {
    format!("minik/pause:{}-{}", env!("CARGO_PKG_VERSION"), &archive::hex(PROGRAM)[..8])
}

impl DockerRuntime {
    /// Loads the image unless the engine has it.
    pub(crate) async fn ensure_pause_image(&self) -> Result<()> {
        self.pause_loaded
            .get_or_try_init(|| async {
                match self.client.inspect_image(&self.pause_image).await {
                    Ok(_) => Ok(()),
                    Err(error) if error::is_status(&error, 404) => self.load_pause_image().await,
                    Err(error) => Err(error::other("inspect pause image")(error)),
                }
            })
            .await
            .copied()
    }

    /// Loads the image.
    pub(crate) async fn load_pause_image(&self) -> Result<()> {
        let file = File { path: "pause", mode: 0o755, content: PROGRAM };
        let config = json!({"Entrypoint": ["/pause"], "Env": ["PATH=/"], "WorkingDir": "/"});
        self.load(archive::build(&self.pause_image, &[file], &config)).await
    }

    /// Loads an image that [`archive::build`] has made.
    pub async fn load(&self, archive: Vec<u8>) -> Result<()> {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let answers = self.client.import_image(options, bollard::body_full(archive.into()), None);
        answers.try_collect::<Vec<_>>().await.map_err(error::other("load image"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_small_static_program() {
        assert!(PROGRAM.starts_with(b"\x7fELF"));
        assert!(PROGRAM.len() < 16 * 1024, "{} bytes", PROGRAM.len());
        // No PT_INTERP: the path of a dynamic loader would be in the file.
        assert!(!PROGRAM.windows(3).any(|w| w == b"ld-"));
    }
}
