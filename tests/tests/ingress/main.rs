//! The built-in ingress controller: real HTTP and TLS from outside to backends, by host and path.
//!
//! Needs, for the test with pods, a Docker engine and the images of `tests/images/build`.

mod backend;
mod client;
mod gateway;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::{Answer, Body, How, ask, empty, full, streamed};
use http::Request;
use k8s_openapi::api::core::v1::{Event, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use minik::Cluster;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use testkit::{eventually, eventually_some};
use tests::DEADLINE;
use tests::docker::{DockerCluster, script};
use tests::profile::free_port;
use tests::workloads::create;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn get(host: &str, path: &str) -> Request<Body> {
    Request::get(path).header("host", host).body(empty()).expect("a request")
}

fn post(host: &str, path: &str, body: Body) -> Request<Body> {
    Request::post(path).header("host", host).body(body).expect("a request")
}

/// HTTP/2 has no header for the host.
fn absolute(scheme: &str, host: &str, path: &str) -> Request<Body> {
    Request::get(format!("{scheme}://{host}{path}")).body(empty()).expect("a request")
}

/// A Service that leads to a port of this machine.
fn outside(name: &str, port: u16) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "type": "ExternalName", "externalName": "localhost", "ports": [{"name": "http", "port": port}],
    }})
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"name": "http"}}}})
}

fn ingress(name: &str, host: &str, paths: &[Value], annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(name, value)| (format!("nginx.ingress.kubernetes.io/{name}"), json!(value)))
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"rules": [{"host": host, "http": {"paths": paths}}]},
    })
}

/// A Secret with a certificate for a host, and the certificate.
fn certificate(name: &str, host: &str) -> (Value, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
    let data = json!({
        "tls.crt": STANDARD.encode(made.cert.pem()), "tls.key": STANDARD.encode(made.signing_key.serialize_pem()),
    });
    let secret = json!({"metadata": {"name": name}, "type": "kubernetes.io/tls", "data": data});
    (secret, made.cert.der().to_vec())
}

async fn class_exists(client: kube::Client) {
    let classes: Api<IngressClass> = Api::all(client);
    eventually(DEADLINE, async || classes.get_opt("minik").await.expect("an answer").is_some()).await;
}

/// Waits for an answer with this status.
async fn until(address: SocketAddr, host: &str, path: &str, status: u16) -> Answer {
    eventually_some(DEADLINE, async || {
        let answer = ask(address, How::Plain, get(host, path)).await.ok()?;
        (answer.status == status).then_some(answer)
    })
    .await
}

