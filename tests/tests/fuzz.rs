//! Damaged requests to a whole server: bodies in every form, patches, selectors, continue tokens.
//!
//! **Contract**: whatever is sent is answered within seconds, never by an internal error (which is how a panic leaves),
//! and the process does not grow. `FUZZ_SECONDS` is how long each decoder is tried (2 by default), `FUZZ_SEED` begins
//! another sequence; a failure prints the request, and the seed gives it again.
//! **Not here**: the decoders of streams, which `crates/streaming` tries by themselves.

#![allow(clippy::print_stdout)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request};
use kube::client::Body;
use minik::Cluster;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use tests::kinds::{Kind, served};
use tokio::time::Instant;

/// The longest time for an answer, on a slow and busy machine.
const ANSWER: Duration = Duration::from_secs(20);
/// How much the process may grow while one decoder is tried.
const GROWTH_MIB: u64 = 512;
/// A URI has at most 64 KiB, in our client too.
const LONGEST_QUERY: usize = 20_000;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Pieces that mean something to one of the decoders.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"0.1",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xf0\x9f\x98\x80",
    b"\0",
    b"\n",
    b"  ",
    b"- ",
    b"---\n",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!binary ",
    b"|",
    b"? ",
    b"k8s\0",
    b"\x0a\x00",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\x0f",
    b"$patch",
    b"$retainKeys",
    b"$deleteFromPrimitiveList/finalizers",
    b"$setElementOrder/containers",
    b"/-",
    b"~1",
    b"~0",
    b"f:",
    b"k:{\"name\":\"a\"}",
    b"v:1",
    b"metadata",
    b"managedFields",
    b"fieldsV1",
    b"spec",
    b"apiVersion",
    b"kind",
    b"in (",
    b"notin",
    b"!",
    b"==",
    b"=",
    b"!=",
    b">",
    b"%00",
    b"%zz",
    b"&limit=-1",
    b"&watch=true&timeoutSeconds=0",
    b"&resourceVersion=0",
];

/// A request to damage: what is damaged is its body or, where there is none, what follows `?`.
#[derive(Clone)]
struct Seed {
    method: Method,
    path: String,
    content: &'static str,
    bytes: Vec<u8>,
}

struct Fuzz {
    cluster: Cluster,
    client: kube::Client,
    rng: StdRng,
    seed: u64,
    span: Duration,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number: {text}")))
}

impl Fuzz {
    async fn start() -> Self {
        let cluster = Cluster::builder().nodes(0).start().await.expect("it starts");
        tests::settled(&cluster.client()).await;
        let seed = number("FUZZ_SEED", 1);
        Self {
            client: cluster.client(),
            cluster,
            rng: StdRng::seed_from_u64(seed),
            seed,
            span: Duration::from_secs(number("FUZZ_SECONDS", 2)),
        }
    }

    async fn kinds(&self) -> Vec<Kind> {
        served(&self.client).await.into_iter().filter(|kind| kind.has("list") && kind.has("create")).collect()
    }

    /// Damages the seeds for the time given; the codes of the answers must show that both sides of the decoder were seen.
    async fn run(mut self, what: &str, seeds: &[Seed]) {
        for seed in seeds {
            let code = self.send(seed).await;
            assert!(code < 500, "{what}: the seed itself: {} {} gives {code}", seed.method, seed.path);
        }
        let before = resident_mib();
        let end = Instant::now() + self.span;
        let (mut sent, mut taken, mut refused) = (0_u64, 0_u64, 0_u64);
        while Instant::now() < end {
            let mut seed = seeds[self.rng.random_range(0..seeds.len())].clone();
            let other = &seeds[self.rng.random_range(0..seeds.len())].bytes;
            for _ in 0..self.rng.random_range(1..=4) {
                damage(&mut self.rng, &mut seed.bytes, other);
            }
            let code = self.send(&seed).await;
            sent += 1;
            match code {
                200..=299 => taken += 1,
                _ => refused += 1,
            }
            if sent % 256 == 0 {
                let grown = resident_mib().saturating_sub(before);
                assert!(
                    grown < GROWTH_MIB,
                    "{what}: grown by {grown} MiB after {sent} requests, seed {}",
                    self.seed
                );
            }
        }
        println!("{what}: {sent} requests, {taken} taken, {refused} refused");
        assert!(refused > 0, "{what}: nothing was refused");
        self.cluster.stop().await;
    }

