//! Acting as somebody else: `Impersonate-User`, `-Group`, `-Uid`, `-Extra-*`.
//!
//! **Contract**: there are several modes, the narrow ones first; one that lets the request through is enough. In a constrained
//! mode the requestor needs `impersonate:<mode>` on every part of the other identity and `impersonate-on:<mode>:<verb>` on
//! what the request is about; in the last one, which is as old as Kubernetes, `impersonate` on every part.
//! **Upstream**: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use super::{
    ANONYMOUS, Action, Authorizer, GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_UNAUTHENTICATED, UserInfo,
    forbidden, token,
};
use crate::request::percent_decode;
use api::field::{Path, aggregate};
use api::names;
use api::status::Status;
use http::HeaderMap;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE: &str = "system:node:";
const GROUP_NODES: &str = "system:nodes";
/// Where a service account's token says on which node its pod runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// What the authorizer is told of a requestor that stands for all of its copies.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From so many parts on the right to all of them is asked for first. **Upstream**: `manyAuthorizationChecksInLoop`.
const MANY: usize = 4;
/// Users whose last mode is remembered. **Upstream**: `newModeIndexCache`.
const REMEMBERED: usize = 10_000;

/// How somebody may act as somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account, as the node that its pod runs on.
    AssociatedNode,
    /// As any node.
    ArbitraryNode,
    /// As a service account.
    ServiceAccount,
    /// As anybody else.
    UserInfo,
    /// As anybody, for whatever request.
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// Who a request is treated as.
#[derive(Debug)]
pub(crate) struct Impersonated {
    pub(crate) user: Arc<UserInfo>,
    /// The verb of the constrained mode that allowed it; empty for the old one.
    pub(crate) constraint: &'static str,
}

/// Lets users act as others.
#[derive(Debug, Default)]
pub(crate) struct Impersonation {
    /// The mode that helped a user last, which is tried first: what is refused then is refused in its words.
    last: Mutex<HashMap<String, Mode>>,
}

impl Impersonation {
    /// Whom the sender of a request impersonates, if anybody. Takes the headers out.
    pub(crate) async fn apply(
        &self,
        action: &Action<'_>,
        headers: &mut HeaderMap,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<Impersonated>, Status> {
        let Some(other) = requested(headers)? else { return Ok(None) };
        headers.remove(USER);
        headers.remove(GROUP);
        headers.remove(UID);
        let extras: Vec<_> =
            headers.keys().filter(|name| name.as_str().starts_with(EXTRA)).cloned().collect();
        for name in extras {
            headers.remove(name);
        }
        let name = &action.user.name;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        let others = MODES.into_iter().filter(|mode| Some(*mode) != last);
        let mut refusal = None;
        for mode in last.into_iter().chain(others).filter(|mode| mode.fits(&other, action.user)) {
            match mode.check(&other, action, authorizer).await {
                Ok(()) => {
                    self.remember(name, mode);
                    let user = mode.completed(other).into();
                    return Ok(Some(Impersonated { user, constraint: mode.constraint() }));
                }
                Err(status) => {
                    refusal.get_or_insert(status);
                }
            }
        }
        Err(refusal.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
    }

    fn remember(&self, name: &str, mode: Mode) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(name) == Some(&mode) {
            return;
        }
        if last.len() >= REMEMBERED {
            last.clear();
        }
        last.insert(name.to_owned(), mode);
    }
}

fn requested(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let mut other = UserInfo { name: text(USER), uid: text(UID), ..UserInfo::default() };
    let groups = headers.get_all(GROUP).iter().filter_map(|v| v.to_str().ok());
    other.groups = groups.map(str::to_owned).collect();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            other.extra.entry(percent_decode(key)).or_default().push(value.to_owned());
        }
    }
    if !other.name.is_empty() {
        return Ok(Some(other));
    }
    if other.groups.is_empty() && other.uid.is_empty() && other.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::bad_request(format!("requested {} without impersonating a user name", printed(&other))))
}

