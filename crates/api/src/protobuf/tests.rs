//! Known bytes, every type of the table with random content, and input that is no protobuf.

mod random;

use super::*;
use crate::schema::TypeRef;
use proptest::prelude::*;
use random::Random;
use serde_json::json;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn ty(name: &str) -> &'static Type {
    Schema::get().type_by_name(name).unwrap()
}

/// The message that an object of a type is.
fn bytes_of(name: &str, object: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    append_message(&mut out, object, ty(name)).unwrap();
    out
}

#[test]
fn a_namespace_has_the_bytes_that_go_writes() {
    let expected = hex("6b387300                                         # magic
         0a0f 0a027631 12094e616d657370616365             # v1, Namespace
         1219 0a11 0a0178 1200 1a00 2200 2a00 3200 3800 4200   # metadata: name x, and zero values
              1200 1a020a00                               # spec, status.phase
         1a00 2200                                        # no encoding, no content type"
        .split('\n')
        .map(|line| line.split('#').next().unwrap())
        .collect::<String>()
        .as_str());
    let object = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "x"}});
    assert_eq!(object_bytes(&object).unwrap(), expected);
    let read = super::object(&expected).unwrap();
    assert_eq!(
        read,
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": {}, "status": {}})
    );
}

#[test]
fn scalars_have_the_bytes_of_their_types() {
    let core = "io.k8s.api.core.v1.";
    let table = [
        // A number or a string: always all three fields.
        ("HTTPGetAction", json!({"port": 80}), "0a00 1206 0800 1050 1a00 1a00 2200"),
        ("HTTPGetAction", json!({"port": "http"}), "0a00 120a 0801 1000 1a0468747470 1a00 2200"),
        // A pointer to zero is there, an absent one is not.
        ("SeccompProfile", json!({"type": "Unconfined"}), "0a0a 556e636f6e66696e6564"),
        ("SeccompProfile", json!({"type": "", "localhostProfile": ""}), "0a00 1200"),
        // Negative numbers take ten bytes.
        ("Sysctl", json!({"name": "a", "value": "b"}), "0a0161 120162"),
        ("PodDNSConfigOption", json!({"name": "n"}), "0a016e"),
        ("WeightedPodAffinityTerm", json!({"weight": -1}), "08ffffffffffffffffff01 1202 1a00"),
        // Base64 becomes bytes, maps are sorted.
        (
            "Secret",
            json!({"data": {"b": "Ag==", "a": ""}}),
            "0a10 0a00 1200 1a00 2200 2a00 3200 3800 4200 1205 0a0161 1200 1206 0a0162 120102 1a00",
        ),
        // Time has no nanoseconds, though it writes them; a time before 1970 has negative seconds.
        ("ContainerStateRunning", json!({"startedAt": "2026-01-02T03:04:05Z"}), "0a08 08a5ebdcca06 1000"),
        (
            "ContainerStateRunning",
            json!({"startedAt": "1969-12-31T23:59:59Z"}),
            "0a0d 08ffffffffffffffffff01 1000",
        ),
        ("ContainerStateRunning", json!({}), "0a00"),
        // An amount; none is zero.
        ("ResourceFieldSelector", json!({"resource": "r"}), "0a00 120172 1a03 0a0130"),
    ];
    for (name, object, expected) in table {
        let bytes = bytes_of(&format!("{core}{name}"), &object);
        assert_eq!(
            bytes,
            hex(expected),
            "{name} {object}: {}",
            bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
        );
    }
}

#[test]
fn zero_values_stay_where_json_shows_them() {
    let status = json!({"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": ""});
    let name = "io.k8s.api.core.v1.ContainerStatus";
    let read = message(&bytes_of(name, &status), ty(name)).unwrap();
    for field in ["ready", "restartCount", "image", "imageID"] {
        assert_eq!(read[field], status[field], "{field}");
    }
    // A pointer to zero stays, a plain zero goes.
    let name = "io.k8s.api.core.v1.PodSpec";
    let spec = json!({"terminationGracePeriodSeconds": 0, "hostNetwork": false, "hostUsers": false});
    let read = message(&bytes_of(name, &spec), ty(name)).unwrap();
    assert_eq!(read, json!({"terminationGracePeriodSeconds": 0, "hostUsers": false}));
}

