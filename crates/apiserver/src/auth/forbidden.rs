//! The refusal, in upstream's words.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go`.

use super::Action;
use api::status::{Details, Status};

/// 403 about an action: `pods is forbidden: User "u" cannot list resource "pods" in API group "" at the cluster scope`.
pub fn forbidden(action: &Action<'_>, reason: &str) -> Status {
    let mut message = prefix(action);
    message.push_str(&why(action));
    if !reason.is_empty() {
        message.push_str(": ");
        message.push_str(reason);
    }
    let mut status = Status::new(403, "Forbidden", message);
    let (group, kind) = if action.is_resource { (action.group, action.resource) } else { ("", "") };
    status.details = Some(Box::new(Details {
        name: action.name.to_owned(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        ..Details::default()
    }));
    status
}

fn prefix(action: &Action<'_>) -> String {
    if !action.is_resource {
        return "forbidden: ".to_owned();
    }
    let qualified = if action.group.is_empty() {
        action.resource.to_owned()
    } else {
        format!("{}.{}", action.resource, action.group)
    };
    match action.name {
        "" => format!("{qualified} is forbidden: "),
        name => format!("{qualified} {name:?} is forbidden: "),
    }
}

fn why(action: &Action<'_>) -> String {
    let (user, verb) = (&action.user.name, action.verb);
    if !action.is_resource {
        return format!("User {user:?} cannot {verb} path {:?}", action.path);
    }
    let resource = match action.subresource {
        "" => action.resource.to_owned(),
        subresource => format!("{}/{subresource}", action.resource),
    };
    let what = format!("User {user:?} cannot {verb} resource {resource:?} in API group {:?}", action.group);
    match action.namespace {
        "" => format!("{what} at the cluster scope"),
        namespace => format!("{what} in the namespace {namespace:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::UserInfo;

    #[test]
    fn speaks_upstreams_words() {
        let user = UserInfo { name: "u".into(), ..UserInfo::default() };
        for (action, message) in [
            (
                Action { namespace: "n", ..Action::on(&user, "list", "", "pods") },
                r#"pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "n""#,
            ),
            (
                Action { name: "d", subresource: "scale", ..Action::on(&user, "get", "apps", "deployments") },
                r#"deployments.apps "d" is forbidden: User "u" cannot get resource "deployments/scale" in API group "apps" at the cluster scope"#,
            ),
            (Action::path(&user, "get", "/x"), r#"forbidden: User "u" cannot get path "/x""#),
        ] {
            assert_eq!(forbidden(&action, "").message, message);
        }
        assert!(
            forbidden(&Action::path(&user, "get", "/x"), "RBAC: no").message.ends_with("\"/x\": RBAC: no")
        );
    }
}
