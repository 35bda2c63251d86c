//! What a user does with the engine's images: load, save, tag, build, push.
//!
//! **Not here**: what pods need of images (`image`).

use bollard::query_parameters::{
    BuildImageOptionsBuilder, ImportImageOptionsBuilder, PushImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures::{StreamExt, TryStreamExt};
use runtime::{AuthConfig, Error, Result, reference};
use std::collections::HashMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::client::DockerRuntime;
use crate::error;
use crate::image::{credentials, engine_name};

/// How an image is built.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Its name.
    pub tag: String,
    /// Path of the Dockerfile within the context.
    pub dockerfile: String,
    /// `ARG`s.
    pub arguments: HashMap<String, String>,
    /// The stage to stop at; empty: the last.
    pub target: String,
    /// Steps that were done before are done again.
    pub no_cache: bool,
    /// Newer base images are pulled.
    pub pull: bool,
}

impl DockerRuntime {
    /// Loads the images of an archive, compressed or not; what the engine says of each (`Loaded image: a:latest`).
    pub async fn load_images(&self, archive: impl AsyncRead + Send + 'static) -> Result<Vec<String>> {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let answers = self.client.import_image_stream(options, ReaderStream::new(archive), None);
        let answers: Vec<_> = answers.try_collect().await.map_err(error::other("load image"))?;
        let lines = answers.into_iter().filter_map(|answer| answer.stream);
        Ok(lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
    }

    /// Writes these images as an archive that `load_images` and `docker load` take.
    pub async fn save_images(
        &self,
        images: &[String],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<()> {
        let names: Vec<String> = images.iter().map(|image| engine_name(image)).collect::<Result<_>>()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let written = |source: std::io::Error| Error::Other {
            operation: "write the archive",
            message: source.to_string(),
        };
        let mut archive = std::pin::pin!(self.client.export_images(&names));
        while let Some(piece) = archive.next().await {
            let piece = piece.map_err(error::other("save images"))?;
            out.write_all(&piece).await.map_err(written)?;
        }
        out.flush().await.map_err(written)
    }

    /// Gives an image one more name.
    pub async fn tag_image(&self, image: &str, name: &str) -> Result<()> {
        let wanted = reference::parse(name)?;
        let tag = wanted.tag.clone().unwrap_or_default();
        let bare = reference::Reference { tag: None, digest: None, ..wanted };
        let options = TagImageOptionsBuilder::default().repo(&bare.familiar()).tag(&tag).build();
        self.client.tag_image(&engine_name(image)?, Some(options)).await.map_err(|failed| {
            if error::is_status(&failed, 404) {
                return Error::ImageNotFound { image: image.to_owned(), message: error::message(&failed) };
            }
            error::other("tag image")(failed)
        })
    }

    /// Gives an image to the registry that its name says.
    pub async fn push_image(&self, image: &str, auth: Option<&AuthConfig>) -> Result<()> {
        let name = reference::parse(image)?;
        let tag = name.tag.clone().unwrap_or_default();
        let bare = reference::Reference { tag: None, digest: None, ..name };
        let options = PushImageOptionsBuilder::default().tag(&tag).build();
        let mut told = self.client.push_image(&bare.familiar(), Some(options), auth.map(credentials));
        while told.try_next().await.map_err(error::other("push image"))?.is_some() {}
        Ok(())
    }

    /// Builds an image from a context (a tar archive), telling what the engine says as it goes.
    pub async fn build_image(
        &self,
        context: impl AsyncRead + Send + 'static,
        options: &BuildOptions,
        mut say: impl FnMut(&str) + Send,
    ) -> Result<()> {
        let wanted = BuildImageOptionsBuilder::default()
            .t(&options.tag)
            .dockerfile(&options.dockerfile)
            .buildargs(&options.arguments)
            .target(&options.target)
            .nocache(options.no_cache)
            .pull(if options.pull { "true" } else { "" })
            .rm(true)
            .forcerm(true)
            .build();
        let context = bollard::body_try_stream(ReaderStream::new(context));
        let mut answers = self.client.build_image(wanted, None, Some(context));
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(error::other("build image"))?;
            if let Some(text) = answer.stream.or(answer.status) {
                say(&text);
            }
        }
        Ok(())
    }
}
