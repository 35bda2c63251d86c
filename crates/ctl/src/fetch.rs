//! Texts from the network: `-f https://…`.
//!
//! **Contract.** Three attempts where the server is at fault, ten redirections, the system's certificates.
//! **Upstream.** `cli-runtime/pkg/resource/visitor.go` (attempts and words).

use http::{Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use kube::client::Body;

use crate::client_config::error_chain;
use crate::report::{Error, message};

/// Attempts at one URL. **Upstream**: `httpGetAttempts`.
const ATTEMPTS: usize = 3;
/// Redirections that are followed, as Go's client does.
const REDIRECTIONS: usize = 10;

/// Whether an argument is a URL, and not a file.
pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The text at a URL.
pub(crate) async fn text(url: &str) -> Result<String, Error> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let (status, bytes) = follow(url).await?;
        if status == StatusCode::OK {
            return String::from_utf8(bytes)
                .map_err(|_| message(format!("error parsing {url}: it is not UTF-8")));
        }
        last = Some(status);
        if !status.is_server_error() {
            break;
        }
    }
    let status = last.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    Err(message(format!(
        "unable to read URL {url:?}, server reported {}, status code={}",
        format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("")).trim(),
        status.as_u16()
    )))
}

async fn follow(url: &str) -> Result<(StatusCode, Vec<u8>), Error> {
    let mut uri: Uri =
        url.parse().map_err(|_| message(format!("the URL passed to filename {url:?} is not valid")))?;
    for _ in 0..REDIRECTIONS {
        let (status, location, bytes) = get(&uri).await.map_err(|error| match error {
            Error::Message(text) => message(format!("Get {:?}: {text}", uri.to_string())),
            other => other,
        })?;
        match location.filter(|_| status.is_redirection()) {
            Some(location) => uri = against(&uri, &location)?,
            None => return Ok((status, bytes)),
        }
    }
    Err(message(format!("Get {url:?}: stopped after {REDIRECTIONS} redirects")))
}

async fn get(uri: &Uri) -> Result<(StatusCode, Option<String>, Vec<u8>), Error> {
    let origin = format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("http"),
        uri.authority().map_or("", |part| part.as_str())
    );
    let origin: Uri = origin.parse().map_err(|_| message("the URL names no host"))?;
    let client =
        kube::Client::try_from(kube::Config::new(origin)).map_err(|error| message(error_chain(&error)))?;
    let path = uri.path_and_query().map_or("/", |part| part.as_str());
    let request = Request::get(path)
        .header(header::USER_AGENT, "kctl")
        .body(Body::empty())
        .map_err(|error| message(error.to_string()))?;
    let response = client.send(request).await.map_err(|error| message(error_chain(&error)))?;
    let location =
        response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let status = response.status();
    let bytes =
        response.into_body().collect().await.map_err(|error| message(error_chain(&error)))?.to_bytes();
    Ok((status, location, bytes.to_vec()))
}

/// Where a redirection leads.
fn against(from: &Uri, location: &str) -> Result<Uri, Error> {
    let whole = if is_url(location) {
        location.to_owned()
    } else {
        let authority = from.authority().map_or("", |part| part.as_str());
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        let path =
            if location.starts_with('/') { location.to_owned() } else { format!("{folder}/{location}") };
        format!("{}://{authority}{path}", from.scheme_str().unwrap_or("http"))
    };
    whole.parse().map_err(|_| message(format!("a redirection to {location:?} leads nowhere")))
}
