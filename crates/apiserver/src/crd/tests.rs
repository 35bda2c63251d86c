//! Schemas that are refused, and why.

use super::*;
use serde_json::json;

fn errors(schema: &Value) -> Vec<String> {
    check(&Path::new("s"), schema).iter().map(ToString::to_string).collect()
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

#[test]
fn accepts_what_generators_write() {
    let schema = object(json!({
        "apiVersion": {"type": "string", "description": "…"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": {"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "pattern": "^[a-z]+$", "default": "x"},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "amount": {"x-kubernetes-int-or-string": true,
                "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "1"}]},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "raw": {"x-kubernetes-preserve-unknown-fields": true},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
            "map": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
            "rules": {"type": "object", "properties": {"x": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.x > 0", "fieldPath": ".x"}]},
        }, "oneOf": [{"required": ["any"]}, {"properties": {"a": {"enum": ["x"]}}}]},
        "status": {"type": "object"},
    }));
    assert_eq!(errors(&schema), [""; 0]);
}

#[test]
fn names_what_is_not_structural() {
    let table = [
        (json!({}), vec!["s.type: Required value: must not be empty at the root"]),
        (json!({"type": "string"}), vec!["s.type: Invalid value: \"string\": must be object at the root"]),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            vec!["s.additionalProperties: Forbidden: must not be used at the root"],
        ),
        (
            object(json!({"spec": {}})),
            vec!["s.properties[spec].type: Required value: must not be empty for specified object fields"],
        ),
        (
            object(json!({"l": {"type": "array"}})),
            vec!["s.properties[l].items: Required value: must be specified"],
        ),
        (
            object(json!({"metadata": {"type": "object", "required": ["labels"]}})),
            vec![
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}},
                "anyOf": [{"properties": {"a": {"type": "string"}, "b": {"minLength": 1}}}]}),
            vec![
                "s.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
                "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
            ],
        ),
    ];
    for (schema, expected) in table {
        assert_eq!(errors(&schema), expected, "{schema}");
    }
}

#[test]
fn names_what_a_schema_may_not_say() {
    let field = |schema: Value| object(json!({"f": schema}));
    let table = [
        (
            field(json!({"type": "null"})),
            "s.properties[f].type: Unsupported value: \"null\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (
            field(json!({"type": "string", "$ref": "#/x"})),
            "s.properties[f].$ref: Forbidden: $ref is not supported",
        ),
        (
            field(json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})),
            "s.properties[f].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            field(json!({"type": "object", "properties": {"a": {"type": "string"}},
                "additionalProperties": {"type": "string"}})),
            "s.properties[f].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            field(json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}})),
            "s.properties[f].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            field(json!({"type": "object", "x-kubernetes-validations": [{"rule": " "}]})),
            "s.properties[f].x-kubernetes-validations[0].rule: Required value: rule is not specified",
        ),
        (
            object(
                json!({"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}}),
            ),
            "s.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata",
        ),
    ];
    for (schema, expected) in table {
        assert_eq!(errors(&schema).first().map(String::as_str), Some(expected), "{schema}");
    }
}

#[test]
fn rules_must_compile_and_compare_only_what_can_be_compared() {
    let list = |list_type: &str, rule: &str| {
        object(
            json!({"l": {"type": "array", "x-kubernetes-list-type": list_type, "x-kubernetes-list-map-keys":
            if list_type == "map" { json!(["k"]) } else { json!([]) }, "items": {"type": "object", "required": ["k"],
            "properties": {"k": {"type": "string"}}, "x-kubernetes-validations": [{"rule": rule}]}}}),
        )
    };
    assert_eq!(errors(&list("map", "self == oldSelf")), [""; 0]);
    let at = "s.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: ";
    assert_eq!(
        errors(&list("atomic", "self == oldSelf")),
        [format!(
            "{at}\"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[l]"
        )]
    );
    for (rule, why) in [
        ("self.k ==", "Syntax error"),
        ("other.k == 'a'", "undeclared reference to 'other'"),
        ("1 + 1", "cel expression must evaluate to a bool"),
    ] {
        let found = errors(&list("map", rule));
        assert!(found.len() == 1 && found[0].starts_with(at) && found[0].contains(why), "{found:?}");
    }
}

#[test]
fn defaults_must_be_allowed_values() {
    let field = |schema: Value| errors(&object(json!({"f": schema})));
    assert_eq!(
        field(json!({"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}})),
        ["s.properties[f].default: Invalid value: {\"b\":1}: must not have unknown fields"]
    );
    assert_eq!(
        field(
            json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "default": {"a": 1}})
        ),
        ["s.properties[f].default.a: Invalid value: 1: a in body should be greater than or equal to 3"]
    );
    assert_eq!(
        field(json!({"type": "string", "enum": ["a"], "default": "b"})),
        ["s.properties[f].default: Unsupported value: \"b\": supported values: \"a\""]
    );
}
