//! Images: the half of a runtime that has and fetches them.
//!
//! Contract: a reference without tag or digest means `:latest`, one without a registry means Docker Hub, as
//! everywhere in Kubernetes.
//!
//! Upstream: `ImageService` of CRI v1.

use async_trait::async_trait;
use std::path::Path;

use crate::Result;
use crate::types::*;

/// Has images, pulls them, removes them.
#[async_trait]
pub trait ImageService: Send + Sync + 'static {
    /// The image behind a reference (name, digest or id), if it is present.
    /// [`Error::InvalidImageName`](crate::Error::InvalidImageName) if the reference cannot be parsed.
    async fn image_status(&self, image: &str) -> Result<Option<Image>>;

    /// All images of the engine, foreign ones too.
    async fn list_images(&self) -> Result<Vec<Image>>;

    /// Pulls and returns the id. Errors are typed: invalid name, not found, unauthorized, registry unavailable.
    async fn pull_image(&self, image: &str, auth: Option<&AuthConfig>) -> Result<ImageId>;

    /// Removes a reference, and the image with the last of them. One that is gone: success.
    async fn remove_image(&self, image: &str) -> Result<()>;

    /// Writes the files of an image into a folder of this machine, which is made.
    async fn unpack_image(&self, image: &ImageId, into: &Path) -> Result<()>;

    /// What the images take of the disk.
    async fn image_fs_info(&self) -> Result<FilesystemUsage>;
}
