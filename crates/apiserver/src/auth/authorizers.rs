//! Authorizers one after the other: the first that has an opinion decides.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/authorization/union`, `pkg/kubeapiserver/authorizer`.

use super::rbac::PolicyRule;
use super::{Action, Authorizer, Decision, GROUP_MASTERS, UserInfo};
use futures::future::{BoxFuture, FutureExt};
use std::sync::{Arc, PoisonError, RwLock};

type List = Vec<Arc<dyn Authorizer>>;

/// Several authorizers as one.
pub struct Authorizers(RwLock<Arc<List>>);

impl Authorizers {
    /// In this order.
    pub fn new(list: List) -> Self {
        Self(RwLock::new(Arc::new(list)))
    }

    /// From now on others.
    pub(crate) fn replace(&self, list: List) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
    }

    fn current(&self) -> Arc<List> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Remembers why those asked so far do not decide; the result if nobody does.
fn collect(reasons: &mut Vec<String>, decision: Decision) -> Option<Decision> {
    if !decision.is_final() {
        if !decision.reason.is_empty() {
            reasons.push(decision.reason);
        }
        return None;
    }
    if decision.denied {
        reasons.push(decision.reason);
        return Some(Decision::deny(reasons.join("\n")));
    }
    Some(decision)
}

impl Authorizer for Authorizers {
    fn authorize(&self, action: &Action<'_>) -> Decision {
        let mut reasons = Vec::new();
        let list = self.current();
        list.iter()
            .find_map(|authorizer| collect(&mut reasons, authorizer.authorize(action)))
            .unwrap_or_else(|| Decision::no_opinion(reasons.join("\n")))
    }

    fn decide<'a>(&'a self, action: &'a Action<'a>) -> BoxFuture<'a, Decision> {
        async move {
            let mut reasons = Vec::new();
            for authorizer in self.current().iter() {
                let decision = match authorizer.is_remote() {
                    true => authorizer.decide(action).await,
                    false => authorizer.authorize(action),
                };
                if let Some(decision) = collect(&mut reasons, decision) {
                    return decision;
                }
            }
            Decision::no_opinion(reasons.join("\n"))
        }
        .boxed()
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule> {
        self.current().iter().flat_map(|authorizer| authorizer.rules_for(user, namespace)).collect()
    }

    fn untold_rules(&self, user: &UserInfo) -> Option<String> {
        let untold: Vec<String> = self.current().iter().filter_map(|a| a.untold_rules(user)).collect();
        match untold.len() {
            0 => None,
            1 => untold.into_iter().next(),
            _ => Some(format!("[{}]", untold.join(", "))),
        }
    }
}

/// Lets `system:masters` do everything, before anybody is asked.
/// **Upstream**: `authorizerfactory.NewPrivilegedGroups`.
pub struct Privileged;

impl Authorizer for Privileged {
    fn authorize(&self, action: &Action<'_>) -> Decision {
        if action.user.is_in(GROUP_MASTERS) { Decision::allow("") } else { Decision::default() }
    }

    fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<PolicyRule> {
        Vec::new()
    }
}

/// `AlwaysAllow` and `AlwaysDeny`.
pub struct Always(pub Decision);

impl Authorizer for Always {
    fn authorize(&self, _: &Action<'_>) -> Decision {
        self.0.clone()
    }

    fn rules_for(&self, _: &UserInfo, _: &str) -> Vec<PolicyRule> {
        if !self.0.allowed {
            return Vec::new();
        }
        let all = || vec!["*".to_owned()];
        vec![
            PolicyRule { groups: all(), resources: all(), verbs: all(), ..PolicyRule::default() },
            PolicyRule { paths: all(), verbs: all(), ..PolicyRule::default() },
        ]
    }
}
