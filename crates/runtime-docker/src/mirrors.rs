//! Mirrors: other places that are asked for a registry's images, before the registry itself.
//!
//! Contract: an image from a mirror has the name that was asked for, and no other. A mirror gets no credentials: they are the
//! registry's. What a mirror says when it does not give an image is logged; the registry's answer is the one that counts.
//!
//! Upstream: containerd's `hosts.toml`. The engine's own `registry-mirrors` are for Docker Hub alone.

use crate::client::DockerRuntime;
use crate::config::Mirrors;
use crate::error;
use crate::image::{OnProgress, Progress};
use runtime::reference::{self, Reference};
use runtime::{AuthConfig, Error, ImageId, Result};
use std::net::IpAddr;

/// Mirrors of every registry that has none of its own.
const ANY: &str = "*";

impl DockerRuntime {
    /// Pulls an image from the first place that gives it, telling how far it is.
    pub async fn pull(
        &self,
        image: &str,
        auth: Option<&AuthConfig>,
        on_progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<ImageId> {
        let name = reference::parse(image)?;
        for mirrored in mirrored(&self.config.mirrors, &name) {
            match self.pull_mirrored(image, &name, &mirrored, on_progress).await {
                Ok(id) => return Ok(id),
                Err(error) => {
                    tracing::warn!(image, from = mirrored, "a mirror does not give an image: {error}")
                }
            }
        }
        self.pull_as_named(image, auth, on_progress).await?;
        self.present(image).await
    }

    async fn pull_mirrored(
        &self,
        image: &str,
        name: &Reference,
        mirrored: &str,
        on_progress: OnProgress<'_>,
    ) -> Result<ImageId> {
        self.pull_as_named(mirrored, None, on_progress).await?;
        let Some(found) = self.find_image(mirrored).await? else {
            // Another pull of the same image has renamed it already.
            return self.present(image).await;
        };
        if name.digest.is_some() {
            // An engine gives digests no other names: whoever has the id has the image.
            return Ok(found.id);
        }
        self.tag_image(found.id.as_str(), image).await?;
        self.delete_image(mirrored).await?;
        Ok(found.id)
    }

    async fn present(&self, image: &str) -> Result<ImageId> {
        let found = self.find_image(image).await?;
        found.map(|image| image.id).ok_or_else(|| Error::ImageNotFound {
            image: image.to_owned(),
            message: format!("the image {image} is missing after its pull"),
        })
    }

    /// Those of these registries (`host`, `host:port`, or a range of addresses) that the engine speaks to over TLS only.
    ///
    /// # Errors
    /// If the engine does not say.
    pub async fn secured<'a>(&self, registries: &[&'a str]) -> Result<Vec<&'a str>> {
        let info = self.client.info().await.map_err(error::other("info"))?;
        let config = info.registry_config.unwrap_or_default();
        let ranges = config.insecure_registry_cidrs.unwrap_or_default();
        let names = config.index_configs.unwrap_or_default();
        let named: Vec<String> = names
            .into_iter()
            .filter(|(_, index)| index.secure == Some(false))
            .map(|(name, _)| name)
            .collect();
        Ok(registries.iter().copied().filter(|registry| !is_insecure(registry, &ranges, &named)).collect())
    }
}

/// What to ask the mirrors for, in order.
fn mirrored(mirrors: &Mirrors, name: &Reference) -> Vec<String> {
    let places = mirrors.get(&name.registry).or_else(|| mirrors.get(ANY));
    let version = match (&name.digest, &name.tag) {
        (Some(digest), _) => format!("@{digest}"),
        (None, Some(tag)) => format!(":{tag}"),
        (None, None) => String::new(),
    };
    let ask = |place: &String| {
        let place = place.split_once("://").map_or(place.as_str(), |(_, rest)| rest);
        format!("{}/{}{version}", place.trim_end_matches('/'), name.repository)
    };
    places.into_iter().flatten().map(ask).collect()
}

/// Whether the engine speaks to a registry without TLS, as these ranges and names say.
fn is_insecure(registry: &str, ranges: &[String], names: &[String]) -> bool {
    if names.iter().any(|name| name == registry) {
        return true;
    }
    let wanted = match registry.contains('/') {
        true => range(registry),
        false => {
            let host = match registry.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
                _ => registry,
            };
            let host = if host == "localhost" { "127.0.0.1" } else { host.trim_matches(['[', ']']) };
            host.parse().ok().map(|address: IpAddr| (address, if address.is_ipv4() { 32 } else { 128 }))
        }
    };
    wanted.is_some_and(|wanted| {
        ranges.iter().filter_map(|text| range(text)).any(|insecure| contains(insecure, wanted))
    })
}

fn range(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

fn contains((outer, outer_length): (IpAddr, u32), (inner, inner_length): (IpAddr, u32)) -> bool {
    let same = match (outer, inner) {
        (IpAddr::V4(outer), IpAddr::V4(inner)) => {
            (outer.to_bits() ^ inner.to_bits()).checked_shr(32 - outer_length).unwrap_or(0) == 0
        }
        (IpAddr::V6(outer), IpAddr::V6(inner)) => {
            (outer.to_bits() ^ inner.to_bits()).checked_shr(128 - outer_length).unwrap_or(0) == 0
        }
        _ => false,
    };
    same && inner_length >= outer_length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_asked_in_order_for_the_same_repository() {
        let places = |all: &[&str]| all.iter().map(|place| (*place).to_owned()).collect::<Vec<_>>();
        let mirrors = Mirrors::from([
            ("docker.io".to_owned(), places(&["http://127.0.0.1:5001", "https://m.example/hub/"])),
            ("*".to_owned(), places(&["cache.example:5000"])),
            ("own.example".to_owned(), Vec::new()),
        ]);
        let digest = format!("sha256:{}", "0".repeat(64));
        for (image, expected) in [
            ("nginx", vec!["127.0.0.1:5001/library/nginx:latest", "m.example/hub/library/nginx:latest"]),
            ("quay.io/a/b:1", vec!["cache.example:5000/a/b:1"]),
            ("own.example/a:1", vec![]),
            (&format!("quay.io/a:1@{digest}"), vec![&format!("cache.example:5000/a@{digest}")]),
        ] {
            let name = reference::parse(image).expect("a name");
            assert_eq!(mirrored(&mirrors, &name), expected, "{image}");
        }
        assert!(mirrored(&Mirrors::new(), &reference::parse("nginx").expect("a name")).is_empty());
    }

    #[test]
    fn the_engine_decides_what_is_insecure() {
        let ranges = ["127.0.0.0/8", "10.1.0.0/16", "::1/128"].map(str::to_owned);
        let names = ["registry.local:5000".to_owned()];
        for (registry, expected) in [
            ("127.0.0.1:5000", true),
            ("localhost:5000", true),
            ("localhost", true),
            ("[::1]:5000", true),
            ("10.1.2.3", true),
            ("10.2.0.1:80", false),
            ("10.1.4.0/24", true),
            ("10.0.0.0/8", false),
            ("0.0.0.0/0", false),
            ("registry.local:5000", true),
            ("registry.local", false),
            ("127.0.0.0/99", false),
        ] {
            assert_eq!(is_insecure(registry, &ranges, &names), expected, "{registry}");
        }
    }
}
