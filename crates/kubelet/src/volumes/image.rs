//! `image`: the files of an image, read-only.
//!
//! **Contract**: pulled by the policy and with the credentials of the pod, then unpacked into the pod's folder: what a
//! later pull brings does not change a pod that runs. A folder that is there is complete.
//! **Upstream**: `pkg/volume/image`, `pkg/kubelet/kuberuntime` (`getImageVolumes`).

use super::{Error, Mounted, Plugin, SetUp, blocking};
use crate::images::{EventKind, Wanted};
use api::k8s_openapi::api::core::v1::Volume;
use async_trait::async_trait;
use runtime::ImageId;

pub(super) struct ImagePlugin;

#[async_trait]
impl Plugin for ImagePlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/image"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.image.is_some()
    }

    async fn set_up(&self, at: &mut SetUp<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let mounted = Mounted { readonly: true, ..Mounted::at(&at.folder) };
        if at.folder.is_dir() {
            return Ok(mounted);
        }
        let source = volume.image.clone().unwrap_or_default();
        let wanted = Wanted {
            image: source.reference.as_deref().unwrap_or_default(),
            policy: source.pull_policy.as_deref().unwrap_or("IfNotPresent"),
        };
        let (node, pod) = (at.node, at.pod);
        let names = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        let secrets: Vec<_> = names.filter_map(|secret| at.held.secret(&secret.name).ok()).collect();
        let tell =
            |kind: EventKind, reason: &str, message: &str| node.event(pod, None, kind, reason, message);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let image = tokio::select! {
            image = node.images.ensure(uid, wanted, &secrets, &tell) => image,
            () = (at.doom)() => return Err(Error::Refused("the pod is to end".to_owned())),
        };
        let image = image
            .map_err(|why| Error::Refused(format!("{}: {}", why.waiting.reason, why.waiting.message)))?;
        let partial = at.folder.with_extension("partial");
        let (old, parent) = (partial.clone(), at.folder.parent().map(ToOwned::to_owned));
        blocking("remove", &partial, move || {
            std::fs::create_dir_all(parent.unwrap_or_default())?;
            super::mount::remove_tree(&old)
        })
        .await?;
        let unpacked = node.images.unpack(&ImageId::from(image), &partial).await;
        unpacked.map_err(|error| Error::Refused(error.to_string()))?;
        let (from, to) = (partial.clone(), at.folder.clone());
        blocking("rename", &partial, move || std::fs::rename(from, to)).await?;
        Ok(mounted)
    }
}
