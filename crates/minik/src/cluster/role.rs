//! The node that stands for the control plane says so by a label, which no kubelet may set by itself.
//!
//! **Upstream**: kubeadm's `mark-control-plane` phase.

use api::k8s_openapi::api::core::v1::Node;
use api::well_known::label;
use client::{Delta, Informer, Informers, Interner, Selection};
use component_base::Context;
use component_base::logging::chain;
use kube::api::{Api, Patch, PatchParams};
use std::time::Duration;

/// After a label that could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// Labels the node of this name whenever it registers, until the context ends.
pub(super) async fn mark(context: Context, client: kube::Client, interner: Interner, name: String) {
    let informers = Informers::new(client.clone(), &context).sharing(&interner);
    let selection = Selection::all().fields(&format!("metadata.name={name}"));
    let nodes: Informer<Node> = informers.select(selection);
    let api: Api<Node> = Api::all(client);
    let change = serde_json::json!({ "metadata": { "labels": { label::NODE_ROLE_CONTROL_PLANE: "" } } });
    let mut changes = nodes.subscribe();
    while let Some(delta) = changes.recv().await {
        let Delta::Added(_) = delta else { continue };
        while let Err(error) = api.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await {
            if matches!(&error, kube::Error::Api(status) if status.code == 404) {
                break;
            }
            tracing::warn!(node = name, "label the node: {}", chain(&error));
            context.clock.sleep(RETRY).await;
        }
    }
}
