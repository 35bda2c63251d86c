//! What the cluster has because of the provisioner: the default StorageClass, and who may provision.
//!
//! **Contract**: an object that is there is left as it is: whoever changed it wanted that.
//! **Upstream**: minikube's add-ons `default-storageclass` and `storage-provisioner`.

use crate::{Error, NAME};
use client::RequestError;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Who the provisioner is.
pub const USER: &str = "system:serviceaccount:kube-system:storage-provisioner";
/// The groups of that account.
pub const USER_GROUPS: [&str; 2] = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];

const ROLE: &str = "minik:storage-provisioner";

/// Creates what is not there yet.
///
/// # Errors
/// If the API server refuses.
pub async fn install(client: &kube::Client) -> Result<(), Error> {
    create::<ClusterRole>(client, role()).await?;
    create::<ClusterRoleBinding>(client, binding()).await?;
    create::<StorageClass>(client, class()).await
}

fn class() -> Value {
    json!({
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": NAME,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": true,
    })
}

fn role() -> Value {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    json!({
        "metadata": {"name": ROLE},
        "rules": [
            rule("", &["persistentvolumes"], &["create", "delete", "get", "list", "patch", "update", "watch"]),
            rule("", &["persistentvolumeclaims"], &["get", "list", "watch"]),
            rule("", &["persistentvolumeclaims/status"], &["patch"]),
            rule("storage.k8s.io", &["storageclasses"], &["get", "list", "watch"]),
            rule("", &["events"], &["create", "patch", "update"]),
        ],
    })
}

fn binding() -> Value {
    json!({
        "metadata": {"name": ROLE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": "storage-provisioner"}],
    })
}

async fn create<K>(client: &kube::Client, object: Value) -> Result<(), Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let what = || format!("{} {}", K::kind(&()), object["metadata"]["name"]);
    let failed = |source| Error::from(RequestError::of("create", what())(source));
    let parsed = serde_json::from_value::<K>(object.clone());
    let parsed = parsed.map_err(|error| failed(kube::Error::SerdeError(error)))?;
    match Api::<K>::all(client.clone()).create(&PostParams::default(), &parsed).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(source) => Err(failed(source)),
    }
}
