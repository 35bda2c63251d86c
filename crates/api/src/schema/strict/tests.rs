//! Strict decoding: upstream's paths and words.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Decoded, Error, bad_request, decode, decode_value};
use crate::schema::{Any, FieldType, IntegerFormat, Schema, SchemaOr, Type};

fn pod() -> &'static Type {
    Schema::get().type_by_gvk("", "v1", "Pod").unwrap()
}

fn strict(text: &str) -> Decoded {
    decode(text.as_bytes(), pod()).unwrap()
}

fn type_error(text: &str) -> String {
    match decode(text.as_bytes(), pod()) {
        Err(Error::Type(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_unknown_and_duplicate_fields_in_order_with_their_paths() {
    let decoded = strict(
        r#"{"kind":"Pod","spec":{"foo":1,"containers":[{"name":"a"},{"name":"b","bar":{},"name":"c"}],
           "nodeSelector":{"x":"1","x":"2"}},"Metadata":{}}"#,
    );
    assert_eq!(
        decoded.strict_error().unwrap(),
        r#"strict decoding error: unknown field "spec.foo", unknown field "spec.containers[1].bar", duplicate field "spec.containers[1].name", duplicate field "spec.nodeSelector.x", unknown field "Metadata""#
    );
    assert_eq!(
        decoded.value,
        json!({"kind":"Pod","spec":{"containers":[{"name":"a"},{"name":"c"}],"nodeSelector":{"x":"2"}}})
    );
    assert_eq!(decoded.duplicates().count(), 2);
    assert_eq!(decoded.unknown().next(), Some("spec.foo"));
}

#[test]
fn reports_each_problem_once() {
    let decoded = strict(r#"{"foo":1,"foo":2}"#);
    assert_eq!(decoded.warnings().collect::<Vec<_>>(), [r#"unknown field "foo""#]);
}

#[test]
fn null_is_absent_and_zero_inside_lists_and_maps() {
    let decoded = strict(
        r#"{"metadata":{"creationTimestamp":null,"labels":{"a":null},"finalizers":[null]},"spec":null}"#,
    );
    assert_eq!(decoded.value, json!({"metadata":{"labels":{"a":""},"finalizers":[""]}}));
}

#[test]
fn type_errors_have_gos_words() {
    let cases = [
        (
            r#"{"metadata":{"labels":"x"}}"#,
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            r#"{"spec":{"containers":{}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            r#"{"spec":{"containers":["x"]}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        (
            r#"{"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}}"#,
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            r#"{"spec":{"priority":"1"}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            r#"{"spec":{"priority":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            r#"{"spec":{"priority":3000000000}}"#,
            "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (r#"{"spec":[]}"#, "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec"),
        ("[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
        (
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"much"}}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            r#"{"metadata":{"creationTimestamp":"soon"}}"#,
            r#"parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006""#,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(type_error(text), expected, "{text}");
    }
}

#[test]
fn wraps_errors_as_upstream_does() {
    assert_eq!(
        bad_request("Pod", "v1", "Pod", &"boom"),
        r#"Pod in version "v1" cannot be handled as a Pod: boom"#
    );
}

#[test]
fn normalises_times_and_quantities() {
    let decoded = strict(
        r#"{"metadata":{"creationTimestamp":"2020-01-01T02:00:00.5+02:00"},
           "spec":{"overhead":{"cpu":0.5,"memory":"1024Mi"}}}"#,
    );
    assert_eq!(decoded.value["metadata"]["creationTimestamp"], "2020-01-01T00:00:00Z");
    assert_eq!(decoded.value["spec"]["overhead"], json!({"cpu":"500m","memory":"1Gi"}));
}

#[test]
fn syntax_errors_and_trailing_text_are_refused() {
    for text in ["", "{", r#"{"kind":"Pod"} x"#] {
        assert!(matches!(decode(text.as_bytes(), pod()), Err(Error::Syntax(_))), "{text}");
    }
}

#[test]
fn truncated_text_has_gos_words() {
    let error = decode(b"{", pod()).unwrap_err().to_string();
    assert_eq!(error, "couldn't get version/kind; json parse error: unexpected end of JSON input");
}

#[test]
fn embedded_objects_may_be_any_json() {
    let ty = Schema::get().type_by_gvk("apps", "v1", "ControllerRevision").unwrap();
    for data in [json!({"a":[1,null]}), json!([1]), json!("x"), json!(1.5), json!(true)] {
        let object = json!({"data": data});
        assert_eq!(decode(object.to_string().as_bytes(), ty).unwrap().value, object);
    }
}

#[test]
fn schemas_inside_definitions_are_lenient_only_behind_upstreams_own_decoders() {
    let ty = Schema::get().type_by_gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let text = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"typo":1,"default":{"any":[1]},
        "items":{"type":"object","typo":2},"additionalProperties":false}}}]}}"#;
    let decoded = decode(text.as_bytes(), ty).unwrap();
    let unknown: Vec<_> = decoded.unknown().collect();
    assert_eq!(unknown, ["spec.versions[0].schema.openAPIV3Schema.typo"]);
    let schema = &decoded.value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    assert_eq!(
        schema,
        &json!({"default":{"any":[1]},"items":{"type":"object"},"additionalProperties":false})
    );
}

