//! What a Go client sends in protobuf becomes the same object as what others send in JSON.
//!
//! Go writes zero values where JSON has nothing; defaulting and validation must take both for absence.

use super::{kinds, object, prepare, prepared, texts};
use api::protobuf::{object as decode, object_bytes};
use component_base::Rng;
use serde_json::Value;

#[test]
fn an_object_is_the_same_in_json_and_protobuf() {
    let mut wrong = Vec::new();
    for (strategy, example) in kinds() {
        let resource = strategy.resource();
        let sent = decode(&object_bytes(&object(resource, &example.valid)).unwrap()).unwrap();
        let from_json = prepared(&*strategy, &example.valid);
        let from_protobuf = prepared(&*strategy, &sent);
        let errors = texts(&strategy.validate(&from_protobuf));
        if !errors.is_empty() {
            wrong.push(format!("{}: {errors:?}", resource.kind));
        }
        if object_bytes(&from_json) != object_bytes(&from_protobuf) {
            wrong.push(format!("{}:\n  {from_json}\n  {from_protobuf}", resource.kind));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn stored_objects_survive_protobuf() {
    for (strategy, example) in kinds() {
        let mut stored = prepared(&*strategy, &example.valid);
        stored["metadata"]["uid"] = Rng::seeded(1).uuid().into();
        let read = decode(&object_bytes(&stored).unwrap()).unwrap();
        let mut again = read.clone();
        // Protobuf drops the kinds of embedded objects (a StatefulSet's claims); defaulting restores them.
        prepare::default(&*strategy, &mut again);
        let lost = missing(&stored, &again, String::new());
        assert!(lost.is_empty(), "{}: {lost:?}", strategy.resource().kind);
        assert_eq!(
            object_bytes(&again),
            object_bytes(&read),
            "{}: defaults change it",
            strategy.resource().kind
        );
    }
}

/// What `whole` lacks of `part`; zero is as good as absent.
fn missing(part: &Value, whole: &Value, at: String) -> Vec<String> {
    match (part, whole) {
        (Value::Object(part), whole) => part
            .iter()
            .flat_map(|(field, value)| missing(value, &whole[field], format!("{at}.{field}")))
            .collect(),
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => {
            let pairs = part.iter().zip(whole).enumerate();
            pairs.flat_map(|(i, (a, b))| missing(a, b, format!("{at}[{i}]"))).collect()
        }
        (part, Value::Null)
            if matches!(part.to_string().as_str(), "false" | "0" | "\"\"" | "[]" | "null") =>
        {
            Vec::new()
        }
        (part, whole) if part == whole => Vec::new(),
        (part, whole) => vec![format!("{at}: {part} became {whole}")],
    }
}
