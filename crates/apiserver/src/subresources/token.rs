//! `serviceaccounts/token`: a token for a service account, for a time, perhaps bound to a pod, node or secret.
//!
//! **Not here**: signing and checking (`auth::token`).
//! **Upstream**: `pkg/registry/core/serviceaccount/storage/token.go`.

use super::{Facts, Subresource, admit};
use crate::admission::{Lookup, Operation};
use crate::audit::annotate;
use crate::auth::UserInfo;
use crate::auth::token::{Claims, Private, Reference, user_name};
use crate::body::{Request, Response};
use crate::decode::{self, strings, text};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::{negotiate, respond};
use api::field::{Error as FieldError, Path};
use api::kind::{GroupVersionKind, Resource, Scope};
use api::status::Status;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const GROUP: &str = "authentication.k8s.io";
/// Upstream's default, in seconds.
const DEFAULT_SECONDS: i64 = 60 * 60;
const MIN_SECONDS: i64 = 10 * 60;
const MAX_SECONDS: i64 = 1 << 32;
/// The lifetime that mounted tokens ask for; they get more, for clients that read them once only. **Upstream**:
/// `WarnOnlyBoundTokenExpirationPeriod`, `ExpirationExtensionSeconds`.
const EXTENDED_SECONDS: i64 = 60 * 60 + 7;
const EXTENSION_SECONDS: i64 = 24 * 365 * 60 * 60;

/// The subresource.
pub(super) struct Token;

#[async_trait]
impl Subresource for Token {
    fn facts(&self) -> Facts {
        Facts {
            group: "",
            version: "v1",
            plural: "serviceaccounts",
            name: "token",
            namespaced: true,
            kind: GroupVersionKind::new(GROUP, "v1", "TokenRequest"),
            verbs: &["create"],
        }
    }

    async fn handle(
        &self,
        server: &Arc<Server>,
        info: &RequestInfo,
        user: &UserInfo,
        request: Request,
    ) -> Result<Response, Status> {
        let form = negotiate::routed(request.headers(), info.query.optional_flag("pretty"))?;
        let mut review = decode::object_of(request, "authentication.k8s.io/v1", "TokenRequest").await?;
        let dry_run = super::dry_run(info)?;
        admit(server, info, user, Operation::Create, dry_run, &mut review).await?;
        let store = super::store(server, "", "serviceaccounts")?;
        let account = store.get(&info.namespace, &info.name).await?.to_value();
        let options = &server.config.options;
        let mut seconds = lifetime(&info.name, &review)?;
        let longest = i64::try_from(options.max_token_expiration.as_secs()).unwrap_or(i64::MAX);
        if longest > 0 {
            seconds = seconds.min(longest);
        }
        let mut audiences = strings(&review["spec"]["audiences"]);
        if audiences.is_empty() {
            audiences.push(server.authenticator.tokens().issuer().to_owned());
        }
        let mut private = Private {
            namespace: info.namespace.clone(),
            serviceaccount: reference(&account),
            ..Private::default()
        };
        bind(&*server.registry, &info.name, &review["spec"]["boundObjectRef"], &mut private)?;

        let now = server.context.clock.now();
        let mut lives = seconds;
        let ours = audiences.iter().all(|audience| audience == server.authenticator.tokens().issuer());
        if options.extend_tokens && private.pod.is_some() && seconds == EXTENDED_SECONDS && ours {
            private.warnafter = Some(now.as_second() + seconds);
            lives = EXTENSION_SECONDS;
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: now.as_second() + lives,
            iat: now.as_second(),
            nbf: now.as_second(),
            jti: server.context.rng.uuid(),
            sub: user_name(&info.namespace, &info.name),
            kubernetes: private,
            ..Claims::default()
        };
        annotate("authentication.kubernetes.io/issued-credential-id", format!("JTI={}", claims.jti));
        let end = Timestamp::from_second(now.as_second() + seconds)
            .map_err(|_| Status::internal("no such time"))?;
        let token = server.authenticator.tokens().sign(claims).map_err(|error| {
            tracing::error!(error = %component_base::logging::Chain(&error), "cannot sign a token");
            Status::internal("failed to sign the token")
        })?;
        review["metadata"] = json!({
            "name": info.name, "namespace": info.namespace, "creationTimestamp": api::time::format(now),
        });
        review["spec"]["audiences"] = json!(audiences);
        review["spec"]["expirationSeconds"] = json!(seconds);
        if review["spec"].get("boundObjectRef").is_none() {
            review["spec"]["boundObjectRef"] = Value::Null;
        }
        review["status"] = json!({ "token": token, "expirationTimestamp": api::time::format(end) });
        Ok(respond::object(201, &review, form))
    }
}

fn resource(kind: &'static str, plural: &'static str) -> Resource {
    Resource::new("", "v1", kind, plural, "", Scope::Namespaced)
}

fn reference(object: &Value) -> Reference {
    let metadata = &object["metadata"];
    Reference { name: text(&metadata["name"]).to_owned(), uid: text(&metadata["uid"]).to_owned() }
}

fn lifetime(name: &str, review: &Value) -> Result<i64, Status> {
    let seconds = review["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let path = Path::new("spec").child("expirationSeconds");
    let why = match seconds {
        ..MIN_SECONDS => "may not specify a duration less than 10 minutes",
        MIN_SECONDS..=MAX_SECONDS => return Ok(seconds),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    Err(Status::invalid(GROUP, "TokenRequest", name, &vec![FieldError::invalid(&path, seconds, why)]))
}

/// Ties the token to the object that the request names.
fn bind(lookup: &dyn Lookup, account: &str, bound: &Value, private: &mut Private) -> Result<(), Status> {
    if bound.is_null() {
        return Ok(());
    }
    let (name, kind, version) = (text(&bound["name"]), text(&bound["kind"]), text(&bound["apiVersion"]));
    let (plural, namespace, kind_name) = match (version, kind) {
        ("v1", "Pod") => ("pods", private.namespace.as_str(), "Pod"),
        ("v1", "Secret") => ("secrets", private.namespace.as_str(), "Secret"),
        ("v1", "Node") => ("nodes", "", "Node"),
        _ => {
            let why = format!("cannot bind token to object of type {version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    let resource = resource(kind_name, plural);
    let object = lookup.get("", plural, namespace, name).ok_or_else(|| Status::not_found(&resource, name))?;
    let found = reference(&object);
    let uid = text(&bound["uid"]);
    if !uid.is_empty() && uid != found.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&resource, name, &why));
    }
    match kind_name {
        "Pod" => {
            if object["spec"]["serviceAccountName"] != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = text(&object["spec"]["nodeName"]);
            private.node = (!node.is_empty()).then(|| {
                let uid = lookup.get("", "nodes", "", node).map(|node| reference(&node).uid);
                Reference { name: node.to_owned(), uid: uid.unwrap_or_default() }
            });
            private.pod = Some(found);
        }
        "Secret" => private.secret = Some(found),
        _ => private.node = Some(found),
    }
    Ok(())
}
