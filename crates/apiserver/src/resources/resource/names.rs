//! Names of drivers, pools, devices and what devices have.
//!
//! **Upstream**: `validateDriverName`, `validatePoolName`, `validateQualifiedName` and their likes.

use crate::resources::check;
use crate::resources::edit::text;
use api::field::{Error, ErrorList, Path};
use api::names;
use serde_json::Value;

/// **Upstream**: `DriverNameMaxLength`, `DeviceMaxDomainLength`.
const MAX_DRIVER: usize = 63;
/// **Upstream**: `PoolNameMaxLength`.
const MAX_POOL: usize = 253;
/// **Upstream**: `DeviceMaxIDLength`.
const MAX_ID: usize = 32;
/// Letters of the longest name of an attribute or a capacity.
pub(super) const MAX_QUALIFIED: usize = MAX_DRIVER + 1 + MAX_ID;
/// Letters of a DNS label.
pub(super) const MAX_LABEL: usize = 63;

fn driver_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
    }
    if name.len() > MAX_DRIVER {
        errors.push(Error::too_long(path, MAX_DRIVER));
    }
    let messages = names::dns_subdomain(&name.to_ascii_lowercase(), false);
    check::invalid(errors, path, &name.into(), messages);
}

/// The driver in a field of that name.
pub(super) fn driver(errors: &mut ErrorList, path: &Path, holder: &Value) {
    driver_name(errors, &path.child("driver"), text(holder, "driver"));
}

/// A pool: subdomains separated by slashes.
pub(super) fn pool(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if name.len() > MAX_POOL {
        errors.push(Error::too_long(path, MAX_POOL));
    }
    for part in name.split('/') {
        check::invalid(errors, path, &part.into(), names::dns_subdomain(part, false));
    }
}

/// A DNS label, which an empty text is not.
pub(super) fn label(errors: &mut ErrorList, path: &Path, name: &str) {
    check::invalid(errors, path, &name.into(), names::dns_label(name, false));
}

/// A DNS label that is told to be missing if it is empty.
pub(super) fn required_label(errors: &mut ErrorList, path: &Path, holder: &Value, field: &str) {
    check::required_name(errors, &path.child(field), &text(holder, field).into(), check::label);
}

/// The key of a label.
pub(super) fn label_key(errors: &mut ErrorList, path: &Path, name: &str) {
    check::invalid(errors, path, &name.into(), names::qualified_name(name));
}

fn id(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.len() > MAX_ID {
        errors.push(Error::too_long(path, MAX_ID));
    }
    check::invalid(errors, path, &name.into(), names::c_identifier(name));
}

/// The name of an attribute or a capacity, with or without a domain.
pub(super) fn qualified(errors: &mut ErrorList, path: &Path, name: &str) {
    let mut parts = name.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => id(errors, path, name),
        (Some(domain), Some(name), None) => {
            match domain {
                "" => errors.push(Error::invalid(path, "", "the domain must not be empty")),
                domain => driver_name(errors, path, domain),
            }
            match name {
                "" => errors.push(Error::invalid(path, "", "the name must not be empty")),
                name => id(errors, path, name),
            }
        }
        _ => errors.push(Error::invalid(path, name, "must not contain more than one slash")),
    }
}

/// The same, with a domain.
pub(super) fn fully_qualified(errors: &mut ErrorList, path: &Path, name: &str) {
    qualified(errors, path, name);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(path, name, detail));
    }
}

/// The identity of a share of a device; none if there is none.
pub(super) fn share(errors: &mut ErrorList, path: &Path, holder: &Value) {
    if let Some(id) = holder["shareID"].as_str() {
        check::invalid(errors, &path.child("shareID"), &id.into(), names::uuid(id));
    }
}

/// Driver, pool and device in fields of those names.
pub(super) fn device(errors: &mut ErrorList, path: &Path, holder: &Value) {
    driver(errors, path, holder);
    pool(errors, &path.child("pool"), text(holder, "pool"));
    label(errors, &path.child("device"), text(holder, "device"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_in_upstreams_words() {
        let told = |check: fn(&mut ErrorList, &Path, &str), name: &str| {
            let mut errors = ErrorList::new();
            check(&mut errors, &Path::new("n"), name);
            errors.iter().map(|error| error.to_string()).collect::<Vec<_>>()
        };
        for (check, name) in [
            (driver_name as fn(&mut ErrorList, &Path, &str), "GPU.example.com"),
            (pool, "a.b/c/d-1"),
            (qualified, "memory"),
            (qualified, "gpu.example.com/memory"),
            (fully_qualified, "gpu.example.com/memory"),
        ] {
            assert_eq!(told(check, name), Vec::<String>::new(), "{name}");
        }
        for (check, name, wanted) in [
            (pool as fn(&mut ErrorList, &Path, &str), "", "n: Required value"),
            (qualified, "/x", "n: Invalid value: \"\": the domain must not be empty"),
            (qualified, "a.b/", "n: Invalid value: \"\": the name must not be empty"),
            (qualified, "a/b/c", "n: Invalid value: \"a/b/c\": must not contain more than one slash"),
            (qualified, &"a".repeat(33), "n: Too long: may not be more than 32 bytes"),
            (driver_name, &"a".repeat(64), "n: Too long: may not be more than 63 bytes"),
            (
                fully_qualified,
                "memory",
                "n: Invalid value: \"memory\": a fully qualified name must be a domain and a name separated by a slash",
            ),
        ] {
            assert_eq!(told(check, name)[0], wanted, "{name}");
        }
        assert!(told(pool, "a//b")[0].starts_with("n: Invalid value: \"\": a lowercase RFC 1123 subdomain"));
        assert_eq!(told(driver_name, "")[0], "n: Required value");
    }
}
