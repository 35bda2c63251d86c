//! Names of images, so that those of pods and of nodes can be compared.

/// The name with its tag: `latest` if there is none. **Upstream**: `normalizedImageName` of ImageLocality.
pub fn normalized(name: &str) -> String {
    let tag = name.rfind(':').is_some_and(|colon| name.rfind('/').is_none_or(|slash| slash < colon));
    if tag { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn a_name_without_a_tag_means_latest() {
        for (name, expected) in [
            ("root", "root:latest"),
            ("root:tag", "root:tag"),
            ("gcr.io:5000/root", "gcr.io:5000/root:latest"),
            ("root@sha256:0a", "root@sha256:0a"),
        ] {
            assert_eq!(normalized(name), expected);
        }
    }
}
