//! The table itself: every line parses, and known facts are in it.

use serde_json::json;

use super::{FieldType, ListType, Schema, defaults};

#[test]
fn every_type_parses_and_stands_in_order() {
    let schema = Schema::get();
    let names: Vec<&str> = schema.types().map(|t| t.name()).collect();
    assert!(names.len() > 750);
    assert!(names.is_sorted());
    for ty in schema.types().map(|t| t.resolve()) {
        assert!(ty.fields.is_sorted_by_key(|f| f.json_name), "{}", ty.name);
        assert!(ty.fields.len() <= 128, "{}: strict decoding counts fields in 128 bits", ty.name);
        for field in &ty.fields {
            let default = field.default.map(serde_json::from_str::<serde_json::Value>);
            assert!(default.is_none_or(|d| d.is_ok()), "{}.{}", ty.name, field.json_name);
        }
    }
}

#[test]
fn knows_pods() {
    let pod = Schema::get().type_by_gvk("", "v1", "Pod").unwrap();
    assert_eq!(pod.name, "io.k8s.api.core.v1.Pod");
    assert_eq!((pod.go_name(), pod.proto_message().as_str()), ("v1.Pod", "k8s.io.api.core.v1.Pod"));
    let FieldType::Ref(spec) = &pod.field("spec").unwrap().ty else { panic!("spec is a type") };
    let containers = spec.resolve().field("containers").unwrap();
    assert!(containers.required && containers.patch_merges() && !containers.patch_retains_keys());
    assert_eq!(containers.list_type, Some(ListType::Map));
    assert_eq!((&*containers.list_map_keys, containers.patch_merge_key), (&["name"][..], Some("name")));
    assert_eq!(containers.proto_number(), Some(2));
    let FieldType::Array(container) = &containers.ty else { panic!("containers is a list") };
    let FieldType::Ref(container) = &**container else { panic!("of containers") };
    let ports = container.resolve().field("ports").unwrap();
    assert_eq!(&*ports.list_map_keys, ["containerPort", "protocol"]);
    assert_eq!(ports.patch_merge_key, Some("containerPort"));
}

#[test]
fn finds_inlined_structs_by_a_path_of_numbers() {
    let volume = Schema::get().type_by_name("io.k8s.api.core.v1.Volume").unwrap();
    assert_eq!(&*volume.field("hostPath").unwrap().proto, [2, 1]);
    assert_eq!(volume.field("hostPath").unwrap().proto_number(), None);
}

#[test]
fn a_field_outweighs_its_type_in_being_atomic() {
    let atomic = |ty: &str, field: &str| {
        let name = format!("io.k8s.api.core.v1.{ty}");
        Schema::get().type_by_name(&name).unwrap().field(field).unwrap().is_atomic()
    };
    assert!(!atomic("PersistentVolumeSpec", "claimRef"));
    for (ty, field) in [
        ("PodSpec", "nodeSelector"),
        ("Event", "involvedObject"),
        ("Container", "args"),
        ("Container", "image"),
    ] {
        assert!(atomic(ty, field), "{field}");
    }
    for (ty, field) in [("Pod", "spec"), ("ConfigMap", "data"), ("PodSpec", "containers")] {
        assert!(!atomic(ty, field), "{field}");
    }
}

#[test]
fn knows_kinds_of_other_groups_and_no_others() {
    let schema = Schema::get();
    for (group, version, kind) in [
        ("apps", "v1", "Deployment"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "v1", "APIService"),
        ("apps", "v1", "DeleteOptions"),
        ("", "v1", "Status"),
        ("", "v1", "ListOptions"),
    ] {
        assert!(schema.type_by_gvk(group, version, kind).is_some(), "{kind}");
    }
    assert!(schema.type_by_gvk("", "v1", "Deployment").is_none());
}

#[test]
fn defaults_fill_what_is_absent_and_nothing_else() {
    let pod = Schema::get().type_by_gvk("", "v1", "Pod").unwrap();
    let mut object = json!({"spec":{
        "containers":[{"ports":[{"containerPort":80},{"containerPort":53,"protocol":"UDP"}]}],
        "imagePullSecrets":[{}],
    }});
    defaults::apply(&mut object, pod);
    let expected = json!({"spec":{
        "containers":[{"ports":[{"containerPort":80,"protocol":"TCP"},{"containerPort":53,"protocol":"UDP"}]}],
        "imagePullSecrets":[{}],
    }});
    assert_eq!(object, expected);
}
