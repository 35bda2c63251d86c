//! `/flagz` and `/statusz`: the flags that the server runs with, and since when it runs.
//!
//! **Contract**: people get text whose separators differ from one answer to the next, so that no program relies on it; programs ask
//! for the object.
//! **Not here**: pages of other components (`component_base::Pages`), health.
//! **Upstream**: `k8s.io/apiserver/pkg/server/{flagz,statusz}`.

use crate::body::Response;
use crate::negotiate::{self, Negotiated, Page};
use crate::respond;
use crate::server::Server;
use crate::version::GIT_VERSION;
use api::status::Status;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const COMPONENT: &str = "kube-apiserver";
const SEPARATORS: [&str; 4] = [":", ": ", "=", " "];
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
/// What is no page to look at.
const NO_PAGES: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

/// `/flagz`
pub(crate) fn flags(server: &Server, headers: &HeaderMap) -> Result<Response, Status> {
    let flags = server.config.options.listed();
    answer(headers, "Flagz", &|page| match page {
        Page::Text => Value::from(flags_text(&flags, separator(server))),
        Page::Object(..) => json!({ "flags": flags }),
    })
}

/// `/statusz`; `paths` are all that there are.
pub(crate) fn status(server: &Server, headers: &HeaderMap, paths: &[String]) -> Result<Response, Status> {
    let (started, now) = (server.started, server.context.clock.now());
    let facts = Facts { started, now, paths: folders(paths) };
    answer(headers, "Statusz", &|page| match page {
        Page::Text => Value::from(facts.text(separator(server))),
        Page::Object(..) => facts.object(),
    })
}

/// Sends what is asked for; `content` is the text, or what an object has besides its metadata.
fn answer(headers: &HeaderMap, kind: &str, content: &dyn Fn(Page) -> Value) -> Result<Response, Status> {
    let page = negotiate::page(headers, kind)?;
    let content = content(page);
    let (version, encoding) = match (page, &content) {
        (Page::Object(version, encoding), _) => (version, encoding),
        (Page::Text, text) => return Ok(respond::text(200, text.as_str().unwrap_or_default().to_owned())),
    };
    let mut object = Map::new();
    object.insert("kind".to_owned(), kind.into());
    object.insert("apiVersion".to_owned(), format!("config.k8s.io/{version}").into());
    object.insert("metadata".to_owned(), json!({ "name": COMPONENT }));
    object.extend(content.as_object().cloned().unwrap_or_default());
    let object = Value::Object(object);
    let mut response = respond::object(200, &object, Negotiated { encoding, ..Negotiated::default() });
    if version == "v1alpha1" {
        let name = kind.to_lowercase();
        let warning = format!(
            "299 - \"This version of the {name} endpoint is deprecated. Please use a newer version.\""
        );
        response
            .headers_mut()
            .extend(HeaderValue::from_str(&warning).ok().map(|value| (header::WARNING, value)));
    }
    Ok(response)
}

fn separator(server: &Server) -> &'static str {
    let at = usize::try_from(server.context.rng.below(SEPARATORS.len() as u64)).unwrap_or_default();
    SEPARATORS.get(at).copied().unwrap_or(": ")
}

fn flags_text(flags: &BTreeMap<&str, String>, separator: &str) -> String {
    let mut text = format!("\n{COMPONENT} flagz\n{WARNING}\n");
    for (name, value) in flags {
        text.push_str(&format!("{name}{separator}{value}\n"));
    }
    text
}

/// What `/statusz` tells.
struct Facts {
    started: Timestamp,
    now: Timestamp,
    paths: Vec<String>,
}

impl Facts {
    fn uptime(&self) -> i64 {
        (self.now.as_second() - self.started.as_second()).max(0)
    }

    fn binary_version() -> &'static str {
        GIT_VERSION.trim_start_matches('v').split(['+', '-']).next().unwrap_or_default()
    }

    fn emulation_version() -> &'static str {
        Self::binary_version().rsplit_once('.').map_or("", |(minor, _)| minor)
    }

    fn go_version() -> &'static str {
        concat!("rust", env!("CARGO_PKG_RUST_VERSION"))
    }

    fn text(&self, separator: &str) -> String {
        let up = self.uptime();
        format!(
            "\n{COMPONENT} statusz\n{WARNING}\n\nStarted{separator} {}\nUp{separator} {} hr {:02} min {:02} sec\n\
             Go version{separator} {}\nBinary version{separator} {}\nEmulation version{separator} {}\n\
             Paths{separator} {}\n",
            self.started.strftime("%a %b %e %H:%M:%S UTC %Y"),
            up / 3600,
            up / 60 % 60,
            up % 60,
            Self::go_version(),
            Self::binary_version(),
            Self::emulation_version(),
            self.paths.join(" "),
        )
    }

    fn object(&self) -> Value {
        json!({
            "startTime": api::time::format(self.started),
            "uptimeSeconds": self.uptime(),
            "goVersion": Self::go_version(),
            "binaryVersion": Self::binary_version(),
            "emulationVersion": Self::emulation_version(),
            "paths": self.paths,
        })
    }
}

/// The first parts of paths, each once, those excepted that are for programs.
fn folders(paths: &[String]) -> Vec<String> {
    let first =
        |path: &String| path.split('/').nth(1).filter(|part| !part.is_empty()).map(|part| format!("/{part}"));
    let folders: BTreeSet<String> = paths.iter().filter_map(first).collect();
    folders.into_iter().filter(|folder| !NO_PAGES.contains(&folder.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_laid_out_as_upstreams() {
        let flags =
            BTreeMap::from([("anonymous-auth", "true".to_owned()), ("request-timeout", "1m0s".to_owned())]);
        assert_eq!(
            flags_text(&flags, "="),
            format!("\nkube-apiserver flagz\n{WARNING}\nanonymous-auth=true\nrequest-timeout=1m0s\n")
        );
        let paths = ["/", "/api", "/apis/apps", "/healthz/ping", "/healthz", "/version"].map(str::to_owned);
        let facts = Facts {
            started: Timestamp::from_second(1_000_000_000).unwrap(),
            now: Timestamp::from_second(1_000_003_723).unwrap(),
            paths: folders(&paths),
        };
        let lines = facts.text(": ");
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[..3], ["", "kube-apiserver statusz", WARNING]);
        assert_eq!(lines[4..6], ["Started:  Sun Sep  9 01:46:40 UTC 2001", "Up:  1 hr 02 min 03 sec"]);
        assert_eq!(
            lines[7..],
            ["Binary version:  1.36.0", "Emulation version:  1.36", "Paths:  /healthz /version"]
        );
        let object = facts.object();
        assert_eq!(
            (&object["uptimeSeconds"], &object["paths"]),
            (&json!(3723), &json!(["/healthz", "/version"]))
        );
    }
}
