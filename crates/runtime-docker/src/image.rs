//! The image service: status, list, pull, remove, disk use.

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures::TryStreamExt;
use runtime::{AuthConfig, Error, FilesystemUsage, Image, ImageId, Result, reference};

use crate::client::DockerRuntime;
use crate::error;

/// How an image's id begins.
const ID_PREFIX: &str = "sha256:";

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

    pub(crate) async fn pull(&self, image: &str, auth: Option<&AuthConfig>) -> Result<ImageId> {
        let name = reference::parse(image)?;
        let tag = name.digest.clone().or(name.tag.clone()).unwrap_or_default();
        let bare = reference::Reference { tag: None, digest: None, ..name.clone() };
        let options = CreateImageOptionsBuilder::default().from_image(&bare.familiar()).tag(&tag).build();
        let progress = self.client.create_image(Some(options), None, auth.map(credentials));
        let failed = |error| error::pull(image, error);
        progress.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(failed)?;
        let pulled = self.find_image(image).await?;
        pulled.map(|image| image.id).ok_or_else(|| Error::ImageNotFound {
            image: image.to_owned(),
            message: format!("the image {image} is missing after its pull"),
        })
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

fn credentials(auth: &AuthConfig) -> DockerCredentials {
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
    fn asks_for_ids_digests_and_names() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(engine_name(&digest).expect("an id"), digest);
        assert_eq!(engine_name(&format!("a:1@{digest}")).expect("a digest"), format!("a@{digest}"));
        assert_eq!(engine_name("docker.io/library/a").expect("a name"), "a:latest");
        assert!(matches!(engine_name("A"), Err(Error::InvalidImageName { .. })));
    }
}