#[test]
fn lists_may_be_packed() {
    let spec = ty("io.k8s.api.core.v1.PodSecurityContext");
    let number = spec.field("supplementalGroups").unwrap().proto_number().unwrap();
    let (mut packed, mut plain) = (Vec::new(), Vec::new());
    wire::put_bytes(&mut packed, number, &[1, 0x96, 1]);
    wire::put_number(&mut plain, number, 1);
    wire::put_number(&mut plain, number, 150);
    let expected = json!({"supplementalGroups": [1, 150]});
    assert_eq!(message(&packed, spec).unwrap(), expected);
    assert_eq!(message(&plain, spec).unwrap(), expected);
    assert_eq!(bytes_of(spec.name, &expected), plain);
}

#[test]
fn embedded_objects_may_be_json_or_protobuf() {
    let revision = |data: Value| json!({"kind": "ControllerRevision", "apiVersion": "apps/v1", "metadata": {}, "data": data, "revision": 1});
    let inner =
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": {}, "status": {}});
    let bytes = object_bytes(&revision(inner.clone())).unwrap();
    assert_eq!(super::object(&bytes).unwrap(), revision(inner.clone()));

    let event = ty("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent");
    let (mut message, mut raw) = (Vec::new(), Vec::new());
    wire::put_bytes(&mut message, 1, b"ADDED");
    wire::put_bytes(&mut raw, 1, &object_bytes(&inner).unwrap());
    wire::put_bytes(&mut message, 2, &raw);
    assert_eq!(super::message(&message, event).unwrap(), json!({"type": "ADDED", "object": inner}));
    assert_eq!(watch_event("ADDED", &object_bytes(&inner).unwrap()), message);
}

#[test]
fn a_message_that_occurs_twice_is_merged_and_unknown_fields_are_skipped() {
    let pod = ty("io.k8s.api.core.v1.Pod");
    let mut bytes = bytes_of(pod.name, &json!({"metadata": {"name": "a", "labels": {"x": "1"}}}));
    wire::put_bytes(&mut bytes, 999, b"what is this");
    wire::put_number(&mut bytes, 1000, 7);
    let mut again = Vec::new();
    wire::put_bytes(&mut again, 1, b"b");
    wire::put_bytes(&mut bytes, 1, &again);
    let read = message(&bytes, pod).unwrap();
    assert_eq!(read["metadata"], json!({"name": "b", "labels": {"x": "1"}}));
}

