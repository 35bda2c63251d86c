//! The node's own logs: files and folders of `/var/log`.
//!
//! **Contract**: nothing outside the folder is shown, whatever the path or a link says. A folder is a page with a link
//! for each entry, a file its bytes.
//! **Upstream**: `getLogs` of `pkg/kubelet/server`, Go's `http.FileServer`.

use super::request::segments;
use super::{Answer, Refusal, body, with_type};
use futures::TryStreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::io;
use std::path::Path;
use tokio_util::io::ReaderStream;

/// Where logs of a node are.
pub(super) const DIRECTORY: &str = "/var/log";

/// `path` begins with `/logs`.
pub(super) async fn get(directory: &str, path: &str) -> Answer {
    let not_found = |_| Refusal::not_found("404 page not found");
    let below = segments(path).into_iter().skip(1);
    let wanted =
        below.fold(Path::new(directory).to_owned(), |folder, name| folder.join(name.trim_start_matches('/')));
    // Without links and dots.
    let root = tokio::fs::canonicalize(directory).await.map_err(not_found)?;
    let found = tokio::fs::canonicalize(&wanted).await.map_err(not_found)?;
    if !found.starts_with(&root) {
        return Err(Refusal::not_found("404 page not found"));
    }
    let kind = tokio::fs::metadata(&found).await.map_err(not_found)?;
    if kind.is_dir() {
        if !path.ends_with('/') {
            return Ok(redirect(path));
        }
        return Ok(with_type(body(page(&found).await.map_err(refused)?), "text/html; charset=utf-8"));
    }
    if !kind.is_file() {
        return Err(Refusal::not_found("404 page not found"));
    }
    let file = tokio::fs::File::open(&found).await.map_err(refused)?;
    let failed =
        |error: io::Error| runtime::Error::Other { operation: "read a log", message: error.to_string() };
    let frames = ReaderStream::new(file).map_ok(Frame::data).map_err(failed);
    Ok(with_type(StreamBody::new(frames).boxed_unsync(), "text/plain; charset=utf-8"))
}

fn refused(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Refusal::new(StatusCode::FORBIDDEN, "403 Forbidden"),
        io::ErrorKind::NotFound => Refusal::not_found("404 page not found"),
        _ => Refusal::internal("500 Internal Server Error"),
    }
}

/// To the same folder with a slash, for which the page's links are made.
fn redirect(path: &str) -> Response<super::Body> {
    let last = path.rsplit('/').next().unwrap_or_default();
    let mut response = Response::new(body(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{last}/")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

async fn page(folder: &Path) -> io::Result<String> {
    let mut entries = tokio::fs::read_dir(folder).await?;
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let slash = if entry.file_type().await.is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let links = names.iter().map(|name| format!("<a href=\"{}\">{}</a>\n", link(name), escape(name)));
    Ok(format!(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{}</pre>\n",
        links.collect::<String>()
    ))
}

/// A name as a relative link.
fn link(name: &str) -> String {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
    name.bytes()
        .map(|byte| if safe(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn escape(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(directory: &Path, path: &str) -> (u16, String) {
        match get(directory.to_str().expect("a path"), path).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let bytes = response.into_body().collect().await.expect("a body").to_bytes();
                (status, String::from_utf8_lossy(&bytes).into_owned())
            }
            Err(refusal) => (refusal.status.as_u16(), refusal.message),
        }
    }

    #[tokio::test]
    async fn shows_nothing_outside() {
        let all = tempfile::tempdir().expect("a folder");
        let logs = all.path().join("logs");
        std::fs::create_dir_all(logs.join("pods")).expect("a folder");
        std::fs::write(logs.join("sys&log"), "line\n").expect("a file");
        std::fs::write(all.path().join("secret"), "secret").expect("a file");
        std::os::unix::fs::symlink("../secret", logs.join("link")).expect("a link");
        assert_eq!(answer(&logs, "/logs/sys&log").await, (200, "line\n".to_owned()));
        let (code, page) = answer(&logs, "/logs/").await;
        assert_eq!(code, 200);
        assert!(page.contains("<a href=\"pods/\">pods/</a>\n"), "{page}");
        assert!(page.contains("<a href=\"sys%26log\">sys&amp;log</a>\n"), "{page}");
        assert_eq!(answer(&logs, "/logs/pods").await.0, 301);
        for path in [
            "/logs/../secret",
            "/logs/%2e%2e/secret",
            "/logs/..%2fsecret",
            "/logs/link",
            "/logs/%2fetc/passwd",
            "/logs/none",
        ] {
            assert_eq!(answer(&logs, path).await.0, 404, "{path}");
        }
    }
}
