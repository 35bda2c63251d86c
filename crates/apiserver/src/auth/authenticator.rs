//! Finds out who sends a request: by the connection's identity, else by a bearer token.
//!
//! **Contract**: the first method that knows the sender wins; a credential that nobody accepts is an error, none at
//! all is nobody ([`UserInfo::anonymous`]). Tokens are never logged.
//! **Upstream**: `pkg/kubeapiserver/authenticator`.

use super::{UserInfo, bootstrap_token, token::Tokens};
use crate::admission::Lookup;
use api::status::Status;
use component_base::Clock;
use http::{HeaderMap, header};
use std::sync::Arc;

/// Finds out who sends a request.
pub struct Authenticator {
    tokens: Arc<Tokens>,
    lookup: Arc<dyn Lookup>,
    clock: Clock,
}

impl Authenticator {
    /// An authenticator that accepts these tokens and what is stored.
    pub fn new(tokens: Arc<Tokens>, lookup: Arc<dyn Lookup>, clock: Clock) -> Self {
        Self { tokens, lookup, clock }
    }

    /// The tokens of this cluster.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who sends a request with these headers over a connection with this identity.
    pub fn authenticate(
        &self,
        connection: Option<&UserInfo>,
        headers: &HeaderMap,
    ) -> Result<UserInfo, Status> {
        if let Some(user) = connection {
            return Ok(user.clone());
        }
        let Some(token) = bearer(headers) else { return Ok(UserInfo::anonymous()) };
        let audience = [self.tokens.issuer().to_owned()];
        match self.identify(token, &audience) {
            Some((user, _)) => Ok(user),
            None => Err(Status::unauthorized()),
        }
    }

    /// Who presents this token to one of these audiences, and which of them it is for.
    pub fn identify(&self, token: &str, audiences: &[String]) -> Option<(UserInfo, Vec<String>)> {
        let now = self.clock.now();
        if self.tokens.is_ours(token) {
            return match self.tokens.verify(token, audiences, now, &*self.lookup) {
                Ok(found) => Some(found),
                Err(error) => {
                    tracing::debug!(error = %component_base::logging::Chain(&error), "token refused");
                    None
                }
            };
        }
        if !audiences.iter().any(|audience| audience == self.tokens.issuer()) {
            return None;
        }
        let user = bootstrap_token::identity(token, now, &*self.lookup)?;
        Some((user, vec![self.tokens.issuer().to_owned()]))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