#[test]
fn what_is_expected_stands_in_for_a_kind_that_is_not_told() {
    let options = ty("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    let mut message = Vec::new();
    append_message(&mut message, &json!({"gracePeriodSeconds": 0}), options).unwrap();
    for (version, kind) in [("", ""), ("example.com/v1", "DeleteOptions"), ("policy/v1", "DeleteOptions")] {
        let read = object_of(&envelope(version, kind, &message), options).unwrap();
        assert_eq!(read["gracePeriodSeconds"], 0, "{version} {kind}");
    }
    let error = object_of(&envelope("example.com/v1", "Widget", &message), options).unwrap_err();
    assert_eq!(error.to_string(), r#"no kind "Widget" is registered for version "example.com/v1""#);
}

#[test]
fn refuses_what_is_malformed() {
    let pod = ty("io.k8s.api.core.v1.Pod");
    let table = [
        ("0a05 61", Error::Truncated),
        ("0a", Error::Truncated),
        ("ffffffffffffffffffff01", Error::Overflow),
        ("00", Error::IllegalTag(0)),
        ("0b", Error::IllegalWireType(3)),
        ("0801", Error::WrongWireType("metadata")),
        ("0a03 0a01ff", Error::InvalidUtf8("name")),
        // creationTimestamp of the year 300000
        ("0a0a 4208 0880808080808002", Error::InvalidTime("creationTimestamp")),
    ];
    for (bytes, expected) in table {
        assert_eq!(message(&hex(bytes), pod), Err(expected), "{bytes}");
    }
    assert_eq!(super::object(b"{}"), Err(Error::NoMagic));
    let mismatch = json!({"metadata": {"name": 7}});
    assert_eq!(append_message(&mut Vec::new(), &mismatch, pod), Err(Error::Mismatch("name")));
}

#[test]
fn depth_and_size_are_bounded() {
    let props = ty("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    let not = props.field("not").unwrap().proto_number().unwrap();
    let nested = |levels: usize| {
        let mut bytes = Vec::new();
        for _ in 0..levels {
            let mut outer = Vec::new();
            wire::put_bytes(&mut outer, not, &bytes);
            bytes = outer;
        }
        bytes
    };
    assert!(message(&nested(100), props).is_ok());
    assert_eq!(message(&nested(5000), props), Err(Error::TooDeep));

    let raw = |levels: usize| {
        let (json, mut inner, mut out) = ("[".repeat(levels) + &"]".repeat(levels), Vec::new(), Vec::new());
        wire::put_bytes(&mut inner, 1, json.as_bytes());
        wire::put_bytes(&mut out, props.field("default").unwrap().proto_number().unwrap(), &inner);
        out
    };
    assert!(message(&raw(100), props).is_ok());
    assert_eq!(message(&raw(124), props), Err(Error::TooDeep));
    assert_eq!(message(&raw(1000), props), Err(Error::InvalidJson("default")));

    let containers = [0x12, 0x00].repeat(MAX_VALUES + 1);
    let spec = ty("io.k8s.api.core.v1.PodSpec");
    assert_eq!(message(&containers, spec), Err(Error::TooMany));
}

/// Whether all of `part` is in `whole`.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(k, v)| b.get(k).is_some_and(|w| is_part(v, w)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_part(a, b))
        }
        (a, b) => a == b,
    }
}

fn round_trip(ty: &'static Type, seed: u64) {
    let object = Random::new(seed).object(ty, 0);
    let bytes = bytes_of(ty.name, &object);
    let read = message(&bytes, ty).unwrap();
    assert!(is_part(&object, &read), "{}: {object} became {read}", ty.name);
    let again = bytes_of(ty.name, &read);
    assert_eq!(again, bytes, "{}: {object}", ty.name);
    assert_eq!(message(&again, ty).unwrap(), read);
}

#[test]
fn every_type_survives_both_ways() {
    for ty in Schema::get().types().map(TypeRef::resolve) {
        if ty.fields.iter().any(|f| !f.proto.is_empty()) {
            for seed in 0..3 {
                round_trip(ty, seed);
            }
        }
    }
}

proptest! {
    #[test]
    fn kinds_survive_both_ways(seed in any::<u64>(), kind in 0..6_usize) {
        let (group, version, kind) = [
            ("", "v1", "Pod"), ("", "v1", "Node"), ("apps", "v1", "Deployment"), ("batch", "v1", "CronJob"),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), ("resource.k8s.io", "v1", "ResourceClaim"),
        ][kind];
        round_trip(Schema::get().type_by_gvk(group, version, kind).unwrap(), seed);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), of in any::<usize>()) {
        let types: Vec<_> = Schema::get().types().collect();
        if let Ok(object) = message(&bytes, types[of % types.len()].resolve()) {
            let mut out = Vec::new();
            let _ = append_message(&mut out, &object, types[of % types.len()].resolve());
        }
        let _ = super::object(&[&MAGIC[..], &bytes].concat());
    }

    #[test]
    fn broken_objects_never_panic(
        seed in any::<u64>(),
        edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8),
        cut in any::<usize>(),
    ) {
        let pod = ty("io.k8s.api.core.v1.Pod");
        let mut bytes = bytes_of(pod.name, &Random::new(seed).object(pod, 0));
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut % (bytes.len() * 2));
        let _ = message(&bytes, pod);
        let _ = super::object(&envelope("v1", "Pod", &bytes));
    }
}