/// A user as upstream prints one.
fn printed(user: &UserInfo) -> String {
    let strings = |list: &[String]| match list {
        [] => "[]string(nil)".to_owned(),
        list => format!(
            "[]string{{{}}}",
            list.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ")
        ),
    };
    let extra = match user.extra.is_empty() {
        true => "(nil)".to_owned(),
        false => {
            let entries = user.extra.iter().map(|(key, values)| format!("{key:?}:{}", strings(values)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    };
    format!(
        "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{}, Extra:map[string][]string{extra}}}",
        user.name,
        user.uid,
        strings(&user.groups)
    )
}

/// The node whose name a user has.
fn node(user: &str) -> Option<&str> {
    user.strip_prefix(NODE).filter(|name| names::dns_subdomain(name, false).is_empty())
}

/// Whether a service account's pod runs on this node.
pub(crate) fn is_on(requestor: &UserInfo, node: &str) -> bool {
    token::split_user_name(&requestor.name).is_some()
        && matches!(requestor.extra.get(NODE_NAME).map(Vec::as_slice), Some([name]) if name == node)
}

/// What is asked in turn; the first that is refused ends it.
enum Question<'a> {
    /// Whether this is allowed.
    One(Action<'a>),
    /// Whether all of it is, at once or one by one.
    All(Action<'a>, Vec<Action<'a>>),
    /// Nothing: it is refused for this reason, in any case.
    Refused(Action<'a>, String),
}

impl Mode {
    /// The verb on what the other user consists of.
    fn verb(self) -> &'static str {
        match self {
            Self::AssociatedNode => "impersonate:associated-node",
            Self::ArbitraryNode => "impersonate:arbitrary-node",
            Self::ServiceAccount => "impersonate:serviceaccount",
            Self::UserInfo => "impersonate:user-info",
            Self::Legacy => "impersonate",
        }
    }

    fn is_constrained(self) -> bool {
        self != Self::Legacy
    }

    fn constraint(self) -> &'static str {
        if self.is_constrained() { self.verb() } else { "" }
    }

    /// Whether this is a way to act as such a user at all.
    fn fits(self, other: &UserInfo, requestor: &UserInfo) -> bool {
        let name_only = other.uid.is_empty() && other.groups.is_empty() && other.extra.is_empty();
        let (node, account) = (node(&other.name), token::split_user_name(&other.name));
        match self {
            Self::AssociatedNode => name_only && node.is_some_and(|node| is_on(requestor, node)),
            Self::ArbitraryNode => name_only && node.is_some(),
            Self::ServiceAccount => name_only && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    async fn check(
        self,
        other: &UserInfo,
        action: &Action<'_>,
        authorizer: &dyn Authorizer,
    ) -> Result<(), Status> {
        // The node is known to be the requestor's; what differs from one of its copies to the next says no more.
        let anonymised = (self == Self::AssociatedNode).then(|| UserInfo {
            extra: BTreeMap::from([(NODE_KEYS.to_owned(), action.user.extra.keys().cloned().collect())]),
            ..action.user.clone()
        });
        let user = anonymised.as_ref().unwrap_or(action.user);
        if let Some(mode) = self.constraint().strip_prefix("impersonate:") {
            let verb = format!("impersonate-on:{mode}:{}", action.verb);
            ask(&Action { user, verb: &verb, ..*action }, authorizer).await?;
        }
        for question in self.questions(other, user) {
            match question {
                Question::One(action) => ask(&action, authorizer).await?,
                Question::All(all, each) => {
                    if authorizer.decide(&all).await.allowed {
                        continue;
                    }
                    for action in each {
                        ask(&action, authorizer).await?;
                    }
                }
                Question::Refused(action, why) => return Err(forbidden(&action, &why)),
            }
        }
        Ok(())
    }

    fn questions<'a>(self, other: &'a UserInfo, user: &'a UserInfo) -> Vec<Question<'a>> {
        let on = |group, resource| Action { version: "v1", ..Action::on(user, self.verb(), group, resource) };
        let group = if self.is_constrained() { AUTHENTICATION } else { "" };
        let node = node(&other.name).filter(|_| self.is_constrained());
        let mut questions = vec![Question::One(match (token::split_user_name(&other.name), node) {
            (Some((namespace, name)), _) => Action { namespace, name, ..on(group, "serviceaccounts") },
            (_, Some(_)) if self == Self::AssociatedNode => Action { name: "*", ..on(group, "nodes") },
            (_, Some(name)) => Action { name, ..on(group, "nodes") },
            (None, None) => Action { name: &other.name, ..on(group, "users") },
        })];
        if !other.uid.is_empty() {
            questions.push(Question::One(Action { name: &other.uid, ..on(AUTHENTICATION, "uids") }));
        }
        let groups = on(group, "groups");
        let wrong = |why: &str| format!("impersonating the {why} is not allowed");
        let each = |name: &'a String| Action { name, ..groups };
        if self.is_constrained() && other.groups.iter().any(String::is_empty) {
            questions.push(Question::Refused(groups, wrong("empty string group")));
        } else if self.is_constrained() && other.is_in(GROUP_MASTERS) {
            let action = Action { name: GROUP_MASTERS, ..groups };
            questions.push(Question::Refused(action, wrong("system:masters group")));
        } else if self.is_constrained() && other.groups.len() >= MANY {
            let all = Action { name: "*", ..groups };
            questions.push(Question::All(all, other.groups.iter().map(each).collect()));
        } else {
            questions.extend(other.groups.iter().map(each).map(Question::One));
        }
        let extras = on(AUTHENTICATION, "userextras");
        let each: Vec<Action<'_>> = other
            .extra
            .iter()
            .flat_map(|(key, values)| {
                values.iter().map(move |name| Action { name, subresource: key, ..extras })
            })
            .collect();
        if let Some(why) = invalid_extra(other).filter(|_| self.is_constrained()) {
            questions.push(Question::Refused(extras, why));
        } else if self.is_constrained() && each.len() >= MANY {
            questions.push(Question::All(Action { name: "*", subresource: "*", ..extras }, each));
        } else {
            questions.extend(each.into_iter().map(Question::One));
        }
        questions
    }

    /// Adds the groups that the identity has by its nature.
    fn completed(self, mut user: UserInfo) -> UserInfo {
        if user.groups.is_empty()
            && let Some((namespace, _)) = token::split_user_name(&user.name)
        {
            user.groups.extend(token::groups(namespace));
        }
        if matches!(self, Self::AssociatedNode | Self::ArbitraryNode) {
            user.groups = vec![GROUP_NODES.to_owned()];
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
}

/// Why nobody may have these extras in a constrained mode.
fn invalid_extra(user: &UserInfo) -> Option<String> {
    user.extra.iter().find_map(|(key, values)| {
        let path = Path::new("extra").child("key");
        let errors = names::domain_prefixed_path(&path, key);
        if key.is_empty() {
            Some("impersonating the empty string key in extra is not allowed".to_owned())
        } else if !errors.is_empty() {
            Some(format!("impersonating an invalid key in extra is not allowed: {}", aggregate(&errors)))
        } else if key.chars().any(|c| c.is_uppercase()) {
            Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"))
        } else if values.iter().any(String::is_empty) {
            Some("impersonating the empty string value in extra is not allowed".to_owned())
        } else {
            None
        }
    })
}

async fn ask(action: &Action<'_>, authorizer: &dyn Authorizer) -> Result<(), Status> {
    let decision = authorizer.decide(action).await;
    if decision.allowed { Ok(()) } else { Err(forbidden(action, &decision.reason)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Decision, rbac::PolicyRule};
    use http::HeaderValue;

    /// Allows what is in the list: `verb resource/name`.
    struct Allows(&'static [&'static str]);

    impl Authorizer for Allows {
        fn authorize(&self, action: &Action<'_>) -> Decision {
            let asked = match (action.resource, action.subresource) {
                (resource, "") => format!("{} {}{resource}/{}", action.verb, prefix(action), action.name),
                (resource, key) => {
                    format!("{} {}{resource}/{key}={}", action.verb, prefix(action), action.name)
                }
            };
            let allowed = self.0.contains(&asked.as_str());
            Decision { allowed, ..Decision::default() }
        }
        fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<PolicyRule> {
            Vec::new()
        }
    }

    /// The constrained modes ask about users of another group.
    fn prefix(action: &Action<'_>) -> &'static str {
        if action.group == AUTHENTICATION { "authn:" } else { "" }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn agent() -> UserInfo {
        let mut agent = UserInfo::authenticated("system:serviceaccount:n:agent", []);
        agent.extra.insert(NODE_NAME.to_owned(), vec!["w".to_owned()]);
        agent
    }

    #[tokio::test]
    async fn each_mode_asks_for_its_own_rights() {
        let jane = ("impersonate-user", "jane");
        let node = ("impersonate-user", "system:node:w");
        let account = ("impersonate-user", "system:serviceaccount:n:s");
        for (pairs, allows, groups, constraint) in [
            (&[jane][..], &["impersonate users/jane"][..], &["system:authenticated"][..], ""),
            (
                &[
                    jane,
                    ("impersonate-group", "dev"),
                    ("impersonate-uid", "7"),
                    ("impersonate-extra-a.io%2fb", "c"),
                ],
                &[
                    "impersonate users/jane",
                    "impersonate groups/dev",
                    "impersonate authn:uids/7",
                    "impersonate authn:userextras/a.io/b=c",
                ],
                &["dev", "system:authenticated"],
                "",
            ),
            (
                &[jane],
                &["impersonate-on:user-info:list pods/", "impersonate:user-info authn:users/jane"],
                &["system:authenticated"],
                "impersonate:user-info",
            ),
            (
                &[
                    jane,
                    ("impersonate-group", "a"),
                    ("impersonate-group", "b"),
                    ("impersonate-group", "c"),
                    ("impersonate-group", "d"),
                ],
                &[
                    "impersonate-on:user-info:list pods/",
                    "impersonate:user-info authn:users/jane",
                    "impersonate:user-info authn:groups/*",
                ],
                &["a", "b", "c", "d", "system:authenticated"],
                "impersonate:user-info",
            ),
            (
                &[account],
                &[
                    "impersonate-on:serviceaccount:list pods/",
                    "impersonate:serviceaccount authn:serviceaccounts/s",
                ],
                &["system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"],
                "impersonate:serviceaccount",
            ),
            (
                &[node],
                &["impersonate-on:arbitrary-node:list pods/", "impersonate:arbitrary-node authn:nodes/w"],
                &["system:nodes", "system:authenticated"],
                "impersonate:arbitrary-node",
            ),
            (
                &[node],
                &["impersonate-on:associated-node:list pods/", "impersonate:associated-node authn:nodes/*"],
                &["system:nodes", "system:authenticated"],
                "impersonate:associated-node",
            ),
            (&[node], &["impersonate users/system:node:w"], &["system:authenticated"], ""),
        ] {
            let user = agent();
            let mut headers = headers(pairs);
            let action = Action::on(&user, "list", "", "pods");
            let other = Impersonation::default().apply(&action, &mut headers, &Allows(allows)).await;
            let other = other.unwrap().unwrap();
            assert_eq!(
                (other.user.groups.as_slice(), other.constraint),
                (&groups.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>()[..], constraint),
                "{pairs:?}"
            );
            assert!(headers.is_empty(), "{headers:?}");
        }
        let user = agent();
        let action = Action::on(&user, "list", "", "pods");
        let nobody = Impersonation::default().apply(&action, &mut HeaderMap::new(), &Allows(&[])).await;
        assert!(nobody.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_refusal_names_the_first_mode_that_could_be() {
        const MAY_LIST: &str = "impersonate-on:user-info:list pods/";
        const MAY_JANE: &str = "impersonate:user-info authn:users/jane";
        let jane = ("impersonate-user", "jane");
        for (pairs, allows, code, message) in [
            (
                &[jane][..],
                &[][..],
                403,
                r#"pods is forbidden: User "system:serviceaccount:n:agent" cannot impersonate-on:user-info:list resource "pods" in API group "" at the cluster scope"#,
            ),
            (
                &[jane],
                &[MAY_LIST],
                403,
                r#"users.authentication.k8s.io "jane" is forbidden: User "system:serviceaccount:n:agent" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope"#,
            ),
            (
                &[jane, ("impersonate-group", "system:masters")],
                &[MAY_LIST, MAY_JANE],
                403,
                r#"groups.authentication.k8s.io "system:masters" is forbidden: User "system:serviceaccount:n:agent" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed"#,
            ),
            (
                &[jane, ("impersonate-extra-scope", "a")],
                &[MAY_LIST, MAY_JANE],
                403,
                r#"userextras.authentication.k8s.io is forbidden: User "system:serviceaccount:n:agent" cannot impersonate:user-info resource "userextras" in API group "authentication.k8s.io" at the cluster scope: impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "scope": must be a domain-prefixed path (such as "acme.io/foo")"#,
            ),
            (
                &[("impersonate-group", "dev")],
                &[],
                400,
                r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, Extra:map[string][]string(nil)} without impersonating a user name"#,
            ),
        ] {
            let user = agent();
            let action = Action::on(&user, "list", "", "pods");
            let refused = Impersonation::default().apply(&action, &mut headers(pairs), &Allows(allows)).await;
            let refused = refused.unwrap_err();
            assert_eq!((refused.code, refused.message.as_str()), (code, message));
        }
    }

    #[tokio::test]
    async fn the_mode_that_helped_last_is_tried_first() {
        let (user, impersonation) = (agent(), Impersonation::default());
        let action = Action::on(&user, "list", "", "pods");
        let allows = Allows(&["impersonate users/jane"]);
        let jane = impersonation.apply(&action, &mut headers(&[("impersonate-user", "jane")]), &allows).await;
        assert_eq!(jane.unwrap().unwrap().user.name, "jane");
        let bob = impersonation.apply(&action, &mut headers(&[("impersonate-user", "bob")]), &allows).await;
        assert!(bob.unwrap_err().message.contains("cannot impersonate resource \"users\" in API group \"\""));
    }
}
