//! How a webhook is reached, wherever one is configured.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/util/webhook/validation.go`.

use crate::resources::check;
use api::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

/// All errors of a `WebhookClientConfig`.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, client: &Value) {
    let (url, service) = (&client["url"], &client["service"]);
    if url.is_null() == service.is_null() {
        errors.push(Error::required(path, "exactly one of url or service is required"));
        return;
    }
    match url.as_str() {
        Some(url) => check_url(errors, &path.child("url"), url),
        None => check_service(errors, &path.child("service"), service),
    }
}

fn check_url(errors: &mut ErrorList, path: &Path, url: &str) {
    let form = "; desired format: https://host[/path]";
    let mut refuse = |value: &str, detail: &str| {
        errors.push(Error::invalid(path, value, &format!("{detail}{form}")));
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        refuse(scheme, "'https' is the only allowed URL scheme");
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or("");
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() && !scheme.is_empty() {
        refuse(host, "host must be specified");
    }
    if !user.is_empty() {
        refuse(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        refuse(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        refuse(query, "query parameters are not permitted in the URL");
    }
}

fn check_service(errors: &mut ErrorList, path: &Path, service: &Value) {
    check::required(errors, &path.child("name"), &service["name"]);
    check::required(errors, &path.child("namespace"), &service["namespace"]);
    if let Some(number) = service["port"].as_i64().filter(|n| !(1..=65535).contains(n)) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(Error::invalid(&path.child("port"), number, detail));
    }
    let (Some(text), path) = (service["path"].as_str(), path.child("path")) else { return };
    match text {
        "" | "/" => return,
        "//" => return errors.push(Error::invalid(&path, text, "segment[0] may not be empty")),
        _ => {}
    }
    let Some(rest) = text.strip_prefix('/') else {
        return errors.push(Error::invalid(&path, text, "must start with a '/'"));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (i, segment) in rest.split('/').enumerate() {
        if segment.is_empty() {
            errors.push(Error::invalid(&path, text, &format!("segment[{i}] may not be empty")));
            continue;
        }
        for message in api::names::dns_subdomain(segment, false) {
            errors.push(Error::invalid(&path, text, &format!("segment[{i}]: {message}")));
        }
    }
}

/// All errors of the versions of reviews that a webhook understands; `missing` is what is said if there are none.
pub(crate) fn check_versions(
    errors: &mut ErrorList,
    path: &Path,
    versions: &[Value],
    accepted: &[&str],
    missing: &str,
) {
    if versions.is_empty() {
        errors.push(Error::required(path, missing));
        return;
    }
    for (i, version) in versions.iter().enumerate() {
        if versions[..i].contains(version) {
            errors.push(Error::invalid(&path.index(i), version.clone(), "duplicate version"));
            continue;
        }
        let text = version.as_str().unwrap_or("");
        check::invalid(errors, &path.index(i), version, api::names::dns_1035_label(text, false));
    }
    if !versions.iter().any(|v| v.as_str().is_some_and(|v| accepted.contains(&v))) {
        let detail = format!("must include at least one of {}", accepted.join(", "));
        errors.push(Error::invalid(path, json!(versions), &detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_allowed() {
        let errors = |client: Value| {
            let mut errors = ErrorList::new();
            check(&mut errors, &Path::new("c"), &client);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let form = "; desired format: https://host[/path]";
        let table = [
            (json!({"url": "https://host/path"}), vec![]),
            (json!({}), vec!["c: Required value: exactly one of url or service is required".to_owned()]),
            (
                json!({"url": "http://host"}),
                vec![format!("c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme{form}")],
            ),
            (
                json!({"url": "https://u@host/?q=1"}),
                vec![
                    format!(
                        "c.url: Invalid value: \"u\": user information is not permitted in the URL{form}"
                    ),
                    format!(
                        "c.url: Invalid value: \"q=1\": query parameters are not permitted in the URL{form}"
                    ),
                ],
            ),
            (
                json!({"service": {"name": "s", "namespace": "n", "path": "a"}}),
                vec!["c.service.path: Invalid value: \"a\": must start with a '/'".to_owned()],
            ),
            (
                json!({"service": {"name": "s", "namespace": "n", "path": "/a//b"}}),
                vec!["c.service.path: Invalid value: \"/a//b\": segment[1] may not be empty".to_owned()],
            ),
        ];
        for (client, expected) in table {
            assert_eq!(errors(client.clone()), expected, "{client}");
        }
    }
}
