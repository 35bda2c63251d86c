//! What may be a name, a label, a key, a port: each check returns upstream's messages, empty when the value is fine.
//!
//! **Contract**: the messages are parts of field errors and reach users verbatim.
//! **Upstream**: `k8s.io/apimachinery/pkg/util/validation`, `pkg/api/validation`.

use crate::field::{Error, ErrorList, Path};

const HTTP_PATH: &str = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
const QUALIFIED_NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_NAME_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";

/// The most bytes a DNS label may have.
pub const DNS_LABEL_MAX: usize = 63;
/// The most bytes a DNS subdomain may have.
pub const DNS_SUBDOMAIN_MAX: usize = 253;
/// The most bytes that all annotations of an object may have together.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

/// `must be no more than N bytes`
pub fn max_len_message(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// A message that shows examples and the regular expression, spaced as upstream spaces it.
fn regex_message(message: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{regex}')");
    }
    let mut text = format!("{message} (e.g. ");
    for (i, example) in examples.iter().enumerate() {
        if i > 0 {
            text.push_str(" or ");
        }
        text.push_str(&format!("'{example}', "));
    }
    text.push_str(&format!("regex used for validation is '{regex}')"));
    text
}

/// A `generateName` may end in a dash: look at it as if a letter stood there.
fn mask_trailing_dash(name: &str, prefix: bool) -> String {
    let bytes = name.as_bytes();
    if prefix && bytes.len() > 1 && bytes.ends_with(b"-") && bytes[bytes.len() - 2] != b'-' {
        format!("{}a", &name[..name.len() - 2])
    } else {
        name.to_owned()
    }
}

fn lower_alphanumeric(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(s: &str) -> bool {
    let b = s.as_bytes();
    matches!((b.first(), b.last()), (Some(&f), Some(&l)) if lower_alphanumeric(f) && lower_alphanumeric(l))
        && b.iter().all(|&c| lower_alphanumeric(c) || c == b'-')
}

fn is_subdomain(s: &str) -> bool {
    s.split('.').all(is_label)
}

fn is_qualified_part(s: &str) -> bool {
    let b = s.as_bytes();
    matches!((b.first(), b.last()), (Some(f), Some(l)) if f.is_ascii_alphanumeric() && l.is_ascii_alphanumeric())
        && b.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

/// A lowercase RFC 1123 subdomain of at most 253 bytes: the name of most objects. `prefix`: it is a `generateName`.
pub fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    let name = mask_trailing_dash(name, prefix);
    let mut errors = Vec::new();
    if name.len() > DNS_SUBDOMAIN_MAX {
        errors.push(max_len_message(DNS_SUBDOMAIN_MAX));
    }
    if !is_subdomain(&name) {
        errors.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            &format!("{LABEL}(\\.{LABEL})*"),
            &["example.com"],
        ));
    }
    errors
}

