//! Tables of selectors: what they select, how they print, how they are refused.

use super::*;
use serde_json::json;

fn labels<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
    move |key| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
}

#[test]
fn selects_by_label() {
    let set = [("app", "web"), ("tier", "a"), ("n", "5")];
    for (text, selected) in [
        ("", true),
        ("app=web", true),
        ("app==web,tier=a", true),
        ("app = web , tier in (a, b)", true),
        ("app!=web", false),
        ("other!=x", true),
        ("other notin (x)", true),
        ("tier notin (a,b)", false),
        ("app", true),
        ("!app", false),
        ("!other", true),
        ("other", false),
        ("n>4", true),
        ("n<5", false),
        ("app in (in,notin)", false),
        ("app=", false),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(labels(&set)), selected, "{text}");
    }
}

#[test]
fn prints_selectors_canonically() {
    for (text, printed) in [
        ("b=1,a==2", "a=2,b=1"),
        ("a in (y,x)", "a in (x,y)"),
        ("a in (x)", "a=x"),
        ("!a,b", "!a,b"),
        ("a notin (x,y)", "a notin (x,y)"),
        ("a!=", "a!="),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap().to_string(), printed);
    }
}

#[test]
fn refuses_selectors_in_upstreams_words() {
    for (text, error) in [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap_err(), error, "{text}");
    }
    assert!(LabelSelector::parse("a/b/c=d").unwrap_err().starts_with(
        "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a qualified name must consist of"
    ));
}

#[test]
fn reads_selectors_from_objects() {
    let selector = LabelSelector::from_json(&json!({"matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}))
    .unwrap();
    assert_eq!(selector.to_string(), "app=web,tier in (a,b)");
    assert!(!LabelSelector::from_json(&Value::Null).unwrap().matches(labels(&[])));
    assert!(LabelSelector::from_json(&json!({})).unwrap().matches(labels(&[])));
    assert!(!LabelSelector::from_map(&Value::Null).matches(labels(&[])));
}

#[test]
fn selects_by_field() {
    let set = [("status.phase", "Running"), ("spec.nodeName", "")];
    for (text, selected) in [
        ("", true),
        ("status.phase=Running", true),
        ("status.phase==Running,spec.nodeName=", true),
        ("status.phase!=Running", false),
        ("spec.nodeName!=a", true),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap().matches(labels(&set)), selected, "{text}");
    }
    assert_eq!(FieldSelector::parse(r"a=b\,c\=d").unwrap().requirements[0].value, "b,c=d");
    assert_eq!(FieldSelector::parse("a=b,x").unwrap_err(), "invalid selector: 'a=b,x'; can't understand 'x'");
    assert_eq!(FieldSelector::parse("metadata.name=x").unwrap().required("metadata.name"), Some("x"));
}