async fn messages(client: kube::Client, about: &str) -> Vec<String> {
    let events: Api<Event> = Api::default_namespaced(client);
    let about = ListParams::default().fields(&format!("involvedObject.name={about}"));
    let list = events.list(&about).await.expect("a list").items;
    list.into_iter()
        .map(|event| format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_where_ingresses_say() {
    let taken = TcpListener::bind(at(0)).await.expect("a port");
    let taken_port = taken.local_addr().expect("an address").port();
    let (http, https) = (free_port(), free_port());
    let settings = minik::Ingress {
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
        http_ports: vec![taken_port, http],
        https_ports: vec![https],
    };
    let cluster = Cluster::builder().nodes(0).ingress(Some(settings)).start().await.expect("it starts");
    tests::workloads::ready(&cluster, 0).await;
    class_exists(cluster.client()).await;
    assert!(TcpStream::connect(at(http)).await.is_err(), "nothing listens before there is an Ingress");

    for (name, port) in [("one", backend::start("one").await), ("two", backend::start("two").await)] {
        create::<Service>(&cluster, outside(name, port)).await;
    }
    create::<Service>(&cluster, outside("dead", free_port())).await;
    let nobody = json!({"metadata": {"name": "nobody"}, "spec": {
        "selector": {"app": "nobody"}, "ports": [{"name": "http", "port": 80}]}});
    create::<Service>(&cluster, nobody).await;
    let (secret, certified) = certificate("tls", "secure.test");
    create::<Secret>(&cluster, secret).await;

    let plain = [
        path("/", "Prefix", "one"),
        path("/two", "Prefix", "two"),
        path("/dead", "Exact", "dead"),
        path("/nobody", "Exact", "nobody"),
    ];
    let created: Ingress =
        create(&cluster, ingress("plain", "plain.test", &plain, &[("auth-url", "x")])).await;
    assert_eq!(
        created.spec.and_then(|spec| spec.ingress_class_name).as_deref(),
        Some("minik"),
        "the default class"
    );
    let mut secure = ingress("secure", "secure.test", &[path("/", "Prefix", "one")], &[]);
    secure["spec"]["tls"] = json!([
        {"hosts": ["secure.test"], "secretName": "tls"}, {"hosts": ["*.other.test"], "secretName": "none"},
    ]);
    create::<Ingress>(&cluster, secure).await;
    let rewriting = [("rewrite-target", "/$2"), ("proxy-body-size", "1k")];
    let rewritten = [path("/app(/|$)(.*)", "ImplementationSpecific", "one")];
    create::<Ingress>(&cluster, ingress("rewritten", "rewritten.test", &rewritten, &rewriting)).await;
    let hasty = [("proxy-read-timeout", "1")];
    create::<Ingress>(&cluster, ingress("hasty", "hasty.test", &[path("/", "Prefix", "one")], &hasty)).await;
    let grpc = [("backend-protocol", "GRPC")];
    create::<Ingress>(&cluster, ingress("grpc", "grpc.test", &[path("/", "Prefix", "two")], &grpc)).await;

    // Hosts, paths, and what backends are told.
    let said = until(at(http), "plain.test", "/x?y=1", 200).await;
    assert_eq!(said.headers["x-from"], "backend");
    let said = said.json();
    assert_eq!((&said["name"], &said["path"]), (&json!("one"), &json!("/x?y=1")));
    assert_eq!(said["headers"]["host"], "plain.test");
    assert_eq!(said["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(said["headers"]["x-forwarded-proto"], "http");
    for (host, path, status) in [
        ("plain.test", "/two/x", 200),
        ("unknown.test", "/", 404),
        ("plain.test", "/dead", 502),
        ("plain.test", "/nobody", 503),
        ("rewritten.test", "/other", 404),
    ] {
        until(at(http), host, path, status).await;
    }
    let two = ask(at(http), How::Plain, get("PLAIN.test:8080", "/two")).await.expect("an answer");
    assert_eq!(two.json()["name"], "two");

    // Rewriting, limits, silence.
    let said = until(at(http), "rewritten.test", "/app/a/b?c", 200).await;
    assert_eq!(said.json()["path"], "/a/b?c");
    until(at(http), "hasty.test", "/silent", 504).await;
    for (body, status) in
        [(full(vec![0; 1024]), 200), (full(vec![0; 1025]), 413), (streamed(vec![0; 2000].into()), 413)]
    {
        let answer =
            ask(at(http), How::Plain, post("rewritten.test", "/app", body)).await.expect("an answer");
        assert_eq!(answer.status, status);
    }
    let large = Bytes::from(vec![7; 8 << 20]);
    let answer =
        ask(at(http), How::Plain, post("plain.test", "/", streamed(large))).await.expect("an answer");
    assert_eq!(answer.json()["bytes"], 8 << 20);

    // TLS by name, HTTP/2 at the front and at the back.
    let redirected = until(at(http), "secure.test", "/x", 308).await;
    assert_eq!(redirected.headers["location"], format!("https://secure.test:{https}/x"));
    let safe = ask(at(https), How::Tls("secure.test"), get("secure.test", "/")).await.expect("an answer");
    assert_eq!((safe.status.as_u16(), safe.certificate.as_ref()), (200, Some(&certified)));
    assert_eq!(safe.json()["headers"]["x-forwarded-proto"], "https");
    let other = ask(at(https), How::Tls("x.other.test"), get("plain.test", "/")).await.expect("an answer");
    assert!(other.status == 200 && other.certificate != Some(certified), "the default certificate");
    let request = absolute("https", "secure.test", "/h2");
    let h2 = ask(at(https), How::TlsHttp2("secure.test"), request).await.expect("an answer").json();
    assert_eq!((&h2["path"], &h2["version"]), (&json!("/h2"), &json!("HTTP/1.1")));
    assert_eq!(h2["headers"]["host"], "secure.test");
    let request = absolute("http", "grpc.test", "/trailers");
    let grpc = ask(at(http), How::Http2, request).await.expect("an answer");
    assert_eq!(
        (&grpc.json()["version"], &grpc.trailers["grpc-status"]),
        (&json!("HTTP/2.0"), &"0".parse().expect("a value"))
    );

    // A connection that becomes another protocol.
    let mut stream = TcpStream::connect(at(http)).await.expect("connected");
    let upgrade = "GET /ws HTTP/1.1\r\nhost: plain.test\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"ping").await.expect("sent");
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.expect("an echo");
    assert_eq!(&echoed, b"ping");
    drop(stream);

    // What the user is told.
    let ingresses: Api<Ingress> = Api::default_namespaced(cluster.client());
    let address = eventually_some(DEADLINE, async || {
        let status = ingresses.get("plain").await.expect("it is there").status?;
        status.load_balancer?.ingress?.first()?.ip.clone()
    });
    assert_eq!(address.await, kubelet::machine_address().to_string());
    let told = |about: &'static str, part: String| {
        let client = cluster.client();
        async move {
            eventually(DEADLINE, async || {
                messages(client.clone(), about).await.iter().any(|message| message.contains(&part))
            })
            .await;
        }
    };
    told("plain", "AnnotationIgnored: nginx.ingress.kubernetes.io/auth-url: not supported".into()).await;
    told("plain", format!("PortNotAvailable: cannot listen on 127.0.0.1:{taken_port}: ")).await;
    told("plain", format!("HTTP is served at port {http}")).await;
    told("secure", "CertificateUnusable: secret default/none of type kubernetes.io/tls not found".into())
        .await;

    // The last one shuts the door.
    for name in ["plain", "secure", "rewritten", "hasty", "grpc"] {
        ingresses.delete(name, &DeleteParams::default()).await.expect("deleted");
    }
    eventually(DEADLINE, async || TcpStream::connect(at(http)).await.is_err()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_answer_through_the_ingress_while_they_come_and_go() {
    let (http, https) = (free_port(), free_port());
    let addresses = vec![Ipv4Addr::LOCALHOST.into(), kubelet::machine_address()];
    let settings = minik::Ingress { addresses, http_ports: vec![http], https_ports: vec![https] };
    let cluster = DockerCluster::start_with("ingress", settings).await;
    class_exists(cluster.client()).await;
    let text = "mkdir /tmp/w; hostname > /tmp/w/index.html; httpd -p 8080 -h /tmp/w; trap 'sleep 2; exit' TERM; while :; do sleep 0.1; done";
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    let web = |name: &str| {
        let mut pod = script(name, text, json!({"terminationGracePeriodSeconds": 10}), probe.clone());
        pod["metadata"]["labels"] = json!({"app": "web"});
        pod
    };
    for name in ["web-1", "web-2"] {
        cluster.create(web(name)).await;
    }
    cluster
        .create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}))
        .await;
    cluster.create(ingress("web", "web.test", &[path("/", "Prefix", "web")], &[])).await;
    for name in ["web-1", "web-2"] {
        eventually(DEADLINE, async || {
            let answer = ask(at(http), How::Plain, get("web.test", "/")).await;
            answer.is_ok_and(|answer| answer.status == 200 && answer.text().trim() == name)
        })
        .await;
    }
    let node = SocketAddr::new(kubelet::machine_address(), http);
    assert_eq!(until(node, "web.test", "/", 200).await.headers["content-type"], "text/html");

    // One pod goes while requests come in: none of them is lost.
    cluster.pods().delete("web-1", &DeleteParams::default()).await.expect("deleted");
    let mut asked = 0;
    while cluster.pods().get_opt("web-1").await.expect("an answer").is_some() {
        let answer = ask(at(http), How::Plain, get("web.test", "/")).await.expect("an answer");
        assert_eq!(answer.status, 200, "{asked}: {}", answer.text());
        asked += 1;
    }
    assert!(asked > 0);
    assert_eq!(until(at(http), "web.test", "/", 200).await.text().trim(), "web-2");
    cluster.pods().delete("web-2", &DeleteParams::default()).await.expect("deleted");
    until(at(http), "web.test", "/", 503).await;
}