/// A lowercase RFC 1123 label of at most 63 bytes: namespaces, containers.
pub fn dns_label(name: &str, prefix: bool) -> Vec<String> {
    let name = mask_trailing_dash(name, prefix);
    let mut errors = Vec::new();
    if name.len() > DNS_LABEL_MAX {
        errors.push(max_len_message(DNS_LABEL_MAX));
    }
    if !is_label(&name) {
        errors.push(if is_subdomain(&name) {
            "must not contain dots".to_owned()
        } else {
            regex_message(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// A DNS-1035 label of at most 63 bytes: like a label, but it starts with a letter.
pub fn dns_1035_label(name: &str, prefix: bool) -> Vec<String> {
    let name = mask_trailing_dash(name, prefix);
    let mut errors = Vec::new();
    if name.len() > DNS_LABEL_MAX {
        errors.push(max_len_message(DNS_LABEL_MAX));
    }
    if !is_label(&name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        errors.push(regex_message(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            LABEL_1035,
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// What can be one segment of a path: the name of RBAC objects.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|s| name.contains(**s)).map(|s| format!("may not contain '{s}'")).collect()
}

/// The key of a label, annotation, finalizer or taint: `[prefix/]name`.
pub fn qualified_name(name: &str) -> Vec<String> {
    let examples = &["MyName", "my.name", "123-abc"];
    let message = || regex_message(QUALIFIED_NAME_MESSAGE, QUALIFIED_NAME, examples);
    let mut errors = Vec::new();
    let parts: Vec<&str> = name.split('/').collect();
    let local = match parts.as_slice() {
        [local] => local,
        [prefix, local] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(dns_subdomain(prefix, false).into_iter().map(|e| format!("prefix part {e}")));
            }
            local
        }
        _ => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                message()
            )];
        }
    };
    if local.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if local.len() > DNS_LABEL_MAX {
        errors.push(format!("name part {}", max_len_message(DNS_LABEL_MAX)));
    }
    if !is_qualified_part(local) {
        errors.push(format!("name part {}", message()));
    }
    errors
}

/// A path below a DNS name, such as `acme.io/foo`: names of controllers, keys of what is known about a user.
pub fn domain_prefixed_path(path: &Path, text: &str) -> ErrorList {
    if text.is_empty() {
        return vec![Error::required(path, "")];
    }
    let Some((host, rest)) = text.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty())
    else {
        return vec![Error::invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")")];
    };
    let wrong_host = dns_subdomain(host, false);
    let mut errors: ErrorList = wrong_host.iter().map(|detail| Error::invalid(path, host, detail)).collect();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(fits) {
        errors.push(Error::invalid(path, rest, &regex_message("Invalid path", HTTP_PATH, &[])));
    }
    errors
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS_LABEL_MAX {
        errors.push(max_len_message(DNS_LABEL_MAX));
    }
    if !value.is_empty() && !is_qualified_part(value) {
        errors.push(regex_message(
            &format!("a valid label must be an empty string or {}", &QUALIFIED_NAME_MESSAGE["must ".len()..]),
            &format!("({QUALIFIED_NAME})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// The key of a ConfigMap or Secret entry.
pub fn config_map_key(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.len() > DNS_SUBDOMAIN_MAX {
        errors.push(max_len_message(DNS_SUBDOMAIN_MAX));
    }
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        errors.push(regex_message(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            CONFIG_KEY,
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match key {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        k if k.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// The name of an environment variable: printable ASCII except `=`.
pub fn env_var_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}

/// Whether a resource is neither native nor divisible: `example.com/gpu`. **Upstream**: `IsExtendedResourceName`.
pub fn is_extended_resource(name: &str) -> bool {
    let is_foreign = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    is_foreign && qualified_name(&format!("requests.{name}")).is_empty()
}

/// An identifier of the language C, however long.
pub fn c_identifier(name: &str) -> Vec<String> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Vec::new();
    }
    vec![regex_message(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// The reason of a condition, however long.
pub fn condition_reason(reason: &str) -> Vec<String> {
    let bytes = reason.as_bytes();
    let inside = |b: &u8| b.is_ascii_alphanumeric() || b"_,:".contains(b);
    if let (Some(first), Some(last)) = (bytes.first(), bytes.last())
        && first.is_ascii_alphabetic()
        && bytes.iter().all(inside)
        && (last.is_ascii_alphanumeric() || *last == b'_')
    {
        return Vec::new();
    }
    vec![regex_message(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// A UUID as upstream writes them.
pub fn uuid(text: &str) -> Vec<String> {
    let core = match text.len() {
        32 | 36 => text,
        38 => match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(core) => core,
            None => return vec!["error validating uid: invalid bracketed UUID format".to_owned()],
        },
        45 => match text.split_at_checked(9) {
            Some((urn, core)) if urn.eq_ignore_ascii_case("urn:uuid:") => core,
            urn => {
                let urn = urn.map_or("", |(urn, _)| urn);
                return vec![format!("error validating uid: invalid urn prefix: {urn:?}")];
            }
        },
        length => return vec![format!("error validating uid: invalid UUID length: {length}")],
    };
    let fits = |(i, b): (usize, u8)| match i {
        8 | 13 | 18 | 23 if core.len() == 36 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    };
    if !core.bytes().enumerate().all(fits) {
        return vec!["error validating uid: invalid UUID format".to_owned()];
    }
    if text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Vec::new();
    }
    vec![
        "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
            .to_owned(),
    ]
}

/// The address of an interface, with the length of its network: `10.9.8.7/24`.
pub fn interface_address(address: &str) -> Vec<String> {
    if !cidr(address).is_empty() {
        return vec!["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned()];
    }
    let (ip, length) = address.split_once('/').unwrap_or((address, ""));
    let (Ok(ip), Ok(length)) = (ip.parse::<std::net::IpAddr>(), length.parse::<u8>()) else {
        return Vec::new();
    };
    let shown = ip.to_canonical();
    let length = if shown.is_ipv4() && length > 32 { length.saturating_sub(96) } else { length };
    let canonical = format!("{shown}/{length}");
    if canonical == address { Vec::new() } else { vec![format!("must be in canonical form ({canonical:?})")] }
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    between(port, 1, 65535)
}

/// The name of a port: at most 15 bytes, with at least one letter.
pub fn port_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > 15 {
        errors.push(max_len_message(15));
    }
    if name.is_empty() || !name.bytes().all(|b| lower_alphanumeric(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A number within inclusive bounds.
pub fn between(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) {
        Vec::new()
    } else {
        vec![format!("must be between {low} and {high}, inclusive")]
    }
}

/// An IPv4 or IPv6 address.
pub fn ip_address(address: &str) -> Vec<String> {
    if address.parse::<std::net::IpAddr>().is_ok() {
        Vec::new()
    } else {
        vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
    }
}

/// A block of addresses: `10.0.0.0/8`.
pub fn cidr(block: &str) -> Vec<String> {
    let valid = block.split_once('/').is_some_and(|(address, length)| {
        match (address.parse::<std::net::IpAddr>(), length.parse::<u8>()) {
            (Ok(address), Ok(length)) => length <= if address.is_ipv4() { 32 } else { 128 },
            _ => false,
        }
    });
    if valid {
        Vec::new()
    } else {
        vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_upstream_accepts() {
        for name in ["a", "a-b.c", "0", "example.com"] {
            assert!(dns_subdomain(name, false).is_empty(), "{name}");
        }
        assert!(dns_subdomain("web-", true).is_empty());
        assert!(dns_label("web-", true).is_empty());
        assert!(path_segment("system:node", false).is_empty());
        assert!(qualified_name("kubernetes.io/os").is_empty());
        assert!(label_value("").is_empty());
        assert!(env_var_name("my.var-1 x").is_empty());
        assert!(port_name("http-2").is_empty());
        assert!(config_map_key("a_B.c-1").is_empty());
        assert!(cidr("10.0.0.0/8").is_empty());
        assert!(c_identifier("_Memory0").is_empty());
        assert!(condition_reason("Attached:Ok").is_empty());
        assert!(uuid("0f3a2b1c-1111-4222-8333-444455556666").is_empty());
        assert!(interface_address("10.9.8.7/24").is_empty());
        assert!(is_extended_resource("example.com/gpu"));
        assert!(interface_address("2001:db8::1/64").is_empty());
    }

    #[test]
    fn refuses_in_upstreams_words() {
        assert_eq!(
            dns_subdomain("A_b", false),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(dns_label("a.b", false), ["must not contain dots"]);
        assert_eq!(
            qualified_name("a b"),
            [
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ]
        );
        assert_eq!(
            label_value("-x"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert_eq!(path_segment("a/b", false), ["may not contain '/'"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(dns_label(&"a".repeat(64), false), ["must be no more than 63 bytes"]);
        assert!(!dns_1035_label("1a", false).is_empty());
        assert!(!dns_subdomain("web-", false).is_empty());
        for name in ["", "0a", "a-b"] {
            assert_eq!(
                c_identifier(name),
                [
                    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
                ]
            );
        }
        for name in ["cpu", "kubernetes.io/gpu", "requests.example.com/gpu", "example.com/gpu/a"] {
            assert!(!is_extended_resource(name), "{name}");
        }
        assert!(!condition_reason("ends,").is_empty());
        for (text, message) in [
            ("1", "error validating uid: invalid UUID length: 1"),
            ("0f3a2b1c-1111-4222-8333-44445555666g", "error validating uid: invalid UUID format"),
            (
                "0F3A2B1C-1111-4222-8333-444455556666",
                "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters",
            ),
        ] {
            assert_eq!(uuid(text), [message]);
        }
        let form = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        assert_eq!(interface_address("10.9.8.7"), [form]);
        assert_eq!(interface_address("::ffff:10.9.8.7/120"), ["must be in canonical form (\"10.9.8.7/24\")"]);
    }

    #[test]
    fn a_domain_prefixed_path_has_a_domain_and_a_path() {
        for (text, expected) in [
            ("acme.io/foo", ""),
            ("acme.io/a/b", ""),
            ("", "key: Required value"),
            ("foo", "key: Invalid value: \"foo\": must be a domain-prefixed path (such as \"acme.io/foo\")"),
            (
                "acme.io/",
                "key: Invalid value: \"acme.io/\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
            (
                "acme.io/a b",
                "key: Invalid value: \"a b\": Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
            ),
        ] {
            let errors = domain_prefixed_path(&Path::new("key"), text);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(", "), expected, "{text:?}");
        }
        assert!(domain_prefixed_path(&Path::new("key"), "A.io/x")[0].body.contains("lowercase RFC 1123"));
    }
}
