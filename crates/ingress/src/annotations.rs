//! Annotations of Ingresses that people bring along from ingress-nginx.
//!
//! **Contract**: pure. What is understood becomes [`Settings`]; everything else with that prefix is told, by name.
//! **Upstream**: ingress-nginx, `docs/user-guide/nginx-configuration/annotations.md`.

use std::collections::BTreeMap;
use std::time::Duration;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";
/// How long a backend may be silent. **Upstream**: `proxy-read-timeout`.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What backends speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS; the certificate is not checked.
    Https,
    /// HTTP/2 without TLS.
    Grpc,
    /// HTTP/2 over TLS; the certificate is not checked.
    Grpcs,
}

/// How requests that an Ingress is meant for are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `rewrite-target`: the path that the backend sees; `$1` is what the first group of the path has matched.
    pub rewrite: Option<String>,
    /// `use-regex`: paths are regular expressions.
    pub regex: bool,
    /// `ssl-redirect`: where there is a certificate, plain requests are sent to it.
    pub ssl_redirect: bool,
    /// `force-ssl-redirect`: the same where there is none.
    pub force_ssl_redirect: bool,
    /// `proxy-body-size`: bytes of the longest request; none by default.
    pub body_limit: Option<u64>,
    /// `backend-protocol`; none: as the Service's `appProtocol` says, or HTTP.
    pub protocol: Option<Protocol>,
    /// `proxy-read-timeout`
    pub read_timeout: Duration,
    /// `app-root`: where requests for `/` are sent.
    pub app_root: Option<String>,
    /// `permanent-redirect` or `temporal-redirect`: where all requests are sent, and with which status.
    pub redirect: Option<(u16, String)>,
    /// `upstream-vhost`: the host that the backend sees.
    pub virtual_host: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rewrite: None,
            regex: false,
            ssl_redirect: true,
            force_ssl_redirect: false,
            body_limit: None,
            protocol: None,
            read_timeout: READ_TIMEOUT,
            app_root: None,
            redirect: None,
            virtual_host: None,
        }
    }
}

/// What the annotations say, and what of them is not followed: `rewrite-target: reason`.
pub fn read(annotations: &BTreeMap<String, String>) -> (Settings, Vec<String>) {
    let mut settings = Settings::default();
    let mut refused = Vec::new();
    let mut code = None;
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let value = value.trim();
        let understood = match name {
            "rewrite-target" => set(&mut settings.rewrite, path(value)),
            "app-root" => set(&mut settings.app_root, path(value)),
            "upstream-vhost" => set(&mut settings.virtual_host, text(value)),
            "use-regex" => put(&mut settings.regex, value.parse().ok()),
            "ssl-redirect" => put(&mut settings.ssl_redirect, value.parse().ok()),
            "force-ssl-redirect" => put(&mut settings.force_ssl_redirect, value.parse().ok()),
            "proxy-body-size" => put(&mut settings.body_limit, size(value)),
            "proxy-read-timeout" => put(&mut settings.read_timeout, seconds(value)),
            "backend-protocol" => set(&mut settings.protocol, protocol(value)),
            "permanent-redirect" => set(&mut settings.redirect, text(value).map(|to| (301, to))),
            "temporal-redirect" => set(&mut settings.redirect, text(value).map(|to| (302, to))),
            "permanent-redirect-code" => {
                set(&mut code, value.parse().ok().filter(|code| (300..=308).contains(code)))
            }
            _ => {
                refused.push(format!("{key}: not supported, ignored"));
                continue;
            }
        };
        if !understood {
            refused.push(format!("{key}: invalid value {value:?}, ignored"));
        }
    }
    if let (Some(code), Some((as_is @ 301, _))) = (code, &mut settings.redirect) {
        *as_is = code;
    }
    (settings, refused)
}

fn set<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let understood = value.is_some();
    *field = value.or(field.take());
    understood
}

fn put<T>(field: &mut T, value: Option<T>) -> bool {
    let understood = value.is_some();
    if let Some(value) = value {
        *field = value;
    }
    understood
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty() && value.chars().all(|c| c.is_ascii_graphic())).then(|| value.to_owned())
}

fn path(value: &str) -> Option<String> {
    text(value).filter(|path| path.starts_with('/') || path.starts_with('$'))
}

fn protocol(value: &str) -> Option<Protocol> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" | "AUTO_HTTP" => Some(Protocol::Http),
        "HTTPS" => Some(Protocol::Https),
        "GRPC" => Some(Protocol::Grpc),
        "GRPCS" => Some(Protocol::Grpcs),
        _ => None,
    }
}

/// `60`, `60s`
fn seconds(value: &str) -> Option<Duration> {
    let seconds: u64 = value.trim_end_matches('s').parse().ok()?;
    (seconds > 0).then_some(Duration::from_secs(seconds))
}

/// `8m`, `1g`, `512k`, `100`; 0 is no limit.
fn size(value: &str) -> Option<Option<u64>> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let factor = match unit {
        "" | "b" | "B" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
    Some((bytes > 0).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(&str, &str)]) -> (Settings, Vec<String>) {
        read(&list.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned())).collect())
    }

    #[test]
    fn understands_the_usual_ones() {
        let default = Settings::default;
        let table: Vec<(&[(&str, &str)], Settings)> = vec![
            (&[], default()),
            (&[("rewrite-target", "/$2")], Settings { rewrite: Some("/$2".into()), ..default() }),
            (&[("ssl-redirect", "false")], Settings { ssl_redirect: false, ..default() }),
            (&[("force-ssl-redirect", "true")], Settings { force_ssl_redirect: true, ..default() }),
            (&[("proxy-body-size", "8m")], Settings { body_limit: Some(8 << 20), ..default() }),
            (&[("proxy-body-size", "0")], default()),
            (&[("backend-protocol", "grpc")], Settings { protocol: Some(Protocol::Grpc), ..default() }),
            (&[("proxy-read-timeout", "5")], Settings { read_timeout: Duration::from_secs(5), ..default() }),
            (
                &[("permanent-redirect", "https://a.example"), ("permanent-redirect-code", "308")],
                Settings { redirect: Some((308, "https://a.example".into())), ..default() },
            ),
        ];
        for (annotations, expected) in table {
            assert_eq!(of(annotations), (expected, Vec::new()), "{annotations:?}");
        }
    }

    #[test]
    fn tells_what_it_does_not_follow() {
        let (settings, refused) = of(&[
            ("auth-url", "https://a.example"),
            ("backend-protocol", "FCGI"),
            ("proxy-body-size", "1x"),
            ("rewrite-target", "/a b"),
            ("ssl-redirect", "yes"),
        ]);
        assert_eq!(settings, Settings::default());
        let names: Vec<&str> = refused
            .iter()
            .map(|text| text.strip_prefix(PREFIX).unwrap_or(text).split(':').next().unwrap_or_default())
            .collect();
        assert_eq!(
            names,
            ["auth-url", "backend-protocol", "proxy-body-size", "rewrite-target", "ssl-redirect"]
        );
        assert!(
            refused[0].ends_with("not supported, ignored") && refused[1].contains("invalid value \"FCGI\"")
        );
        assert_eq!(read(&BTreeMap::from([("example.com/a".into(), "b".into())])).1, Vec::<String>::new());
    }
}
