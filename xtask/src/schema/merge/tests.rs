//! Joining the sources, on a small invented API.

use std::collections::BTreeMap;

use super::super::protobuf::Field as MessageField;
use super::*;

fn field(name: &str, number: u32, kind: &str, message: Option<&str>) -> MessageField {
    let message = message.map(str::to_owned);
    MessageField { name: name.into(), number, kind: kind.into(), repeated: false, message, default: None }
}

#[test]
fn names_of_neighbours_are_short() {
    assert_eq!(relative("[io.k8s.api.core.v1.Pod]", "io.k8s.api.core.v1"), "[Pod]");
    assert_eq!(
        relative("io.k8s.api.apps.v1.Deployment", "io.k8s.api.core.v1"),
        "io.k8s.api.apps.v1.Deployment"
    );
    assert_eq!(relative("{[string]}", "io.k8s.api.core.v1"), "{[string]}");
}

#[test]
fn names_become_camel_case() {
    assert_eq!(camel("allow_watch_bookmarks"), "allowWatchBookmarks");
    assert_eq!(normal("r#type"), normal("Type"));
}

#[test]
fn an_inlined_struct_gives_a_path_of_numbers() {
    let volume = Message {
        name: "V".into(),
        fields: vec![field("name", 1, "string", None), field("volume_source", 2, "message", Some("source"))],
    };
    let source = Message { name: "S".into(), fields: vec![field("host_path", 7, "string", None)] };
    let messages = Messages::from([("source".into(), source)]);
    let names = BTreeMap::from([("name".into(), "name"), ("hostpath".into(), "hostPath")]);
    let mut wires = BTreeMap::new();
    inline(&volume, &messages, &names, &[], &mut wires, &mut BTreeSet::new());
    assert_eq!((wires["name"].path.as_slice(), wires["hostPath"].path.as_slice()), (&[1][..], &[2, 7][..]));
}

#[test]
fn the_addendum_numbers_a_field_or_adds_it() {
    let added = additions("# words\n\na.B c #1.2\na.B d #3 string\n");
    assert_eq!((added[&("a.B", "c")].path.as_slice(), added[&("a.B", "c")].ty), (&[1, 2][..], None));
    assert_eq!(added[&("a.B", "d")].ty, Some("string"));
}

#[test]
fn defaults_name_constants() {
    assert_eq!(default("ref(AzureSharedBlobDisk)"), "\"Shared\"");
    assert_eq!(default("\"TCP\""), "\"TCP\"");
}
