//! Acting as somebody else: `Impersonate-User`, `-Group`, `-Uid`, `-Extra-*`.
//!
//! **Contract**: every part of the other identity needs the verb `impersonate` on it.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use super::{
    ANONYMOUS, Action, Authorizer, GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, UserInfo, forbidden, token,
};
use api::status::Status;
use http::HeaderMap;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Who the request is to be treated as: `user`, or whom it impersonates. Takes the headers out.
pub async fn apply(
    user: Arc<UserInfo>,
    headers: &mut HeaderMap,
    authorizer: &dyn Authorizer,
) -> Result<Arc<UserInfo>, Status> {
    let Some(other) = requested(headers)? else { return Ok(user) };
    check(&user, &other, authorizer).await?;
    headers.remove(USER);
    headers.remove(GROUP);
    headers.remove(UID);
    let extras: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(EXTRA)).cloned().collect();
    for name in extras {
        headers.remove(name);
    }
    Ok(completed(other).into())
}

fn requested(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut other = UserInfo { name: text(USER), uid: text(UID), ..UserInfo::default() };
    let groups = headers.get_all(GROUP).iter().filter_map(|v| v.to_str().ok());
    other.groups = groups.map(str::to_owned).collect();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            let key = key.replace("%2f", "/").replace("%2F", "/");
            other.extra.entry(key).or_default().push(value.to_owned());
        }
    }
    if !other.name.is_empty() {
        return Ok(Some(other));
    }
    if other.groups.is_empty() && other.uid.is_empty() && other.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::internal("requested impersonation of groups, uid or extras without impersonating a user"))
}

async fn check(user: &UserInfo, other: &UserInfo, authorizer: &dyn Authorizer) -> Result<(), Status> {
    let on = |group, resource| Action::on(user, "impersonate", group, resource);
    let mut actions = vec![match token::split_user_name(&other.name) {
        Some((namespace, name)) => Action { namespace, name, ..on("", "serviceaccounts") },
        None => Action { name: &other.name, ..on("", "users") },
    }];
    actions.extend(other.groups.iter().map(|name| Action { name, ..on("", "groups") }));
    if !other.uid.is_empty() {
        actions.push(Action { name: &other.uid, ..on(AUTHENTICATION, "uids") });
    }
    for (key, values) in &other.extra {
        let extra = |name| Action { name, subresource: key, ..on(AUTHENTICATION, "userextras") };
        actions.extend(values.iter().map(|name| extra(name)));
    }
    for action in &actions {
        let decision = authorizer.decide(action).await;
        if !decision.allowed {
            return Err(forbidden(action, &decision.reason));
        }
    }
    Ok(())
}

/// Adds the groups that the identity has by its nature.
fn completed(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, _)) = token::split_user_name(&user.name)
    {
        user.groups.extend(token::groups(namespace));
    }
    if user.name == ANONYMOUS {
        if !user.is_in(GROUP_UNAUTHENTICATED) {
            user.groups.push(GROUP_UNAUTHENTICATED.to_owned());
        }
    } else if !user.is_in(GROUP_AUTHENTICATED) && !user.is_in(GROUP_UNAUTHENTICATED) {
        user.groups.push(GROUP_AUTHENTICATED.to_owned());
    }
    user
}
