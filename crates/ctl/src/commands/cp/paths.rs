//! What a command line of `cp` names, and where a file of an archive goes. Pure.
//!
//! **Upstream.** `kubectl/pkg/cmd/cp/filespec.go` (behaviour).

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    /// The pod and its namespace, if it is not the one in force; none: this machine.
    pub(super) pod: Option<(Option<String>, String)>,
    /// The file.
    pub(super) file: String,
}

impl Spec {
    /// Reads `[[namespace/]pod:]file`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let malformed = || "filespec must match the canonical format: [[namespace/]pod:]file/path".to_owned();
        let Some((pod, file)) = text.split_once(':') else {
            return Ok(Self { pod: None, file: without_slash(text).to_owned() });
        };
        if pod.is_empty() {
            return Err(malformed());
        }
        let file = without_slash(file).replace('\\', "/");
        let pod = match pod.split('/').collect::<Vec<_>>().as_slice() {
            [name] => (None, (*name).to_owned()),
            [namespace, name] => {
                (Some((*namespace).to_owned()).filter(|n| !n.is_empty()), (*name).to_owned())
            }
            _ => return Err(malformed()),
        };
        Ok(Self { pod: (!pod.1.is_empty()).then_some(pod), file })
    }
}

fn without_slash(path: &str) -> &str {
    if path == "/" { path } else { path.strip_suffix('/').unwrap_or(path) }
}

/// A path without `.`, `..` where it can be resolved, and double slashes. **Upstream.** Go's `path.Clean`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The folder that a path is in, and its last part. **Upstream.** Go's `path.Dir` and `path.Base`.
pub(super) fn split(path: &str) -> (String, String) {
    if path == "/" {
        return ("/".to_owned(), "/".to_owned());
    }
    match path.rfind('/') {
        Some(at) => (clean(&path[..=at]), path[at + 1..].to_owned()),
        None => (".".to_owned(), path.to_owned()),
    }
}

/// One path below another.
pub(super) fn join(base: &str, rest: &str) -> String {
    match (base, rest) {
        ("", rest) => {
            if rest.is_empty() {
                String::new()
            } else {
                clean(rest)
            }
        }
        (base, "") => clean(base),
        (base, rest) => clean(&format!("{base}/{rest}")),
    }
}

/// What the names of an archive begin with: the path as `tar` writes it, without what leads out of the root.
pub(super) fn prefix(remote: &str) -> String {
    let mut path = clean(remote.trim_start_matches(['/', '\\']));
    while let Some(rest) = path.strip_prefix("../") {
        path = rest.to_owned();
    }
    if matches!(&*path, "." | "..") {
        String::new()
    } else {
        path.strip_prefix('/').unwrap_or(&path).to_owned()
    }
}

/// Whether a path is a folder itself or below it.
pub(super) fn is_below(base: &str, path: &str) -> bool {
    let (base, path) = (clean(base), clean(path));
    let leads_up = |path: &str| path == ".." || path.starts_with("../");
    match base.as_str() {
        "." => !path.starts_with('/') && !leads_up(&path),
        "/" => path.starts_with('/'),
        base => path == base || path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_name_a_pod_or_this_machine() {
        let pod = |namespace: Option<&str>, name: &str| Some((namespace.map(str::to_owned), name.to_owned()));
        for (text, expected, file) in [
            ("/tmp/foo/", None, "/tmp/foo"),
            ("p:/tmp/bar", pod(None, "p"), "/tmp/bar"),
            ("n/p:bar/", pod(Some("n"), "p"), "bar"),
            ("p:", pod(None, "p"), ""),
            ("p:/", pod(None, "p"), "/"),
            ("p:a\\b", pod(None, "p"), "a/b"),
        ] {
            assert_eq!(Spec::parse(text), Ok(Spec { pod: expected, file: file.to_owned() }), "{text}");
        }
        assert!(Spec::parse(":x").is_err() && Spec::parse("a/b/c:x").is_err());
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c", "a/b/c"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("a/..", "."),
            ("/a/../..", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
        for (path, folder, last) in
            [("/a/b", "/a", "b"), ("b", ".", "b"), ("/b", "/", "b"), ("a/b", "a", "b")]
        {
            assert_eq!(split(path), (folder.to_owned(), last.to_owned()));
        }
        assert_eq!(join("/a", "b/../c"), "/a/c");
    }

    #[test]
    fn nothing_leads_out_of_the_destination() {
        for (remote, expected) in
            [("/tmp/foo", "tmp/foo"), ("../../etc", "etc"), ("..", ""), (".", ""), ("/", "")]
        {
            assert_eq!(prefix(remote), expected, "{remote}");
        }
        for (base, path, below) in [
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/a", "/a/../b", false),
            (".", "b", true),
            (".", "../b", false),
            (".", "/b", false),
            ("a", "a/b", true),
            ("/", "/x", true),
        ] {
            assert_eq!(is_below(base, path), below, "{base} {path}");
        }
    }
}
