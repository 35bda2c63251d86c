//! What is written together: an object and the claims that it holds.
//!
//! **Contract**: an object's claims, and the objects that show them, are made and given up in its own transaction, so no
//! claim is ever held twice or by nobody.

use super::error::too_large;
use super::object::{encode, encode_as};
use super::store::WRITE_TRIES;
use super::{Reservation, Store, companion, metadata};
use api::field::{Error as FieldError, ErrorType, Path};
use api::status::Status;
use serde_json::Value;
use std::collections::BTreeMap;
use storage::{Expect, Key, Op, Txn};

/// Bytes of the largest object. **Upstream**: etcd's `--max-request-bytes`.
pub(crate) const MAX_OBJECT_BYTES: usize = 1_572_864;
/// Levels of the deepest object: a parser must be able to read what is stored, and what is around it in an answer.
const MAX_DEPTH: usize = 110;
/// Tries to get the same claim: of a small range, chance may choose one several times.
const SAME_CLAIM_TRIES: usize = 8;
const RESERVATIONS: &str = "/reservations/";

impl Store {
    pub(super) fn create_txn(&self, key: &Key, object: &Value) -> Result<(Txn, Vec<Reservation>), Status> {
        let claims = self.strategy.reservations(object);
        let mut txn = self.put(Txn::new(), key, object, Expect::Absent)?;
        for claim in &claims {
            txn = self.claim(txn, claim, key);
        }
        Ok((txn, claims))
    }

    pub(super) fn update_txn(
        &self,
        key: &Key,
        revision: u64,
        object: &Value,
        old: &Value,
        remove: bool,
    ) -> Result<(Txn, Vec<Reservation>), Status> {
        let expect = Expect::ModRevision(revision);
        let held = self.strategy.reservations(old);
        let mut claims = if remove { Vec::new() } else { self.strategy.reservations(object) };
        let mut txn =
            if remove { Txn::new().delete(key, expect) } else { self.put(Txn::new(), key, object, expect)? };
        let is_among =
            |claims: &[Reservation], claim: &Reservation| claims.iter().any(|c| c.key == claim.key);
        for gone in held.iter().filter(|claim| !is_among(&claims, claim)) {
            txn = release(txn, gone);
        }
        claims.retain(|claim| !is_among(&held, claim));
        for claim in &claims {
            txn = self.claim(txn, claim, key);
        }
        Ok((txn, claims))
    }

    pub(super) fn remove_txn(&self, key: &Key, revision: u64, object: &Value) -> Txn {
        let txn = Txn::new().delete(key, Expect::ModRevision(revision));
        let claims = self.strategy.reservations(object);
        claims.iter().fold(txn, release)
    }

    /// Claims something, and shows who has it.
    fn claim(&self, txn: Txn, claim: &Reservation, holder: &Key) -> Txn {
        let txn = txn.put(reservation_key(claim), holder.as_str().to_owned(), Expect::Absent);
        let Some(shown) = &claim.shown else { return txn };
        let mut object = shown.object.clone();
        let metadata = metadata::of(&mut object);
        metadata.insert("uid".to_owned(), self.context.rng.uuid().into());
        metadata.insert("creationTimestamp".to_owned(), api::time::format(self.context.clock.now()).into());
        metadata.insert("generation".to_owned(), 1.into());
        txn.put(companion::key(shown), encode_as(&shown.resource, &object), Expect::Absent)
    }

    fn put(&self, mut txn: Txn, key: &Key, object: &Value, expect: Expect) -> Result<Txn, Status> {
        if is_deeper(object, MAX_DEPTH) {
            return Err(Status::bad_request(format!(
                "the object is nested more than {MAX_DEPTH} levels deep"
            )));
        }
        let value = encode(&*self.strategy, object);
        if value.len() > MAX_OBJECT_BYTES {
            return Err(too_large(value.len()));
        }
        let ttl = self.strategy.time_to_live(object);
        txn.ops.push((Op::Put { key: key.clone(), value, ttl }, expect));
        Ok(txn)
    }

    /// Commits and waits until the cache shows it.
    pub(super) async fn commit(&self, txn: Txn) -> Result<u64, storage::Error> {
        let committed = self.caches.storage().commit(txn).await?;
        // A cache that lags behind for seconds must not turn a durable write into a failure.
        let _ = self.caches.wait_for(committed.revision).await;
        Ok(committed.revision)
    }

    pub(super) fn claim_lost(
        &self,
        taken: &Key,
        claims: &[Reservation],
        lost: &mut BTreeMap<Key, usize>,
        name: &str,
    ) -> Result<(), Status> {
        // A claim that was chosen at random is chosen anew; one that was asked for is lost again and again.
        let times = lost.entry(taken.clone()).or_default();
        *times += 1;
        if *times <= SAME_CLAIM_TRIES && lost.values().sum::<usize>() < WRITE_TRIES {
            return Ok(());
        }
        let claim = claims.iter().find(|claim| {
            reservation_key(claim) == **taken
                || claim.shown.as_ref().map(companion::key).as_ref() == Some(taken)
        });
        let (path, body) = claim.map_or_else(Default::default, |claim| claim.taken.clone());
        let error = FieldError { path: Path::new(&path), error_type: ErrorType::Invalid, body };
        Err(self.invalid(name, &vec![error]))
    }
}

/// Whether a value has more levels than this.
fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| is_deeper(field, levels - 1)),
        _ => false,
    }
}

/// Gives up a claim, and what showed it.
fn release(txn: Txn, claim: &Reservation) -> Txn {
    let txn = txn.delete(reservation_key(claim), Expect::Any);
    match &claim.shown {
        Some(shown) => txn.delete(companion::key(shown), Expect::Any),
        None => txn,
    }
}

fn reservation_key(claim: &Reservation) -> String {
    format!("{RESERVATIONS}{}", claim.key)
}
