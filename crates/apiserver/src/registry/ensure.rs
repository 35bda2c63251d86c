//! What the server makes of its own at its first start, in few transactions.

use super::error::storage_status;
use super::{Registry, Store, WriteOptions, loopback_user};
use api::meta;
use api::status::Status;
use serde_json::Value;
use std::sync::Arc;
use storage::{Key, Txn};

/// Objects in one transaction.
const BATCH: usize = 100;

/// See [`Registry::ensure`].
pub(super) async fn ensure(registry: &Registry, objects: Vec<(&str, &str, Value)>) -> Result<usize, Status> {
    let user = loopback_user();
    let mut made = 0;
    let mut todo: Vec<(Arc<Store>, Value)> = Vec::with_capacity(objects.len());
    for (group, plural, object) in objects {
        let store = registry
            .store(group, plural)
            .ok_or_else(|| Status::internal(&format!("no resource {plural:?} in group {group:?}")))?;
        todo.push((store, object));
    }
    while !todo.is_empty() {
        let rest = todo.split_off(todo.len().min(BATCH));
        let mut batch = std::mem::replace(&mut todo, rest);
        loop {
            batch.retain(|(store, o)| store.cached(meta::namespace(o), meta::name(o)).is_none());
            let Some((first, _)) = batch.first() else { break };
            let mut txn = Txn::new();
            for (store, object) in &batch {
                let (namespace, mut object) = (meta::namespace(object).to_owned(), object.clone());
                store.prepare_create(&mut WriteOptions::new(&user), &namespace, &mut object).await?;
                let key = Key::from(store.key(&namespace, meta::name(&object)));
                txn.ops.extend(store.create_txn(&key, &object)?.0.ops);
            }
            match first.commit(txn).await {
                Ok(_) => {
                    made += batch.len();
                    break;
                }
                Err(storage::Error::Conflict { key, .. }) => {
                    let before = batch.len();
                    batch.retain(|(store, o)| store.key(meta::namespace(o), meta::name(o)) != *key);
                    if batch.len() == before {
                        return Err(Status::internal("a claim of the server's own is taken"));
                    }
                }
                Err(error) => return Err(storage_status(first.resource(), &error)),
            }
        }
    }
    Ok(made)
}
