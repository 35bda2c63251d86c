//! What others need to check our service accounts' tokens.
//!
//! **Upstream**: `pkg/serviceaccount/openidmetadata.go`.

use crate::body::Response;
use crate::respond;
use crate::server::Server;
use api::status::Status;
use http::{HeaderValue, header};
use serde_json::json;

/// Upstream's maximal age of both documents.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// The media type of keys.
pub(crate) const KEYS: &str = "application/jwk-set+json";

/// `/openid/v1/jwks`
pub(crate) fn keys(server: &Server) -> Result<Response, Status> {
    let keys = serde_json::to_vec(server.authenticator.tokens().keys())
        .map_err(|_| Status::internal("the keys cannot be encoded"))?;
    let mut response = respond::bytes(200, KEYS, keys);
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE);
    Ok(response)
}

/// `/.well-known/openid-configuration`
pub(crate) fn configuration(server: &Server) -> Response {
    let at = format!(
        "https://{}/openid/v1/jwks",
        std::net::SocketAddr::new(server.config.advertise_address, server.config.advertise_port)
    );
    let mut response = respond::json(
        200,
        &json!({
            "issuer": server.authenticator.tokens().issuer(),
            "jwks_uri": at,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }),
    );
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE);
    response
}