    /// The code of the answer, which is read to its end.
    async fn send(&self, seed: &Seed) -> u16 {
        let Seed { method, path, content, bytes } = seed;
        let (path, body) = match method {
            &Method::GET => {
                (format!("{path}?{}", encoded(&bytes[..bytes.len().min(LONGEST_QUERY)])), Vec::new())
            }
            _ => (path.clone(), bytes.clone()),
        };
        let request = Request::builder().method(method).uri(&path).header("content-type", *content);
        let request = request.body(Body::from(body)).expect("a request");
        let answered = tokio::time::timeout(ANSWER, async {
            let answer = self.client.send(request).await.map_err(|error| format!("{error}"))?;
            let code = answer.status().as_u16();
            if code == 200 && path.contains("watch") {
                return Ok(code); // a watch, which may have no end
            }
            let body = answer.into_body().collect_bytes().await.map_err(|error| format!("{error}"))?;
            // What apply cannot make sense of is a 500 as well, upstream's, without a reason.
            let said = String::from_utf8_lossy(&body);
            match code {
                500 if said.contains("InternalError") => Err(said.into_owned()),
                code => Ok(code),
            }
        });
        match answered.await {
            Ok(Ok(code)) => code,
            Ok(Err(said)) => panic!("{said}\nseed {}: {}", self.seed, shown(seed)),
            Err(_) => panic!("no answer within {ANSWER:?}\nseed {}: {}", self.seed, shown(seed)),
        }
    }
}

fn shown(seed: &Seed) -> String {
    format!("{} {} {} {:?}", seed.method, seed.path, seed.content, String::from_utf8_lossy(&seed.bytes))
}

