//! A store in an etcd cluster, version 3.4 or later.
//!
//! **Contract:** revisions are etcd's own, so other users of the same etcd raise them too. Every key is stored behind
//! the configured prefix. Time to live is a lease; leases are shared by keys that are written close together, so a
//! key may live a little longer than asked for.
//!
//! - `watch`: one watch over the whole keyspace, and how it survives a broken connection
//! - `failure`: what etcd's errors mean here
//!
//! **Upstream:** `k8s.io/apiserver/pkg/storage/etcd3`.

mod failure;
mod watch;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, GetResponse,
    Identity, KvClient, LeaseClient, PutOptions, ResponseHeader, TlsOptions, TxnOp, TxnOpResponse,
    TxnResponse, WatchClient,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::{
    Committed, Error, EtcdConfig, Key, KeyValue, ListOptions, Lookup, Op, Page, Result, Revision, Storage,
    Txn, WatchStream,
};

/// How long one request may take before etcd counts as unavailable.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Upstream's `dialTimeout` of etcd clients is 20 s; a cluster next door answers sooner or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Upstream's `keepaliveTime` and `keepaliveTimeout` (`storage/storagebackend/factory/etcd3.go`).
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// How often a request that cannot leave is tried, and the wait between.
const ATTEMPTS: u32 = 20;
const RETRY_AFTER: Duration = Duration::from_millis(5);
/// A lease is shared for this long at most (upstream's `DefaultLeaseReuseDurationSeconds`).
const LEASE_REUSE: Duration = Duration::from_secs(60);
/// A lease is shared by so many keys at most (upstream's `DefaultLeaseMaxObjectCount`).
const LEASE_KEYS: usize = 1000;
/// The most that a list or a watch may send us in one message.
const MESSAGE_BYTES: usize = 1 << 30;

/// A store in etcd.
pub struct Etcd {
    prefix: String,
    kv: KvClient,
    watches: WatchClient,
    leases: LeaseClient,
    /// By time to live in seconds.
    shared_leases: Mutex<HashMap<u64, SharedLease>>,
    closed: tokio::sync::watch::Sender<bool>,
}

struct SharedLease {
    id: i64,
    until: Instant,
    keys: usize,
}

