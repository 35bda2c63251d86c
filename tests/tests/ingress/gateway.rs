//! The Gateway API on the same router: real HTTP and TLS by Gateways and HTTPRoutes, and what their statuses say.

use super::*;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;

const GROUP: &str = "gateway.networking.k8s.io";

fn api(cluster: &Cluster, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let version = if kind == "ReferenceGrant" { "v1beta1" } else { "v1" };
    // The plural that kube makes of these names is theirs.
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &resource),
        None => Api::all_with(cluster.client(), &resource),
    }
}

async fn make(cluster: &Cluster, kind: &str, name: &str, spec: Value) {
    let object = json!({"metadata": {"name": name}, "spec": spec});
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    let made = api(cluster, kind, Some("default")).create(&PostParams::default(), &object).await;
    made.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
}

/// The reasons of conditions by their type, once they are as expected.
async fn said(cluster: &Cluster, kind: &str, name: &str, at: &str, expected: &[(&str, &str, &str)]) {
    let api = api(cluster, kind, (kind != "GatewayClass").then_some("default"));
    let mut last = Value::Null;
    let found = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Some(object) = api.get_opt(name).await.expect("an answer") {
                last = object.data["status"].pointer(at).cloned().unwrap_or_default();
                let has = |(kind, status, reason): &(&str, &str, &str)| {
                    let all = last.as_array().into_iter().flatten();
                    all.into_iter().any(|one| {
                        one["type"] == *kind && one["status"] == *status && one["reason"] == *reason
                    })
                };
                if expected.iter().all(has) {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(found.await.is_ok(), "{kind} {name} {at}: {last}, expected {expected:?}");
}

fn listener(name: &str, port: u16, more: Value) -> Value {
    let mut listener = json!({"name": name, "port": port, "protocol": "HTTP"});
    more.as_object().into_iter().flatten().for_each(|(key, value)| listener[key] = value.clone());
    listener
}

fn backend(service: &str, port: u16, weight: u32) -> Value {
    json!({"name": service, "port": port, "weight": weight})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_where_routes_of_gateways_say() {
    let settings = minik::Ingress {
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
        http_ports: vec![free_port()],
        https_ports: vec![free_port()],
    };
    let builder = Cluster::builder().nodes(0).ingress(Some(settings)).gateway_api(true);
    let cluster = builder.start().await.expect("it starts");
    tests::workloads::ready(&cluster, 0).await;
    said(&cluster, "GatewayClass", "minik", "/conditions", &[("Accepted", "True", "Accepted")]).await;

    let (one, two) = (super::backend::start("one").await, super::backend::start("two").await);
    for (name, port) in [("one", one), ("two", two)] {
        create::<Service>(&cluster, outside(name, port)).await;
    }
    let (secret, certified) = certificate("tls", "secure.test");
    create::<Secret>(&cluster, secret).await;
    let taken = TcpListener::bind(at(0)).await.expect("a port");
    let taken_port = taken.local_addr().expect("an address").port();
    let (http, https) = (free_port(), free_port());
    let tls =
        json!({"protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "tls"}]}, "hostname": "*.test"});
    let listeners = json!([
        listener("http", http, json!({})),
        listener("https", https, tls),
        listener("taken", taken_port, json!({})),
        listener("udp", 5353, json!({"protocol": "UDP"})),
    ]);
    make(&cluster, "Gateway", "main", json!({"gatewayClassName": "minik", "listeners": listeners})).await;
    said(
        &cluster,
        "Gateway",
        "main",
        "/conditions",
        &[("Accepted", "True", "ListenersNotValid"), ("Programmed", "True", "Programmed")],
    )
    .await;
    for (index, expected) in [
        (0, ("Programmed", "True", "Programmed")),
        (1, ("ResolvedRefs", "True", "ResolvedRefs")),
        (2, ("Accepted", "False", "PortUnavailable")),
        (3, ("Accepted", "False", "UnsupportedProtocol")),
    ] {
        said(&cluster, "Gateway", "main", &format!("/listeners/{index}/conditions"), &[expected]).await;
    }

    let prefix = |path: &str| json!({"path": {"type": "PathPrefix", "value": path}});
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "port": https, "statusCode": 301}});
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {
        "hostname": "inside.test", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}});
    let headers = |kind: &str, field: &str, changes: Value| json!({"type": kind, field: changes});
    let asked = headers(
        "RequestHeaderModifier",
        "requestHeaderModifier",
        json!({"set": [{"name": "x-set", "value": "1"}], "remove": ["x-gone"]}),
    );
    let told = headers(
        "ResponseHeaderModifier",
        "responseHeaderModifier",
        json!({"add": [{"name": "x-told", "value": "2"}], "remove": ["x-from"]}),
    );
    let rules = json!([
        {"matches": [prefix("/")], "backendRefs": [backend("one", one, 1)]},
        {"matches": [prefix("/two")], "backendRefs": [backend("two", two, 1)]},
        {"matches": [{"headers": [{"name": "x-to", "value": "two"}]}], "backendRefs": [backend("two", two, 1)]},
        {"matches": [{"queryParams": [{"name": "to", "value": "two"}]}], "backendRefs": [backend("two", two, 1)]},
        {"matches": [{"method": "POST"}], "backendRefs": [backend("two", two, 1)]},
        {"matches": [prefix("/moved")], "filters": [redirect]},
        {"matches": [prefix("/old")], "filters": [rewrite, asked, told], "backendRefs": [backend("one", one, 1)]},
        {"matches": [prefix("/half")], "backendRefs": [backend("one", one, 1), backend("two", two, 1)]},
        {"matches": [prefix("/never")], "backendRefs": [backend("one", one, 0), backend("two", two, 3)]},
        {"matches": [prefix("/slow")], "timeouts": {"request": "1s"}, "backendRefs": [backend("one", one, 1)],
            "filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/silent"}}}]},
    ]);
    let parent = json!([{"name": "main"}]);
    make(
        &cluster,
        "HTTPRoute",
        "main",
        json!({"parentRefs": parent, "hostnames": ["a.test"], "rules": rules}),
    )
    .await;
    let fine = [("Accepted", "True", "Accepted"), ("ResolvedRefs", "True", "ResolvedRefs")];
    said(&cluster, "HTTPRoute", "main", "/parents/0/conditions", &fine).await;

    // Where requests go.
    until(at(http), "a.test", "/", 200).await;
    let name = async |request: Request<Body>| {
        let answer = ask(at(http), How::Plain, request).await.expect("an answer");
        answer.json()["name"].as_str().unwrap_or_default().to_owned()
    };
    let with = |name: &str, value: &str| {
        Request::get("/").header("host", "a.test").header(name, value).body(empty()).expect("a request")
    };
    assert_eq!(name(get("a.test", "/x")).await, "one");
    assert_eq!(name(get("a.test", "/two/x")).await, "two");
    assert_eq!(name(get("a.test", "/twofold")).await, "one");
    assert_eq!(name(with("x-to", "two")).await, "two");
    assert_eq!(name(with("x-to", "three")).await, "one");
    assert_eq!(name(get("a.test", "/?to=two")).await, "two");
    assert_eq!(name(post("a.test", "/", full(vec![1]))).await, "two");
    assert_eq!(name(get("a.test", "/never")).await, "two");
    let halves = std::sync::Mutex::new(std::collections::BTreeSet::new());
    eventually(DEADLINE, async || {
        let answered = name(get("a.test", "/half")).await;
        let mut halves = halves.lock().expect("nobody panicked");
        halves.insert(answered);
        halves.len() == 2
    })
    .await;
    until(at(http), "b.test", "/", 404).await;

    // What filters make of them.
    let moved = ask(at(http), How::Plain, get("a.test", "/moved/x?y")).await.expect("an answer");
    assert_eq!(
        (moved.status.as_u16(), &moved.headers["location"]),
        (301, &format!("https://a.test:{https}/moved/x?y").parse().expect("a value"))
    );
    let mut request = get("a.test", "/old/x?y");
    request.headers_mut().insert("x-gone", "1".parse().expect("a value"));
    let rewritten = ask(at(http), How::Plain, request).await.expect("an answer");
    assert_eq!(rewritten.headers["x-told"], "2");
    assert!(!rewritten.headers.contains_key("x-from"));
    let seen = rewritten.json();
    assert_eq!((&seen["path"], &seen["headers"]["host"]), (&json!("/new/x?y"), &json!("inside.test")));
    assert_eq!((&seen["headers"]["x-set"], &seen["headers"]["x-gone"]), (&json!("1"), &Value::Null));
    until(at(http), "a.test", "/slow", 504).await;

    // TLS with the listener's certificate.
    let safe = ask(at(https), How::Tls("a.test"), get("a.test", "/")).await.expect("an answer");
    assert_eq!((safe.status.as_u16(), safe.certificate.as_ref()), (200, Some(&certified)));

    // What is wrong is said, and comes right when its cause goes.
    let foreign = json!([{"backendRefs": [{"name": "missing", "namespace": "kube-system", "port": 80}]}]);
    make(
        &cluster,
        "HTTPRoute",
        "foreign",
        json!({"parentRefs": parent, "hostnames": ["c.test"], "rules": foreign}),
    )
    .await;
    said(
        &cluster,
        "HTTPRoute",
        "foreign",
        "/parents/0/conditions",
        &[("ResolvedRefs", "False", "RefNotPermitted")],
    )
    .await;
    until(at(http), "c.test", "/", 500).await;
    let grant = json!({"metadata": {"name": "all"}, "spec": {
        "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "default"}], "to": [{"group": "", "kind": "Service"}]}});
    let grants = api(&cluster, "ReferenceGrant", Some("kube-system"));
    grants
        .create(&PostParams::default(), &serde_json::from_value(grant).expect("an object"))
        .await
        .expect("created");
    said(
        &cluster,
        "HTTPRoute",
        "foreign",
        "/parents/0/conditions",
        &[("ResolvedRefs", "False", "BackendNotFound")],
    )
    .await;
    let wrong = json!([{"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "one", "port": one}}}]}]);
    make(&cluster, "HTTPRoute", "mirror", json!({"parentRefs": parent, "rules": wrong})).await;
    said(
        &cluster,
        "HTTPRoute",
        "mirror",
        "/parents/0/conditions",
        &[("Accepted", "False", "UnsupportedValue")],
    )
    .await;
    drop(taken);
    said(&cluster, "Gateway", "main", "/listeners/2/conditions", &[("Programmed", "True", "Programmed")])
        .await;
    let gateways = api(&cluster, "Gateway", Some("default"));
    let status = gateways.get("main").await.expect("it is there").data["status"].clone();
    assert_eq!(status["listeners"][0]["attachedRoutes"], 2);
    assert_eq!(status["addresses"][0]["value"], json!(kubelet::machine_address()));

    // A route that changes is followed; a Gateway that goes shuts its doors.
    let routes = api(&cluster, "HTTPRoute", Some("default"));
    let patch = Patch::Merge(json!({"spec": {"hostnames": ["d.test"]}}));
    routes.patch("main", &PatchParams::default(), &patch).await.expect("patched");
    until(at(http), "d.test", "/", 200).await;
    until(at(http), "a.test", "/", 404).await;
    gateways.delete("main", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || TcpStream::connect(at(http)).await.is_err()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_refuse_what_upstream_refuses() {
    let cluster = Cluster::builder().nodes(0).gateway_api(true).start().await.expect("it starts");
    tests::workloads::ready(&cluster, 0).await;
    let gateways = api(&cluster, "Gateway", Some("default"));
    eventually(DEADLINE, async || gateways.list(&ListParams::default()).await.is_ok()).await;
    let routes = api(&cluster, "HTTPRoute", Some("default"));
    eventually(DEADLINE, async || routes.list(&ListParams::default()).await.is_ok()).await;
    let tls = json!({"tls": {"certificateRefs": [{"name": "tls"}]}});
    for (kind, spec, expected) in [
        ("Gateway", json!({"gatewayClassName": "minik", "listeners": []}), "spec.listeners"),
        (
            "Gateway",
            json!({"gatewayClassName": "minik", "listeners": [listener("a", 80, tls)]}),
            "tls must not be specified for protocols",
        ),
        (
            "Gateway",
            json!({"gatewayClassName": "minik", "listeners": [listener("a", 80, json!({})), listener("b", 80, json!({}))]}),
            "Combination of port, protocol and hostname must be unique",
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"matches": [{"path": {"type": "Exact", "value": "x"}}]}]}),
            "value must be an absolute path",
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"filters": [{"type": "URLRewrite"}]}]}),
            "filter.urlRewrite must be specified for URLRewrite filter.type",
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"backendRefs": [{"name": "web"}]}]}),
            "Must have port for Service reference",
        ),
    ] {
        let object = json!({"metadata": {"name": "wrong"}, "spec": spec});
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let api = if kind == "Gateway" { &gateways } else { &routes };
        let refused = api.create(&PostParams::default(), &object).await.expect_err("refused").to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    // Defaults are upstream's.
    make(&cluster, "HTTPRoute", "bare", json!({"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}))
        .await;
    let rule = routes.get("bare").await.expect("it is there").data["spec"]["rules"][0].clone();
    assert_eq!(rule["matches"], json!([{"path": {"type": "PathPrefix", "value": "/"}}]));
    assert_eq!(
        rule["backendRefs"][0],
        json!({"group": "", "kind": "Service", "name": "web", "port": 80, "weight": 1})
    );
    cluster.stop().await;
}
