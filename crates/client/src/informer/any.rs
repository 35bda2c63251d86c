//! Watching kinds that are only known at run time, by their metadata.
//!
//! **Upstream**: `client-go/metadata/metadatainformer`.

use super::{Informer, Informers, Selection, reflector, store};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// Metadata of an object of any kind (`PartialObjectMetadata`): what it is, who owns it and whether it is to go; nothing
/// else is kept, as there may be one for every object.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AnyObject {
    /// What every object has.
    #[serde(default, deserialize_with = "lean")]
    pub metadata: ObjectMeta,
}

fn lean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let meta = ObjectMeta::deserialize(deserializer)?;
    let ObjectMeta { name, namespace, uid, resource_version, owner_references, finalizers, .. } = meta;
    let deletion_timestamp = meta.deletion_timestamp;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        owner_references,
        finalizers,
        deletion_timestamp,
        ..ObjectMeta::default()
    })
}

impl Resource for AnyObject {
    type DynamicType = ();
    type Scope = kube::core::DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "PartialObjectMetadata".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "meta.k8s.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "partialobjectmetadatas".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Informers {
    /// An informer of the metadata of a collection (`/apis/apps/v1/deployments`); not shared, it ends with these
    /// informers' context.
    pub fn metadata(&self, path: &str) -> Informer<AnyObject> {
        let shared = Arc::new(store::Shared::new(self.interner.clone()));
        let informer = Informer { shared: shared.clone() };
        let (path, selection) = (path.to_owned(), Selection::all());
        let target = reflector::Target { path, metadata: true, selection };
        let reflector = reflector::Reflector::new(self.client.clone(), &self.context, target, shared);
        self.context.shutdown.spawn(reflector.run());
        informer
    }
}
