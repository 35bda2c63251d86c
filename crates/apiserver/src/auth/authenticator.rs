//! Finds out who sends a request: by what a trusted proxy says, by the connection's identity, else by a bearer token.
//!
//! **Contract**: the first method that knows the sender wins; a credential that nobody accepts is an error, none at
//! all is nobody ([`UserInfo::anonymous`], if that is allowed). Tokens are never logged.
//! **Upstream**: `pkg/kubeapiserver/authenticator`.

use super::configuration::Authentication;
use super::objects::Objects;
use super::{UserInfo, bootstrap_token, legacy_token, token::Tokens};
use crate::serve::Peer;
use api::status::Status;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use component_base::Clock;
use component_base::logging::Chain;
use http::{HeaderMap, header};
use std::sync::Arc;

/// How a token comes over a WebSocket, whose headers a browser does not let one choose.
const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// Finds out who sends a request.
pub struct Authenticator {
    tokens: Arc<Tokens>,
    objects: Arc<dyn Objects>,
    clock: Clock,
    configuration: Authentication,
}

/// Who presents a token, and for which of the audiences.
pub(super) type Identified = (UserInfo, Vec<String>);

impl Authenticator {
    /// An authenticator that accepts these tokens, what is stored, and what is configured.
    pub(crate) fn new(
        tokens: Arc<Tokens>,
        objects: Arc<dyn Objects>,
        clock: Clock,
        configuration: Authentication,
    ) -> Self {
        Self { tokens, objects, clock, configuration }
    }

    /// The tokens of this cluster.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who sends a request for this path with these headers over a connection with this peer. Takes out of the headers
    /// what only a proxy may say, and adds to the warnings of the response.
    pub(crate) async fn authenticate(
        &self,
        peer: &Peer,
        headers: &mut HeaderMap,
        path: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Arc<UserInfo>, Status> {
        if let Some(user) = self.configuration.request_header.take(headers, peer.is_proxy) {
            return Ok(user.into());
        }
        if let Some(user) = &peer.identity {
            return Ok(Arc::clone(user));
        }
        let Some(token) = bearer(headers) else {
            let open = !peer.is_stranger && self.configuration.anonymous.allows(path);
            return if open { Ok(UserInfo::anonymous().into()) } else { Err(Status::unauthorized()) };
        };
        let audience = [self.tokens.issuer().to_owned()];
        match self.identify(&token, &audience, warnings).await {
            Ok(Some((user, _))) => Ok(user.into()),
            Ok(None) => Err(Status::unauthorized()),
            Err(why) => {
                tracing::debug!(why, "token refused");
                Err(Status::unauthorized())
            }
        }
    }

    /// Who presents this token to one of these audiences, and which of them it is for. `None`: nobody knows; an error is
    /// why somebody who should know refuses it.
    pub async fn identify(
        &self,
        token: &str,
        audiences: &[String],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Identified>, String> {
        let now = self.clock.now();
        let for_us = audiences.iter().any(|audience| audience == self.tokens.issuer());
        let ours = || vec![self.tokens.issuer().to_owned()];
        if for_us && let Some(user) = self.configuration.static_tokens.identity(token) {
            return Ok(Some((user, ours())));
        }
        if self.tokens.is_legacy(token) {
            // It says no audience: it is for this server.
            if !for_us {
                return Err("token is for another audience".to_owned());
            }
            let (tokens, objects) = (&self.tokens, &*self.objects);
            let found = legacy_token::identify(tokens, objects, &self.clock, token, warnings).await;
            return found.map(|user| Some((user, ours()))).map_err(|error| Chain(&error).to_string());
        }
        if self.tokens.is_ours(token) {
            let found = self.tokens.verify(token, audiences, now, &*self.objects);
            return found.map(Some).map_err(|error| Chain(&error).to_string());
        }
        if for_us && let Some(user) = bootstrap_token::identity(token, now, &*self.objects) {
            return Ok(Some((user, ours())));
        }
        let mut refusals = Vec::new();
        if for_us {
            for issuer in self.configuration.issuers.current().iter() {
                match issuer.identity(token, now).await {
                    Ok(None) => {}
                    Ok(Some(user)) => return Ok(Some((user, ours()))),
                    Err(error) => refusals.push(error),
                }
            }
        }
        if let Some(webhook) = &self.configuration.webhook {
            match webhook.identity(token, audiences, self.tokens.issuer(), self.clock.instant()).await {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => refusals.push(error),
            }
        }
        if refusals.is_empty() { Ok(None) } else { Err(refusals.join(", ")) }
    }
}

/// The token of a request.
fn bearer(headers: &mut HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?.to_owned();
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        offered.split(',').map(str::trim).partition(|protocol| protocol.starts_with(WEBSOCKET_TOKEN));
    let [token] = tokens.as_slice() else { return None };
    let token = URL_SAFE_NO_PAD.decode(token.strip_prefix(WEBSOCKET_TOKEN)?).ok()?;
    // Nobody may choose it as the protocol.
    let rest = http::HeaderValue::from_str(&others.join(", ")).ok()?;
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
    String::from_utf8(token).ok().filter(|token| !token.is_empty())
}