impl Etcd {
    /// Connects, and asks for the revision to see that somebody is there.
    pub async fn open(config: EtcdConfig) -> Result<Self> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEPALIVE.0, KEEPALIVE.1)
            .with_keep_alive_while_idle(true);
        if let Some(tls) = config.tls {
            let mut client = TlsOptions::new().ca_certificate(Certificate::from_pem(tls.ca));
            if let Some((certificate, key)) = tls.identity {
                client = client.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(client);
        }
        if let Some((name, password)) = config.user {
            options = options.with_user(name, password);
        }
        let client = bounded("connect", || Client::connect(&config.endpoints, Some(options.clone()))).await?;
        let store = Self {
            prefix: config.prefix,
            kv: client.kv_client().max_decoding_message_size(MESSAGE_BYTES),
            watches: client.watch_client().max_decoding_message_size(MESSAGE_BYTES),
            leases: client.lease_client(),
            shared_leases: Mutex::default(),
            closed: tokio::sync::watch::Sender::new(false),
        };
        store.current_revision().await?;
        Ok(store)
    }

    fn check_open(&self) -> Result<()> {
        if *self.closed.borrow() { Err(Error::Closed) } else { Ok(()) }
    }

    fn full_key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    async fn range(&self, key: Vec<u8>, options: GetOptions) -> Result<GetResponse> {
        self.check_open()?;
        bounded("read", || {
            let (mut kv, key, options) = (self.kv.clone(), key.clone(), options.clone());
            async move { kv.get(key, Some(options)).await }
        })
        .await
    }

    /// How to read the range of a prefix.
    fn list_options(&self, prefix: &str, options: &ListOptions) -> GetOptions {
        let mut range = GetOptions::new().with_range(prefix_end(self.full_key(prefix)));
        match options.limit {
            Some(0) => range = range.with_count_only(),
            Some(limit) => range = range.with_limit(i64::try_from(limit).unwrap_or(i64::MAX)),
            None => {}
        }
        match options.revision {
            Some(revision) => range.with_revision(signed(revision)),
            None => range,
        }
    }

    /// A lease that ends between `ttl` and a little later.
    async fn lease(&self, ttl: Duration) -> Result<i64> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let mut shared = self.shared_leases.lock().await;
        let now = Instant::now();
        shared.retain(|_, lease| lease.until > now && lease.keys < LEASE_KEYS);
        if let Some(lease) = shared.get_mut(&seconds) {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let reuse = LEASE_REUSE.min(ttl / 20);
        let granted = seconds.max(1) + reuse.as_secs();
        let grant = || {
            let mut leases = self.leases.clone();
            async move { leases.grant(signed(granted), None).await }
        };
        let response = bounded("grant a lease", grant).await?;
        let id = response.id();
        if reuse.as_secs() > 0 {
            let reuse = Duration::from_secs(reuse.as_secs());
            shared.insert(seconds, SharedLease { id, until: now + reuse, keys: 1 });
        }
        Ok(id)
    }

    async fn operation(&self, op: Op) -> Result<TxnOp> {
        Ok(match op {
            Op::Delete { key } => TxnOp::delete(self.full_key(&key), Some(DeleteOptions::new())),
            Op::Put { key, value, ttl: None } => TxnOp::put(self.full_key(&key), value, None),
            Op::Put { key, value, ttl: Some(ttl) } => {
                let options = PutOptions::new().with_lease(self.lease(ttl).await?);
                TxnOp::put(self.full_key(&key), value, Some(options))
            }
        })
    }

    /// Which condition failed, from the values that were read because one did.
    fn conflict(&self, conditions: &[(Key, crate::Expect)], response: &TxnResponse) -> Error {
        for ((key, expect), answer) in conditions.iter().zip(response.op_responses()) {
            let TxnOpResponse::Get(get) = answer else { continue };
            let current = get.kvs().first().and_then(|kv| key_value(&self.prefix, kv));
            if !expect.holds(current.as_ref().map(|kv| kv.mod_revision)) {
                return Error::Conflict { key: key.clone(), current: current.map(Box::new) };
            }
        }
        Error::Backend { operation: "commit", source: "a condition failed, but all of them hold".into() }
    }

    /// Fills in what etcd leaves out of these errors.
    async fn explain(&self, error: Error, requested: Revision) -> Error {
        match error {
            Error::Compacted { compacted, .. } => {
                let compacted = match compacted {
                    0 => self.compacted_revision().await.unwrap_or(0),
                    known => known,
                };
                Error::Compacted { requested, compacted }
            }
            Error::FutureRevision { .. } => {
                let current = self.current_revision().await.unwrap_or(0);
                Error::FutureRevision { requested, current }
            }
            other => other,
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.closed.send_replace(true);
    }
}

