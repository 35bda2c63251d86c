//! One copy of what several informers of a process were sent: the same object at the same revision.
//!
//! The scheduler, the controllers and a kubelet each watch pods. **Contract**: who was not sent an object does not get it
//! from here; only equal ones become one. An object is let go of when an informer learns that it is gone. An API server in
//! the same process has what it sent in memory already ([`Origin`]); these bytes are kept then, instead of a copy.

use super::Watched;
use super::kept::{Kept, Warm};
use super::sent::{Sent, identity};
use bytes::Bytes;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// The newest known of each object of a kind.
type Table<K> = HashMap<Uuid, (u64, Arc<Kept<K>>)>;

/// An object, by what its URL says of it; the namespace is empty if it has none.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The API group; empty for the core's.
    pub group: &'a str,
    /// The resource.
    pub plural: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
}

/// Where objects are in this process already, beside the informers.
pub trait Origin: Send + Sync {
    /// The newest known of an object.
    fn newest(&self, place: Place<'_>) -> Option<Arc<dyn Original>>;
}

/// An object that something else keeps.
pub trait Original: Send + Sync {
    /// Its JSON, always the same.
    fn json(&self) -> Bytes;
}

/// Objects that informers have in common; cloning shares them.
#[derive(Clone, Default)]
pub struct Interner(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tables: Mutex<HashMap<TypeId, Box<dyn Any + Send>>>,
    warm: Warm,
    origin: Option<Arc<dyn Origin>>,
}

impl Debug for Interner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interner")
    }
}

impl Interner {
    /// What was sent is not copied where this origin has the very same.
    pub fn beside(origin: Arc<dyn Origin>) -> Self {
        Self(Arc::new(Inner { origin: Some(origin), ..Inner::default() }))
    }

    /// The copy to keep of this object, which is decoded only if no informer has it yet.
    pub(super) fn share<K: Watched>(&self, sent: &Sent<'_>) -> serde_json::Result<Arc<Kept<K>>> {
        let Some((uid, revision)) = sent.identity() else { return self.keep(sent) };
        let known = self.with(|table: &mut Table<K>| {
            table.get(&uid).filter(|(known, _)| *known == revision).map(|(_, present)| present.clone())
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let kept = self.keep(sent)?;
        Ok(self.with(|table: &mut Table<K>| match table.get(&uid) {
            // Another informer was faster.
            Some((known, present)) if *known == revision => present.clone(),
            // Of an informer that lags behind.
            Some((known, _)) if *known > revision => kept,
            _ => {
                table.insert(uid, (revision, kept.clone()));
                kept
            }
        }))
    }

    fn keep<K: Watched>(&self, sent: &Sent<'_>) -> serde_json::Result<Arc<Kept<K>>> {
        let (key, object) = (sent.key(), sent.decode::<K>()?);
        let (group, plural) = (K::group(&()), K::plural(&()));
        let place = Place { group: &group, plural: &plural, namespace: &key.namespace, name: &key.name };
        let original = self.0.origin.as_ref().and_then(|origin| origin.newest(place));
        Ok(self.0.warm.keep(object, sent.len(), original.filter(|original| sent.is(&original.json()))))
    }

    /// The object itself.
    pub(super) fn get<K: Watched>(&self, kept: &Arc<Kept<K>>) -> Arc<K> {
        self.0.warm.get(kept)
    }

    /// Keeps most objects as JSON only, until they are used again; for now and then, when memory is given back.
    pub fn cool(&self) {
        self.0.warm.cool();
    }

    /// The object is gone, at least for one of them.
    pub(super) fn forget<K: Watched>(&self, object: &K) {
        let meta = object.meta();
        let identity = identity(meta.uid.as_deref(), meta.resource_version.as_deref());
        let Some((uid, _)) = identity else { return };
        self.with(|table: &mut Table<K>| {
            table.remove(&uid);
            if table.len() < table.capacity() / 8 {
                table.shrink_to_fit();
            }
        });
    }

    fn with<K: Watched, T>(&self, act: impl FnOnce(&mut Table<K>) -> T) -> T {
        let mut tables = self.0.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let table = tables.entry(TypeId::of::<K>()).or_insert_with(|| Box::new(Table::<K>::new()));
        act(table.downcast_mut().expect("a table is kept under its type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;
    use serde_json::value::to_raw_value;

    fn share(interner: &Interner, uid: &str, revision: &str) -> Arc<Kept<ConfigMap>> {
        let map = json!({"metadata": {"name": "m", "uid": uid, "resourceVersion": revision}});
        let raw = to_raw_value(&map).unwrap();
        let sent = Sent::parse(&raw).unwrap();
        let kept = interner.share(&sent).unwrap();
        assert_eq!(*interner.get(&kept), serde_json::from_value(map).unwrap());
        kept
    }

    #[test]
    fn equal_objects_become_one() {
        const ONE: &str = "7ba249f5-3414-4fc4-940d-8100bcaa10bd";
        const OTHER: &str = "7ba249f5-3414-4fc4-940d-8100bcaa10be";
        let interner = Interner::default();
        let first = share(&interner, ONE, "7");
        for (uid, revision, same) in [
            (ONE, "7", true),
            (OTHER, "7", false),
            (ONE, "6", false),
            ("?", "7", false),
            (ONE, "x", false),
            (ONE, "7", true),
        ] {
            let shared = share(&interner, uid, revision);
            assert_eq!(Arc::ptr_eq(&first, &shared), same, "{uid} {revision}");
        }
        // A newer one takes its place, for those that come later.
        let second = share(&interner, ONE, "8");
        assert!(Arc::ptr_eq(&second, &share(&interner, ONE, "8")));
        assert!(!Arc::ptr_eq(&first, &share(&interner, ONE, "7")));
    }

    #[test]
    fn what_an_origin_has_is_not_copied() {
        struct Cached(Bytes);
        impl Original for Cached {
            fn json(&self) -> Bytes {
                self.0.clone()
            }
        }
        struct Cache(Arc<Cached>);
        impl Origin for Cache {
            fn newest(&self, place: Place<'_>) -> Option<Arc<dyn Original>> {
                let Place { group, plural, namespace, name } = place;
                ([group, plural, namespace, name] == ["", "configmaps", "n", "m"])
                    .then(|| self.0.clone() as _)
            }
        }
        let map = |revision: &str| {
            json!({"metadata": {"name": "m", "namespace": "n", "uid": "7ba249f5-3414-4fc4-940d-8100bcaa10bd",
                "resourceVersion": revision, "managedFields": [{"manager": "kubectl"}]}})
        };
        let cached = Arc::new(Cached(map("7").to_string().into()));
        let interner = Interner::beside(Arc::new(Cache(cached.clone())));
        for (revision, same) in [("6", false), ("7", true), ("8", false)] {
            let raw = to_raw_value(&map(revision)).unwrap();
            let kept: Arc<Kept<ConfigMap>> = interner.share(&Sent::parse(&raw).unwrap()).unwrap();
            assert_eq!(Arc::strong_count(&cached) == 3, same, "{revision}");
            interner.0.warm.shrink(0);
            for object in [kept.peek(), interner.get(&kept)] {
                assert_eq!(object.metadata.resource_version.as_deref(), Some(revision));
                assert_eq!(object.metadata.managed_fields, None);
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_freed() {
        let interner = Interner::default();
        let shared = share(&interner, "7ba249f5-3414-4fc4-940d-8100bcaa10bd", "7");
        assert_eq!(Arc::strong_count(&shared), 2);
        interner.forget(&*interner.get(&shared));
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
