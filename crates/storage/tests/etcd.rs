//! The suite on a real etcd (Debian: etcd-server), and what happens when it goes away.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "etcd")]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use storage::testing::{EtcdServer, Fixture, ServerTls, within};
use storage::{Error, Etcd, EtcdConfig, EtcdTls, Expect, Key, Storage, Txn};

/// Until a restarted etcd answers.
const RECOVERY: Duration = Duration::from_secs(60);

async fn make() -> Fixture {
    let server = EtcdServer::start().await;
    let store = Etcd::open(EtcdConfig { prefix: "/minik".to_owned(), ..server.config() }).await.unwrap();
    Fixture { store: Arc::new(store), guard: Box::new(server) }
}

storage::suite!(make);

async fn put(store: &Etcd, key: &str) -> storage::Result<u64> {
    store.commit(Txn::new().put(key, "x", Expect::Any)).await.map(|committed| committed.revision)
}

#[tokio::test]
async fn two_prefixes_share_one_etcd() {
    let server = EtcdServer::start().await;
    let open = async |prefix: &str| {
        Etcd::open(EtcdConfig { prefix: prefix.to_owned(), ..server.config() }).await.unwrap()
    };
    let (one, two, root) = (open("/one").await, open("/two").await, open("").await);
    put(&one, "/a").await.unwrap();
    put(&two, "/b").await.unwrap();
    assert!(one.get(&Key::from("/b")).await.unwrap().item.is_none());
    let page = one.list("", Default::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["/a"]);
    let page = root.list("", Default::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["/one/a", "/two/b"]);
    let mut watch = one.watch("", 1).await.unwrap();
    let mut events = 0;
    loop {
        let batch = within(watch.next()).await.unwrap().unwrap();
        events += batch.events.len();
        if batch.revision == 3 {
            break;
        }
    }
    assert_eq!(events, 1, "the other cluster's change is progress");
}

#[tokio::test]
async fn a_watch_outlives_a_restart_of_etcd() {
    let mut server = EtcdServer::start().await;
    let store = Etcd::open(server.config()).await.unwrap();
    let mut watch = store.watch("/", 1).await.unwrap();
    put(&store, "/a").await.unwrap();
    assert_eq!(within(watch.next()).await.unwrap().unwrap().revision, 2);

    server.kill();
    let error = put(&store, "/b").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    server.restart().await;

    let revision = testkit::eventually_some(RECOVERY, async || match put(&store, "/b").await {
        Ok(revision) => Some(revision),
        Err(Error::Unavailable { .. }) => None,
        Err(error) => panic!("{error:?}"),
    })
    .await;
    let batch = within(watch.next()).await.unwrap().unwrap();
    assert_eq!(batch.events[0].key, Key::from("/b"));
    assert!(batch.revision <= revision);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let mut server = EtcdServer::start().await;
    server.kill();
    let error = Etcd::open(server.config()).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn too_large_is_said_so() {
    let server = EtcdServer::start().await;
    let store = Etcd::open(server.config()).await.unwrap();
    let txn = Txn::new().put("/a", vec![0; 3 << 20], Expect::Any);
    let error = store.commit(txn).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { size } if size > 3 << 20), "{error:?}");
}

#[tokio::test]
async fn one_of_several_endpoints_is_enough() {
    let mut gone = EtcdServer::start().await;
    gone.kill();
    let server = EtcdServer::start().await;
    let endpoints = vec![gone.url(), server.url()];
    let store = Etcd::open(EtcdConfig { endpoints, ..EtcdConfig::default() }).await.unwrap();
    for i in 0..20 {
        assert_eq!(put(&store, "/a").await.unwrap(), i + 2);
    }
}

/// A certificate for 127.0.0.1 and its key, as PEM.
fn certificate(authority: &Issuer<'_, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn speaks_tls_with_certificates_on_both_sides() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap().pem();
    let authority = Issuer::new(params, key);
    let (server_certificate, server_key) = certificate(&authority);
    let (client_certificate, client_key) = certificate(&authority);
    let tls = ServerTls { ca: ca.clone(), certificate: server_certificate, key: server_key };
    let server = EtcdServer::start_with(Some(tls)).await;

    let config = |identity| EtcdConfig {
        tls: Some(EtcdTls { ca: ca.clone().into_bytes(), identity }),
        ..server.config()
    };
    let identity = (client_certificate.into_bytes(), client_key.into_bytes());
    let store = Etcd::open(config(Some(identity))).await.unwrap();
    let mut watch = store.watch("/", 1).await.unwrap();
    assert_eq!(put(&store, "/a").await.unwrap(), 2);
    assert_eq!(within(watch.next()).await.unwrap().unwrap().revision, 2);
    let refused = Etcd::open(config(None)).await.map(drop);
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
}