/// Limits the time of a request and translates its failure. A request that did not leave, because the endpoint that
/// was picked for it cannot be reached, is tried again: there may be another one.
async fn bounded<T, F>(operation: &'static str, request: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, etcd_client::Error>>,
{
    let attempts = async {
        let mut attempt = 1;
        loop {
            match request().await {
                Err(error) if attempt < ATTEMPTS && failure::not_sent(&error) => {
                    tokio::time::sleep(RETRY_AFTER).await;
                    attempt += 1;
                }
                result => return result.map_err(|error| failure::error(operation, error)),
            }
        }
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, attempts).await {
        Ok(result) => result,
        Err(elapsed) => Err(Error::Unavailable { operation, source: elapsed.into() }),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn revision_of(header: Option<&ResponseHeader>) -> Result<Revision> {
    let missing = || Error::Backend { operation: "read", source: "answer without a header".into() };
    header.map(|header| unsigned(header.revision())).ok_or_else(missing)
}

/// The key after every key with this prefix.
fn prefix_end(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return prefix;
        }
    }
    vec![0]
}

/// One of our values; `None` if the key is somebody else's.
fn key_value(prefix: &str, kv: &etcd_client::KeyValue) -> Option<KeyValue> {
    let key = kv.key().strip_prefix(prefix.as_bytes())?;
    Some(KeyValue {
        key: Key::from(std::str::from_utf8(key).ok()?),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: unsigned(kv.create_revision()),
        mod_revision: unsigned(kv.mod_revision()),
    })
}

#[async_trait]
impl Storage for Etcd {
    async fn get(&self, key: &Key) -> Result<Lookup> {
        let response = self.range(self.full_key(key), GetOptions::new()).await?;
        let item = response.kvs().first().and_then(|kv| key_value(&self.prefix, kv));
        Ok(Lookup { item, revision: revision_of(response.header())? })
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page> {
        let mut start = self.full_key(prefix);
        if let Some(after) = options.start_after.as_deref().filter(|after| *after >= prefix) {
            start = self.full_key(after);
            start.push(0);
        }
        if start.is_empty() {
            start.push(0);
        }
        let range = self.list_options(prefix, &options);
        let response = match self.range(start, range).await {
            Ok(response) => response,
            Err(error) => return Err(self.explain(error, options.revision.unwrap_or(0)).await),
        };
        let items: Vec<_> = response.kvs().iter().filter_map(|kv| key_value(&self.prefix, kv)).collect();
        let remaining = usize::try_from(response.count()).unwrap_or(0).saturating_sub(items.len());
        let read_at = revision_of(response.header())?;
        Ok(Page { items, revision: options.revision.unwrap_or(read_at), remaining })
    }

    async fn commit(&self, txn: Txn) -> Result<Committed> {
        txn.validate()?;
        self.check_open()?;
        let size = txn.size();
        let conditions: Vec<_> = txn.expectations().map(|(key, expect)| (key.clone(), expect)).collect();
        let compares: Vec<_> = conditions
            .iter()
            .filter_map(|(key, expect)| {
                let revision = match expect {
                    crate::Expect::Any => return None,
                    crate::Expect::Absent => 0,
                    crate::Expect::ModRevision(revision) => signed(*revision),
                };
                Some(Compare::mod_revision(self.full_key(key), CompareOp::Equal, revision))
            })
            .collect();
        let mut writes = Vec::with_capacity(txn.ops.len());
        for (op, _) in txn.ops {
            writes.push(self.operation(op).await?);
        }
        let reads: Vec<_> = conditions.iter().map(|(key, _)| TxnOp::get(self.full_key(key), None)).collect();
        let request = etcd_client::Txn::new().when(compares).and_then(writes).or_else(reads);
        let send = || {
            let (mut kv, request) = (self.kv.clone(), request.clone());
            async move { kv.txn(request).await }
        };
        let response = match bounded("commit", send).await {
            Ok(response) => response,
            Err(Error::TooLarge { .. }) => return Err(Error::TooLarge { size }),
            Err(error) => {
                // It may be a lease that etcd does not know any more: the next write asks for a new one.
                self.shared_leases.lock().await.clear();
                return Err(error);
            }
        };
        if !response.succeeded() {
            return Err(self.conflict(&conditions, &response));
        }
        let changed = response.op_responses().iter().any(|answer| match answer {
            TxnOpResponse::Put(_) => true,
            TxnOpResponse::Delete(delete) => delete.deleted() > 0,
            _ => false,
        });
        Ok(Committed { revision: revision_of(response.header())?, changed })
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        self.check_open()?;
        let closed = self.closed.subscribe();
        Ok(watch::stream(self.watches.clone(), self.prefix.clone(), prefix.to_owned(), from, closed))
    }

    async fn current_revision(&self) -> Result<Revision> {
        let mut key = self.full_key("");
        key.push(0);
        let response = self.range(key, GetOptions::new().with_count_only()).await?;
        revision_of(response.header())
    }

    /// etcd does not tell, but it refuses to read at what it has compacted: a binary search finds the border.
    async fn compacted_revision(&self) -> Result<Revision> {
        let (mut oldest, mut newest) = (1, self.current_revision().await?);
        while oldest < newest {
            let middle = oldest + (newest - oldest) / 2;
            let mut key = self.full_key("");
            key.push(0);
            let options = GetOptions::new().with_count_only().with_revision(signed(middle));
            match self.range(key, options).await {
                Ok(_) => newest = middle,
                Err(Error::Compacted { .. }) => oldest = middle + 1,
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.check_open()?;
        let compact = || {
            let mut kv = self.kv.clone();
            async move { kv.compact(signed(to), None).await }
        };
        match bounded("compact", compact).await {
            Ok(_) | Err(Error::Compacted { .. }) => Ok(()),
            Err(error) => Err(self.explain(error, to).await),
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.send_replace(true);
        Ok(())
    }
}
