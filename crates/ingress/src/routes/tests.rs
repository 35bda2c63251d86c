//! Which request goes where.

use super::*;
use serde_json::{Value, from_value, json};

fn ingress(name: &str, spec: Value, annotations: Value) -> Arc<Ingress> {
    let metadata = json!({"namespace": "n", "name": name, "annotations": annotations});
    Arc::new(from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn backend(service: &str) -> Value {
    json!({"service": {"name": service, "port": {"number": 80}}})
}

/// Rules of one host: path type, path, service.
fn rule(host: &str, paths: &[(&str, &str, &str)]) -> Value {
    let path = |(kind, path, service): &(&str, &str, &str)| {
        let kind = match *kind {
            "=" => "Exact",
            "/" => "Prefix",
            _ => "ImplementationSpecific",
        };
        json!({"pathType": kind, "path": path, "backend": backend(service)})
    };
    let paths: Vec<Value> = paths.iter().map(path).collect();
    let mut rule = json!({"http": {"paths": paths}});
    if !host.is_empty() {
        rule["host"] = host.into();
    }
    rule
}

fn build(ingresses: Vec<Arc<Ingress>>) -> (Table, Vec<Complaint>) {
    table(ingresses, &mut |_| Arc::default())
}

/// The service that a request goes to, and the path that it sees.
fn led(table: &Table, host: &str, path: &str) -> String {
    match table.find(host, path) {
        None => "-".to_owned(),
        Some((target, None)) => target.backend.service.name.clone(),
        Some((target, Some(path))) => format!("{} {path}", target.backend.service.name),
    }
}

#[test]
fn hosts_and_paths_lead_to_services() {
    let spec = json!({"rules": [
        rule("a.example", &[("/", "/", "root"), ("/", "/foo", "foo"), ("=", "/foo", "exact"), ("/", "/foo/bar/", "deep")]),
        rule("*.example", &[("", "/wild", "wild")]),
        rule("", &[("=", "/only", "only"), ("", "", "all")]),
    ]});
    let strict = json!({"rules": [rule("strict.example", &[("=", "/x", "x")])]});
    let (table, complaints) = build(vec![ingress("i", spec, json!({})), ingress("j", strict, json!({}))]);
    assert_eq!(complaints, []);
    for (host, path, expected) in [
        ("a.example", "/", "root"),
        ("a.example", "/other", "root"),
        ("a.example", "/foo", "exact"),
        ("a.example", "/foo/", "foo"),
        ("a.example", "/foo/x", "foo"),
        ("a.example", "/foobar", "root"),
        ("a.example", "/foo/bar", "deep"),
        ("a.example", "/foo/bar/x", "deep"),
        ("a.example", "/foo/barbaz", "foo"),
        ("a.example", "/Foo", "root"),
        ("b.example", "/wild", "wild"),
        ("b.example", "/wild/x", "wild"),
        // Who has rules of its own is not led by those of nobody.
        ("b.example", "/", "-"),
        ("strict.example", "/x/", "-"),
        ("strict.example", "/x", "x"),
        // A wildcard is one label.
        ("x.b.example", "/wild", "all"),
        ("example", "/", "all"),
        ("", "/only", "only"),
        ("10.0.0.1", "/only/x", "all"),
    ] {
        assert_eq!(led(&table, host, path), expected, "{host}{path}");
    }
}

#[test]
fn older_ingresses_and_default_backends_have_their_places() {
    let at = |name: &str, second: &str, spec: Value| {
        let mut one = (*ingress(name, spec, json!({}))).clone();
        let time = json!(format!("2026-01-01T00:00:{second}Z"));
        one.metadata.creation_timestamp = Some(from_value(time).unwrap());
        Arc::new(one)
    };
    let same = |service: &str| json!({"rules": [rule("a.example", &[("/", "/x", service)])]});
    let with_default =
        json!({"defaultBackend": backend("own"), "rules": [rule("a.example", &[("/", "/y", "y")])]});
    let (table, _) = build(vec![
        at("a", "02", same("young")),
        at("z", "01", same("old")),
        at("d", "03", with_default),
        at("e", "04", json!({"defaultBackend": backend("everywhere")})),
    ]);
    for (host, path, expected) in [
        ("a.example", "/x", "old"),
        ("a.example", "/y", "y"),
        ("a.example", "/z", "own"),
        ("b.example", "/z", "everywhere"),
    ] {
        assert_eq!(led(&table, host, path), expected, "{host}{path}");
    }
}

#[test]
fn paths_are_rewritten_as_annotations_say() {
    let rewritten = |target: &str, paths: &[(&str, &str, &str)]| {
        let annotations = json!({"nginx.ingress.kubernetes.io/rewrite-target": target});
        build(vec![ingress("i", json!({"rules": [rule("", paths)]}), annotations)])
    };
    let (table, complaints) =
        rewritten("/$2", &[("", "/something(/|$)(.*)", "s"), ("", "/bad(", "bad"), ("/", "/plain.x", "p")]);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert_eq!(complaints[0].reason, "InvalidPath");
    for (path, expected) in [
        ("/something", "s /"),
        ("/something/", "s /"),
        ("/something/new/x", "s /new/x"),
        ("/SOMETHING/x", "s /x"),
        ("/somethingelse", "-"),
        ("/a/something/x", "-"),
        ("/plain.x/y", "p /"),
        ("/plainzx", "-"),
    ] {
        assert_eq!(led(&table, "h", path), expected, "{path}");
    }
    // All of the path, as nginx does.
    let (table, _) = rewritten("/", &[("/", "/app", "app")]);
    assert_eq!(led(&table, "h", "/app/page"), "app /");

    // Without an annotation it is a text.
    let (table, _) =
        build(vec![ingress("i", json!({"rules": [rule("", &[("", "/a(.*)", "s")])]}), json!({}))]);
    assert_eq!((led(&table, "h", "/a(.*)"), led(&table, "h", "/abc")), ("s".into(), "-".into()));
}

#[test]
fn what_is_not_followed_is_told() {
    let spec = json!({
        "tls": [{"hosts": ["*.example"], "secretName": "s"}],
        "rules": [
            {"host": "a.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
                "resource": {"kind": "Bucket", "name": "b"}}}]}},
            rule("b.example", &[("/", "/", "b")]),
            rule("b.other", &[("/", "/", "b")]),
        ],
    });
    let annotations = json!({"nginx.ingress.kubernetes.io/auth-url": "x"});
    let (table, complaints) = build(vec![ingress("i", spec, annotations)]);
    let reasons: Vec<&str> = complaints.iter().map(|complaint| complaint.reason).collect();
    assert_eq!(reasons, ["AnnotationIgnored", "BackendIgnored"]);
    assert_eq!(led(&table, "a.example", "/"), "-");
    let secure = |host| table.find(host, "/").map(|(target, _)| target.secure);
    assert_eq!((secure("b.example"), secure("b.other")), (Some(true), Some(false)));
}