#[test]
fn values_of_other_parsers_are_checked_alike() {
    let decoded = decode_value(json!({"spec":{"foo":1,"hostname":"h"}}), pod()).unwrap();
    assert_eq!(decoded.value, json!({"spec":{"hostname":"h"}}));
    assert_eq!(decoded.unknown().collect::<Vec<_>>(), ["spec.foo"]);
}

/// Valid values of a type, a few levels deep.
fn valid(ty: &FieldType, depth: u32) -> BoxedStrategy<Value> {
    match ty {
        FieldType::String | FieldType::IntOrString => "[a-z0-9]{0,5}".prop_map(Value::from).boxed(),
        FieldType::Integer(IntegerFormat::Int32) => any::<i32>().prop_map(Value::from).boxed(),
        FieldType::Integer(IntegerFormat::Int64) => any::<i64>().prop_map(Value::from).boxed(),
        FieldType::Number => Just(json!(1.5)).boxed(),
        FieldType::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        FieldType::Bytes => Just(json!("aGk=")).boxed(),
        FieldType::Time => Just(json!("2020-01-01T00:00:00Z")).boxed(),
        FieldType::MicroTime => Just(json!("2020-01-01T00:00:00.123456Z")).boxed(),
        FieldType::Quantity => prop_oneof![Just(json!("500m")), Just(json!("1Gi"))].boxed(),
        FieldType::Any(Any::Fields | Any::Raw | Any::Json) => Just(json!({"x":[1,null]})).boxed(),
        FieldType::SchemaOr(SchemaOr::Bool) => any::<bool>().prop_map(Value::from).boxed(),
        FieldType::SchemaOr(_) => Just(json!({"type":"object"})).boxed(),
        FieldType::Array(item) => {
            prop::collection::vec(valid(item, depth), 0..3).prop_map(Value::from).boxed()
        }
        FieldType::Map(item) => prop::collection::hash_map("[a-z]{1,3}", valid(item, depth), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        FieldType::Ref(_) if depth == 0 => Just(json!({})).boxed(),
        FieldType::Ref(ty) => {
            let fields: Vec<_> = ty.resolve().fields.iter().collect();
            let count = fields.len().min(4);
            prop::sample::subsequence(fields, 0..=count)
                .prop_flat_map(move |fields| {
                    let one = |f: &&'static crate::schema::Field| {
                        (Just(f.json_name.to_owned()), valid(&f.ty, depth - 1))
                    };
                    fields.iter().map(one).collect::<Vec<_>>()
                })
                .prop_map(|entries| Value::Object(entries.into_iter().collect()))
                .boxed()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_valid_object_stays_as_it_is(object in valid(&FieldType::Ref(pod().reference()), 4)) {
        let bytes = serde_json::to_vec(&object).unwrap();
        let decoded = decode(&bytes, pod()).unwrap();
        prop_assert!(decoded.problems.is_empty(), "{:?}", decoded.problems);
        prop_assert_eq!(decoded.value, object);
    }
}
