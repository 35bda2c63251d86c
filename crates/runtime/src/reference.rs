//! Image references: are they well-formed, and what do short ones mean.
//!
//! Contract: [`parse`] accepts what `docker pull` accepts and fills in registry, `library/` and `latest`.
//!
//! Upstream: `distribution/reference`, `pkg/util/parsers`; messages are upstream's.

use crate::{Error, Result};

/// A reference with everything filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/nginx`.
    pub repository: String,
    /// `latest`, unless there is a digest; may be given together with one.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// As Docker prints it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let mut name = if self.registry == DOCKER_HUB {
            self.repository.strip_prefix("library/").unwrap_or(&self.repository).to_owned()
        } else {
            format!("{}/{}", self.registry, self.repository)
        };
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest);
        }
        name
    }
}

/// The registry of names without one.
const DOCKER_HUB: &str = "docker.io";
/// Longest tag.
const MAX_TAG: usize = 128;
/// Longest registry and repository together.
const MAX_NAME: usize = 255;

/// Parses a reference, or says what is wrong with it in upstream's words.
pub fn parse(image: &str) -> Result<Reference> {
    let invalid =
        |message: &str| Error::InvalidImageName { image: image.to_owned(), message: message.to_owned() };
    let malformed = || invalid("invalid reference format");
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    if let Some(digest) = digest {
        let (algorithm, hex) = digest.split_once(':').ok_or_else(malformed)?;
        let known = matches!((algorithm, hex.len()), ("sha256", 64) | ("sha512", 128));
        if !known || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(malformed());
        }
    }
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let inner = |b: u8| word(b) || b == b'.' || b == b'-';
        if tag.is_empty() || tag.len() > MAX_TAG || !word(tag.as_bytes()[0]) || !tag.bytes().all(inner) {
            return Err(malformed());
        }
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path.to_owned()),
        Some(_) => (DOCKER_HUB, name.to_owned()),
        None => (DOCKER_HUB, format!("library/{name}")),
    };
    if name.is_empty() || !valid_registry(registry) {
        return Err(malformed());
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(invalid(&format!(
            "invalid reference format: repository name ({path}) must be lowercase"
        )));
    }
    if !path.split('/').all(valid_component) {
        return Err(malformed());
    }
    if registry.len() + 1 + path.len() > MAX_NAME {
        return Err(invalid("repository name must not be more than 255 characters"));
    }
    let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
    Ok(Reference {
        registry: registry.to_owned(),
        repository: path,
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// `host`, `host:port`; labels of letters, digits and inner dashes.
fn valid_registry(registry: &str) -> bool {
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower case letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn valid_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes
        .split(|&b| alphanumeric(b))
        .filter(|gap| !gap.is_empty())
        .all(|gap| matches!(gap, b"." | b"_" | b"__") || gap.iter().all(|&b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_what_short_names_leave_out() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, familiar) in [
            ("nginx".to_owned(), "nginx:latest".to_owned()),
            ("library/nginx:1".into(), "nginx:1".into()),
            ("docker.io/minik/hello:v1".into(), "minik/hello:v1".into()),
            ("localhost:5000/a/b".into(), "localhost:5000/a/b:latest".into()),
            (format!("quay.io/x@{digest}"), format!("quay.io/x@{digest}")),
            (format!("x:1@{digest}"), format!("x:1@{digest}")),
        ] {
            assert_eq!(parse(&image).expect(&image).familiar(), familiar);
        }
    }

    #[test]
    fn refuses_malformed_names_in_upstream_words() {
        for (image, message) in [
            ("", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("nginx:", "invalid reference format"),
            ("nginx:a:b", "invalid reference format"),
            ("-x", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
            ("Nginx", "invalid reference format: repository name (library/Nginx) must be lowercase"),
        ] {
            let Err(Error::InvalidImageName { message: got, .. }) = parse(image) else {
                panic!("accepted {image:?}");
            };
            assert_eq!(got, message, "{image}");
        }
        assert_eq!(
            parse("Nginx").expect_err("upper case").to_string(),
            "couldn't parse image name \"Nginx\": \
             invalid reference format: repository name (library/Nginx) must be lowercase"
        );
    }
}
