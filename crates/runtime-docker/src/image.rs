//! The image service: status, list, pull, remove, disk use.

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures::TryStreamExt;
use runtime::{AuthConfig, Error, FilesystemUsage, Image, ImageId, Result, reference};
use std::collections::HashMap;

use crate::client::DockerRuntime;
use crate::error;

/// How an image's id begins.
const ID_PREFIX: &str = "sha256:";

/// How far a pull is: bytes of the layers whose size is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes that there are.
    pub total: u64,
}

/// Who is told of a pull's progress.
pub(crate) type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// What the engine has said of each layer.
#[derive(Default)]
struct Layers(HashMap<String, Progress>);

impl Layers {
    /// Notes a line of the engine's; the sum, if it is about bytes that are fetched.
    fn note(
        &mut self,
        layer: String,
        status: &str,
        current: Option<i64>,
        total: Option<i64>,
    ) -> Option<Progress> {
        let known = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        match (status, known(total)) {
            ("Downloading", Some(total)) => {
                let done = known(current).unwrap_or(0).min(total);
                self.0.insert(layer, Progress { done, total });
            }
            ("Download complete" | "Pull complete", _) => {
                let layer = self.0.get_mut(&layer)?;
                layer.done = layer.total;
            }
            _ => return None,
        }
        let sum = |sum: Progress, one: &Progress| Progress {
            done: sum.done + one.done,
            total: sum.total + one.total,
        };
        Some(self.0.values().fold(Progress::default(), sum))
    }
}

impl DockerRuntime {
    pub(crate) async fn find_image(&self, image: &str) -> Result<Option<Image>> {
        let name = engine_name(image)?;
        let found = match self.client.inspect_image(&name).await {
            Ok(found) => found,
            Err(error) if error::is_status(&error, 404) => return Ok(None),
            Err(error) => return Err(error::other("inspect image")(error)),
        };
        let id = found.id.unwrap_or_default();
        let repo_digests = found.repo_digests.unwrap_or_default();
        if let Some(digest) = repo_digests.first() {
            let mut digests = self.digests.lock().expect("no panic while the lock is held");
            digests.insert(id.clone(), digest.clone());
        }
        let user = found.config.and_then(|config| config.user).unwrap_or_default();
        let user = user.split(':').next().unwrap_or_default();
        Ok(Some(Image {
            id: ImageId::from(id),
            repo_tags: found.repo_tags.unwrap_or_default(),
            repo_digests,
            size: found.size.and_then(|size| size.try_into().ok()).unwrap_or(0),
            uid: user.parse().ok(),
            username: (!user.is_empty() && user.parse::<i64>().is_err()).then(|| user.to_owned()),
        }))
    }

    pub(crate) async fn all_images(&self) -> Result<Vec<Image>> {
        let options = ListImagesOptionsBuilder::default().build();
        let found = self.client.list_images(Some(options)).await.map_err(error::other("list images"))?;
        // The engine writes `<none>:<none>` for an image without a name.
        let named =
            |names: Vec<String>| names.into_iter().filter(|name| !name.starts_with("<none>")).collect();
        let image = |found: bollard::models::ImageSummary| Image {
            id: ImageId::from(found.id),
            repo_tags: named(found.repo_tags),
            repo_digests: named(found.repo_digests),
            size: found.size.try_into().unwrap_or(0),
            uid: None,
            username: None,
        };
        Ok(found.into_iter().map(image).collect())
    }

    /// Pulls from the registry that the image's name says.
    pub(crate) async fn pull_as_named(
        &self,
        image: &str,
        auth: Option<&AuthConfig>,
        on_progress: OnProgress<'_>,
    ) -> Result<()> {
        let name = reference::parse(image)?;
        let tag = name.digest.clone().or(name.tag.clone()).unwrap_or_default();
        let bare = reference::Reference { tag: None, digest: None, ..name };
        let options = CreateImageOptionsBuilder::default().from_image(&bare.familiar()).tag(&tag).build();
        let mut told = self.client.create_image(Some(options), None, auth.map(credentials));
        let mut layers = Layers::default();
        while let Some(news) = told.try_next().await.map_err(|error| error::pull(image, error))? {
            let detail = news.progress_detail.as_ref();
            if let (Some(layer), Some(status)) = (news.id, news.status)
                && let Some(progress) =
                    layers.note(layer, &status, detail.and_then(|d| d.current), detail.and_then(|d| d.total))
            {
                on_progress(progress);
            }
        }
        Ok(())
    }

    pub(crate) async fn delete_image(&self, image: &str) -> Result<()> {
        let name = engine_name(image)?;
        let options = RemoveImageOptionsBuilder::default().build();
        match self.client.remove_image(&name, Some(options), None).await {
            Ok(_) => Ok(()),
            Err(error) if error::is_status(&error, 404) => Ok(()),
            Err(error) if error::is_status(&error, 409) => {
                Err(Error::ImageInUse { image: image.to_owned(), message: error::message(&error) })
            }
            Err(error) => Err(error::other("remove image")(error)),
        }
    }

    pub(crate) async fn image_usage(&self) -> Result<FilesystemUsage> {
        let images = self.all_images().await?;
        // Layers that images share are counted once each time: an upper bound that costs one call.
        let used_bytes = images.iter().map(|image| image.size).sum();
        let mountpoint = self.facts().await?.root_dir.display().to_string();
        Ok(FilesystemUsage { mountpoint, used_bytes, inodes_used: None })
    }
}

/// What to ask the engine for. An id is asked for as it is.
pub(crate) fn engine_name(image: &str) -> Result<String> {
    if image.starts_with(ID_PREFIX) {
        return Ok(image.to_owned());
    }
    let mut name = reference::parse(image)?;
    if name.digest.is_some() {
        // The engine knows `name@digest`, without the tag.
        name.tag = None;
    }
    Ok(name.familiar())
}

pub(crate) fn credentials(auth: &AuthConfig) -> DockerCredentials {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    DockerCredentials {
        username: given(&auth.username),
        password: given(&auth.password),
        serveraddress: given(&auth.server_address),
        identitytoken: given(&auth.identity_token),
        registrytoken: given(&auth.registry_token),
        ..DockerCredentials::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_of_all_layers_whose_size_is_known() {
        let mut layers = Layers::default();
        let mut note = |layer: &str, status, current, total| {
            layers.note(layer.to_owned(), status, current, total).map(|sum| (sum.done, sum.total))
        };
        assert_eq!(note("a", "Pulling fs layer", None, None), None);
        assert_eq!(note("a", "Downloading", Some(3), Some(10)), Some((3, 10)));
        assert_eq!(note("b", "Downloading", Some(1), Some(5)), Some((4, 15)));
        assert_eq!(note("a", "Extracting", Some(1), Some(10)), None);
        assert_eq!(note("a", "Download complete", None, None), Some((11, 15)));
        assert_eq!(note("c", "Pull complete", None, None), None);
    }

    #[test]
    fn asks_for_ids_digests_and_names() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(engine_name(&digest).expect("an id"), digest);
        assert_eq!(engine_name(&format!("a:1@{digest}")).expect("a digest"), format!("a@{digest}"));
        assert_eq!(engine_name("docker.io/library/a").expect("a name"), "a:latest");
        assert!(matches!(engine_name("A"), Err(Error::InvalidImageName { .. })));
    }
}
