//! Who owns what after a write that is no apply, in the terms of every version of which an object has entries.
//!
//! **Upstream**: `k8s.io/apimachinery/pkg/util/managedfields` (`FieldManager.Update`).

use super::managed_fields::Written;
use super::{Store, Tracking, Version, WriteOptions, managed_fields};
use crate::patch::apply::{self, Changes};
use api::status::Status;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

impl Store {
    /// Notes who owns what of an object that changes from `old`, or is new. Defaults are their author's; what
    /// admission and the strategy do from here on is nobody's.
    pub(super) async fn track(
        &self,
        options: &WriteOptions<'_>,
        old: &Value,
        object: &mut Value,
        sent: Option<&Value>,
    ) -> Result<(), Status> {
        match options.tracking {
            Tracking::None => managed_fields::put(object, Some(&old["metadata"]["managedFields"])),
            Tracking::Applied => managed_fields::put(object, sent),
            Tracking::Update(manager) => {
                let version = options.version.unwrap_or(&self.versions()[0]);
                let api_version = version.resource().api_version();
                let entry = managed_fields::entry(
                    manager,
                    options.subresource,
                    api_version,
                    self.context.clock.now(),
                );
                // The status of a new object is not its creator's.
                let status = match object.as_object_mut() {
                    Some(fields) if old.is_null() && self.strategy.has_status() => {
                        fields.shift_remove("status")
                    }
                    _ => None,
                };
                let entries = [Some(&old["metadata"]["managedFields"]), sent];
                let others = managed_fields::versions(entries.into_iter().flatten());
                let written = Written {
                    own: self.changes(version, old, object).await?,
                    others: self.changes_in(others, version, old, object).await?,
                };
                managed_fields::update(old, object, sent, &written, entry);
                if let Some(status) = status {
                    object["status"] = status;
                }
            }
        }
        Ok(())
    }

    /// What differs between two stored objects, in the terms of a version.
    async fn changes(&self, version: &Version, old: &Value, new: &Value) -> Result<Changes, Status> {
        let (old, new) = (version.of_stored(old).await?, version.of_stored(new).await?);
        Ok(apply::compare(&old, &new, version.shape()))
    }

    /// The same in each of these versions but `except`, as far as they are served.
    pub(crate) async fn changes_in(
        &self,
        api_versions: BTreeSet<String>,
        except: &Version,
        old: &Value,
        new: &Value,
    ) -> Result<BTreeMap<String, Changes>, Status> {
        let mut changes = BTreeMap::new();
        let except = except.resource().api_version();
        for api_version in api_versions.into_iter().filter(|version| *version != except) {
            if let Some(version) = self.versions().iter().find(|v| v.resource().api_version() == api_version)
            {
                changes.insert(api_version, self.changes(version, old, new).await?);
            }
        }
        Ok(changes)
    }
}
