//! Which ServiceAccount a namespace lacks.

use crate::controllers::namespace::is_active;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::ObjectMeta;

/// The account that pods get when they name none.
pub(super) const DEFAULT: &str = api::well_known::DEFAULT_SERVICE_ACCOUNT;

/// The account to create, if the namespace is there, active and lacks it.
pub(super) fn missing(
    namespace: Option<&Namespace>,
    known: Option<&ServiceAccount>,
) -> Option<ServiceAccount> {
    let namespace = namespace.filter(|namespace| is_active(namespace))?;
    known.is_none().then(|| ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.to_owned()),
            namespace: namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::build;

    #[test]
    fn an_active_namespace_gets_the_account_that_it_lacks() {
        let active = build::namespace("a").get();
        let going = build::namespace("a").terminating().get();
        let account = ServiceAccount::default();
        for (name, namespace, known, wanted) in [
            ("missing", Some(&active), None, true),
            ("there", Some(&active), Some(&account), false),
            ("terminating", Some(&going), None, false),
            ("gone", None, None, false),
        ] {
            let missing = missing(namespace, known);
            assert_eq!(missing.is_some(), wanted, "{name}");
            if let Some(account) = missing {
                assert_eq!(account.metadata.namespace.as_deref(), Some("a"));
                assert_eq!(account.metadata.name.as_deref(), Some("default"));
            }
        }
    }
}
