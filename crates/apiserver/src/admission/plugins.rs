//! THE LIST: every admission plugin, in upstream's order, one file each.

use super::default_toleration_seconds::DefaultTolerationSeconds;
use super::namespace_lifecycle::NamespaceLifecycle;
use super::node_restriction::NodeRestriction;
use super::priority::Priority;
use super::role_escalation::RoleEscalation;
use super::service_account::ServiceAccount;
use super::taint_nodes_by_condition::TaintNodesByCondition;
use super::{Chain, Plugin};
use crate::auth::Authorizer;
use std::sync::Arc;

/// The plugins of a server whose rights are told by this authorizer.
pub fn chain(authorizer: &Arc<dyn Authorizer>) -> Chain {
    let list: Vec<Arc<dyn Plugin>> = vec![
        Arc::new(NamespaceLifecycle),
        Arc::new(ServiceAccount),
        Arc::new(TaintNodesByCondition),
        Arc::new(Priority),
        Arc::new(DefaultTolerationSeconds),
        Arc::new(NodeRestriction),
        Arc::new(RoleEscalation::new(Arc::clone(authorizer))),
    ];
    Chain::new(list)
}
