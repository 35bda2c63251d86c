//! Which requests a proxy passes on, and where they go. Pure.
//!
//! **Upstream.** `kubectl/pkg/proxy/proxy_server.go` (behaviour).

use regex::Regex;

/// Lists of expressions, separated by commas.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) accept_paths: Vec<Regex>,
    pub(super) reject_paths: Vec<Regex>,
    pub(super) accept_hosts: Vec<Regex>,
    pub(super) reject_methods: Vec<Regex>,
}

/// Reads a list.
pub(super) fn expressions(text: &str) -> Result<Vec<Regex>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let compiled =
        text.split(',').map(|one| Regex::new(one).map_err(|error| format!("Error compiling re: {error}")));
    compiled.collect()
}

impl Filter {
    /// Whether a request may pass.
    pub(super) fn accepts(&self, method: &str, path: &str, host: &str) -> bool {
        let any = |list: &[Regex], text: &str| list.iter().any(|one| one.is_match(text));
        !any(&self.reject_paths, path)
            && !any(&self.reject_methods, method)
            && any(&self.accept_paths, path)
            && any(&self.accept_hosts, without_port(host))
    }
}

/// `localhost` of `localhost:8001`, `[::1]` as it stands.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => {
            // Go takes the brackets off together with the port.
            match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
                Some(_) => name,
                None if name.contains(':') => host,
                None => name,
            }
        }
        _ => host,
    }
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// To the API server, at this path.
    Api(String),
    /// To a file below the folder.
    File(&'a str),
    /// Nowhere.
    Nowhere,
}

/// Finds the way; both prefixes end with a slash, and the longer that fits wins.
pub(super) fn way<'a>(path: &'a str, api_prefix: &str, static_prefix: Option<&str>) -> Way<'a> {
    let file = static_prefix.and_then(|prefix| Some((prefix.len(), path.strip_prefix(prefix)?)));
    let api = path.starts_with(api_prefix).then_some(api_prefix.len());
    match (file, api) {
        (Some((long, file)), api) if api.is_none_or(|short| long >= short) => Way::File(file),
        (_, Some(_)) if api_prefix.starts_with("/api") => Way::Api(path.to_owned()),
        (_, Some(length)) => Way::Api(format!("/{}", path[length..].trim_start_matches('/'))),
        _ => Way::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_what_kubectl_passes() {
        let filter = Filter {
            accept_paths: expressions("^.*").unwrap(),
            reject_paths: expressions("^/api/.*/pods/.*/exec,^/api/.*/pods/.*/attach").unwrap(),
            accept_hosts: expressions(r"^localhost$,^127\.0\.0\.1$,^\[::1\]$").unwrap(),
            reject_methods: expressions("^$").unwrap(),
        };
        for (path, host, accepted) in [
            ("/api/v1/pods", "localhost:8001", true),
            ("/api/v1/pods", "127.0.0.1", true),
            ("/api/v1/pods", "[::1]:8001", true),
            ("/api/v1/pods", "evil.example:8001", false),
            ("/api/v1/namespaces/x/pods/p/exec", "localhost", false),
        ] {
            assert_eq!(filter.accepts("GET", path, host), accepted, "{path} {host}");
        }
        let strict = Filter { reject_methods: expressions("POST,PUT").unwrap(), ..filter };
        assert!(!strict.accepts("POST", "/api", "localhost") && strict.accepts("GET", "/api", "localhost"));
        assert!(expressions("(").is_err());
    }

    #[test]
    fn prefixes_lead_to_the_server_or_to_files() {
        let api = |path: &str| Way::Api(path.to_owned());
        assert_eq!(way("/api/v1", "/", None), api("/api/v1"));
        assert_eq!(way("/custom/api/v1", "/custom/", None), api("/api/v1"));
        assert_eq!(way("/other", "/custom/", None), Way::Nowhere);
        assert_eq!(way("/api/v1", "/api/", None), api("/api/v1"));
        assert_eq!(way("/static/a/b.html", "/", Some("/static/")), Way::File("a/b.html"));
    }
}