/// What a query may hold of it: the rest as `%XX`, which the server has to decode.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"=&-_.~!,()%/".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn damage(rng: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.random_range(0..=bytes.len());
    let end = (at + rng.random_range(0..=32)).min(bytes.len());
    match rng.random_range(0..8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        4 => bytes.truncate(at),
        5 => {
            let from = rng.random_range(0..=other.len());
            let to = rng.random_range(from..=other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        // Deep or long, but seldom: such requests cost more than others.
        6 if rng.random_range(0..64) == 0 => {
            let token = TOKENS[rng.random_range(0..TOKENS.len())];
            let many = token.repeat(rng.random_range(1..20_000));
            bytes.splice(at..at, many);
        }
        _ => {
            let token = TOKENS[rng.random_range(0..TOKENS.len())];
            bytes.splice(at..end, token.iter().copied());
        }
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") / 1024
}

fn seed(method: Method, path: impl Into<String>, content: &'static str, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { method, path: path.into(), content, bytes: bytes.into() }
}

/// A POST of an object of every kind, as dry run: nothing is left for the next.
fn posts(kinds: &[Kind], content: &'static str, encode: impl Fn(&Value) -> Vec<u8>) -> Vec<Seed> {
    let objects = kinds.iter().map(|kind| (kind, kind.object("fuzz", "default", &json!({"app": "fuzz"}), 7)));
    objects
        .map(|(kind, object)| {
            let path = format!("{}?dryRun=All", kind.path(Some("default")));
            seed(Method::POST, path, content, encode(&object))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json() {
    let fuzz = Fuzz::start().await;
    let seeds = posts(&fuzz.kinds().await, "application/json", |object| object.to_string().into());
    fuzz.run("JSON", &seeds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yaml() {
    let fuzz = Fuzz::start().await;
    // JSON is YAML; blocks are what differs.
    let block = |object: &Value| {
        let mut text = String::new();
        yaml_block(&mut text, object, 0);
        text.into_bytes()
    };
    let seeds = posts(&fuzz.kinds().await, "application/yaml", block);
    fuzz.run("YAML", &seeds).await;
}

fn yaml_block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let _ = write!(out, "\n{:indent$}{}:", "", Value::from(name.as_str()));
                yaml_block(out, value, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "\n{:indent$}-", "");
                yaml_block(out, item, indent + 2);
            }
        }
        plain => {
            let _ = write!(out, " {plain}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf() {
    let fuzz = Fuzz::start().await;
    // Custom resources' own kinds are JSON for every client.
    let kinds: Vec<_> = fuzz.kinds().await.into_iter().filter(|kind| !kind.group.contains("x-k8s")).collect();
    let seeds = posts(&kinds, "application/vnd.kubernetes.protobuf", |object| {
        api::protobuf::object_bytes(object).unwrap_or_else(|error| panic!("{}: {error}", object["kind"]))
    });
    fuzz.run("protobuf", &seeds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches() {
    let fuzz = Fuzz::start().await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["example.com/f"]},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "E", "value": "v"}]}],
        },
    });
    assert!(
        fuzz.send(&seed(Method::POST, PODS, "application/json", pod.to_string())).await < 300,
        "a pod to patch"
    );
    let path = format!("{PODS}/p?dryRun=All");
    let labels = json!({"metadata": {"labels": {"a": null, "c": "d"}}});
    let strategic = json!({
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/f"], "labels": {"x": "y"}},
        "spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "image": "j", "$retainKeys": ["name", "image"], "env": [{"name": "E", "$patch": "delete"}]}],
        },
    });
    let operations = json!([
        {"op": "test", "path": "/metadata/labels/a", "value": "b"}, {"op": "add", "path": "/metadata/labels/x~1y", "value": "z"},
        {"op": "replace", "path": "/spec/containers/0/image", "value": "j"}, {"op": "copy", "from": "/metadata/labels/a", "path": "/metadata/labels/c"},
        {"op": "move", "from": "/metadata/labels/c", "path": "/metadata/labels/d"}, {"op": "remove", "path": "/metadata/finalizers/0"},
    ]);
    let applied = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"e": "f"}, "finalizers": ["example.com/f"]},
        "spec": {"containers": [{"name": "a", "image": "j", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]},
    });
    let seeds = [
        seed(Method::PATCH, &path, "application/merge-patch+json", labels.to_string()),
        seed(Method::PATCH, &path, "application/strategic-merge-patch+json", strategic.to_string()),
        seed(Method::PATCH, &path, "application/json-patch+json", operations.to_string()),
        seed(
            Method::PATCH,
            format!("{path}&fieldManager=f&force=true"),
            "application/apply-patch+yaml",
            applied.to_string(),
        ),
    ];
    fuzz.run("patches", &seeds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_and_options() {
    let fuzz = Fuzz::start().await;
    let seeds = [
        "labelSelector=a in (b,c),!d,e notin (f),g!=h,i>1",
        "fieldSelector=metadata.name=x,metadata.namespace!=y",
        "limit=3&resourceVersion=0&resourceVersionMatch=NotOlderThan",
        "sendInitialEvents=true&allowWatchBookmarks=true&watch=1&timeoutSeconds=0",
        "pretty=true&fieldManager=x&fieldValidation=Strict&dryRun=All",
    ]
    .map(|query| seed(Method::GET, MAPS, "application/json", query));
    fuzz.run("selectors and options", &seeds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continue_tokens() {
    let fuzz = Fuzz::start().await;
    for name in ["a", "b", "c"] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        assert!(
            fuzz.send(&seed(Method::POST, MAPS, "application/json", map.to_string())).await < 300,
            "created"
        );
    }
    let request = Request::get(format!("{MAPS}?limit=1")).body(Vec::new()).expect("a request");
    let list: Value = fuzz.client.request(request).await.expect("a list");
    let token = list["metadata"]["continue"].as_str().expect("there is more");
    let inner = URL_SAFE_NO_PAD.decode(token).expect("base64");
    // Damaged as it is sent, and inside of its base64.
    let mut rng = StdRng::seed_from_u64(fuzz.seed);
    let mut seeds = vec![seed(Method::GET, MAPS, "application/json", format!("limit=1&continue={token}"))];
    for _ in 0..200 {
        let mut damaged = inner.clone();
        damage(&mut rng, &mut damaged, b"{\"v\":\"meta.k8s.io/v1\",\"rv\":-1,\"start\":\"default/../x\"}");
        let token = URL_SAFE_NO_PAD.encode(&damaged);
        seeds.push(seed(Method::GET, MAPS, "application/json", format!("limit=1&continue={token}")));
    }
    fuzz.run("continue tokens", &seeds).await;
}

/// A definition with most of what schemas and rules can say, as dry run.
fn definition() -> Value {
    let spec = json!({"type": "object", "required": ["name"], "x-kubernetes-validations": [
            {"rule": "self.name.startsWith('a') || self.ports.all(p, p.number > 0 && p.name != self.name)", "message": "m",
                "messageExpression": "'not ' + self.name", "reason": "FieldValueInvalid", "fieldPath": ".name"},
            {"rule": "!has(oldSelf.name) || self.name == oldSelf.name"},
            {"rule": "self.labels.all(k, self.labels[k].matches('^[a-z]*$')) && quantity(self.size).isGreaterThan(quantity('1'))"}],
        "properties": {
            "name": {"type": "string", "maxLength": 63, "pattern": "^[a-z]+$", "default": "abc"},
            "size": {"type": "string", "enum": ["1", "2Gi"], "nullable": true},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "labels": {"type": "object", "maxProperties": 10, "additionalProperties": {"type": "string", "maxLength": 63}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "inner": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "ports": {"type": "array", "maxItems": 5, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number"],
                "items": {"type": "object", "required": ["number"], "properties": {
                    "number": {"type": "integer", "minimum": 1, "multipleOf": 1.0}, "name": {"type": "string", "maxLength": 10}}}}},
        "allOf": [{"required": ["name"]}], "not": {"required": ["nope"]}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "fuzzes.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"plural": "fuzzes", "singular": "fuzz", "kind": "Fuzz", "shortNames": ["fz"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}},
                "additionalPrinterColumns": [{"name": "Name", "type": "string", "jsonPath": ".spec.ports[?(@.number==1)].name"}],
                "selectableFields": [{"jsonPath": ".spec.name"}]}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_and_rules() {
    let fuzz = Fuzz::start().await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All";
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies?dryRun=All";
    let rule = json!({"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["*"]});
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "fuzz"}, "spec": {"matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [{"name": "c", "expression": "request.userInfo.username != 'a' && !('x' in request.userInfo.groups)"}],
            "variables": [{"name": "v", "expression": "object.metadata.?labels.orValue({})"}],
            "validations": [{"expression": "variables.v.all(k, k.size() < 10) && authorizer.requestResource.check('get').allowed()",
                "messageExpression": "'no ' + object.metadata.name"}],
            "auditAnnotations": [{"key": "k", "valueExpression": "string(object.metadata.generation)"}]}});
    let seeds = [
        seed(Method::POST, definitions, "application/json", definition().to_string()),
        seed(Method::POST, policies, "application/json", policy.to_string()),
    ];
    fuzz.run("schemas and rules", &seeds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_objects_under_rules() {
    let fuzz = Fuzz::start().await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = seed(Method::POST, definitions, "application/json", definition().to_string());
    assert!(fuzz.send(&made).await < 300, "a definition");
    let objects = "/apis/example.org/v1/namespaces/default/fuzzes?dryRun=All";
    let object = json!({"apiVersion": "example.org/v1", "kind": "Fuzz", "metadata": {"name": "f"}, "spec": {
        "name": "abc", "size": "2Gi", "port": "80%", "labels": {"a": "b"}, "free": {"x": [1, {"y": null}]},
        "inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}},
        "ports": [{"number": 1, "name": "x"}, {"number": 2}]}});
    let seeds = [seed(Method::POST, objects, "application/json", object.to_string())];
    testkit::eventually(ANSWER, async || fuzz.send(&seeds[0]).await < 300).await;
    fuzz.run("custom objects", &seeds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_or_too_deep_is_refused() {
    let fuzz = Fuzz::start().await;
    let large = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "l"}, "data": {"k": "x".repeat(4 << 20)}});
    let deep = |open: &str, close: &str| {
        format!(
            "{{\"metadata\":{{\"name\":\"d\"}},\"data\":{}{}}}",
            open.repeat(100_000),
            close.repeat(100_000)
        )
    };
    for (content, body, code) in [
        ("application/json", large.to_string(), 413),
        ("application/json", deep("[", "]"), 400),
        ("application/json", deep("{\"a\":", "}"), 400),
        ("application/yaml", deep("[", "]"), 400),
    ] {
        let length = body.len();
        let sent = fuzz.send(&seed(Method::POST, MAPS, content, body)).await;
        assert_eq!(sent, code, "{length} bytes of {content}");
    }
    fuzz.cluster.stop().await;
}
