//! Bodies, patches, selectors and tokens that are almost right: each is read or refused, nothing panics or hangs.
//!
//! `PROPTEST_CASES` says how many cases each test tries.

use super::decode::{self, Media};
use super::list::Token;
use crate::patch::{Patch, apply, json, merge, strategic};
use api::kind::{Resource, Scope};
use api::schema::{Schema, strict};
use api::selector::{FieldSelector, LabelSelector};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use testkit::mutation::{mutate, mutation};

fn deployment() -> Json {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "d", "namespace": "n", "labels": { "app": "a" }, "finalizers": ["a.io/b"] },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "a" } },
            "template": {
                "metadata": { "labels": { "app": "a" } },
                "spec": { "containers": [
                    { "name": "c", "image": "i", "ports": [{ "containerPort": 80 }], "env": [{ "name": "A", "value": "1" }] },
                    { "name": "d", "image": "i", "args": ["x", "y"] },
                ] },
            },
        },
    })
}

fn resource() -> Resource {
    Resource::new("apps", "v1", "Deployment", "deployments", "deployment", Scope::Namespaced)
}

/// One of these texts, changed in some places.
fn almost(texts: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    (prop::sample::select(texts), vec(mutation(), 0..5))
        .prop_map(|(text, mutations)| mutate(text, &mutations))
}

fn objects() -> Vec<String> {
    let yaml = "# a\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, labels: &l {app: a}}\nspec:\n  replicas: 0x2\n  \
                selector: {matchLabels: *l}\n  template:\n    metadata:\n      labels: *l\n    spec:\n      containers:\n      - name: c\n        \
                image: |-\n          i\n        args: [\"x\\u0041\", 'y', ~, 1e3, yes]\n        args: []\n";
    vec![deployment().to_string(), yaml.to_owned()]
}

fn patches() -> Vec<String> {
    vec![
        json!([
            { "op": "test", "path": "/spec/replicas", "value": 2 },
            { "op": "add", "path": "/spec/template/spec/containers/-", "value": { "name": "e" } },
            { "op": "move", "from": "/metadata/labels/app", "path": "/metadata/labels/a~1b" },
            { "op": "copy", "from": "/spec/template", "path": "/spec/template/spec/x" },
            { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "j" },
            { "op": "remove", "path": "/spec/template/spec/containers/1" },
        ])
        .to_string(),
        json!({ "metadata": { "labels": { "app": null } }, "spec": { "replicas": 3, "template": { "spec": { "containers": [] } } } })
            .to_string(),
        json!({ "spec": { "template": { "spec": {
            "$setElementOrder/containers": [{ "name": "d" }, { "name": "c" }],
            "containers": [
                { "name": "c", "$patch": "delete" },
                { "name": "d", "$retainKeys": ["name"], "$deleteFromPrimitiveList/args": ["x"], "args": ["z"] },
                { "$patch": "replace" },
            ],
        } } } })
        .to_string(),
    ]
}

fn deployment_type() -> &'static api::schema::Type {
    Schema::get().type_by_gvk("apps", "v1", "Deployment").unwrap()
}

proptest! {
    #[test]
    fn bodies(body in almost(objects())) {
        let ty = deployment_type();
        if let Ok(decoded) = strict::decode(&body, ty) {
            // What was understood is understood again, as the same.
            let again = strict::decode(decoded.value.to_string().as_bytes(), ty).unwrap();
            prop_assert_eq!(again.value, decoded.value);
        }
        for media in [Media::Json, Media::Yaml, Media::Protobuf] {
            let _ = decode::any(media, &body);
        }
        let _ = decode::twice(&body);
    }

    #[test]
    fn bodies_in_protobuf(mutations in vec(mutation(), 0..5)) {
        let body = mutate(api::protobuf::object_bytes(&deployment()).unwrap(), &mutations);
        let _ = decode::any(Media::Protobuf, &body);
        let _ = api::protobuf::object_of(&body, deployment_type());
    }

    #[test]
    fn patches_of_every_kind(body in almost(patches())) {
        for content_type in [json::CONTENT_TYPE, merge::CONTENT_TYPE, strategic::CONTENT_TYPE] {
            let _ = Patch::problems(content_type, &body);
            let mut object = deployment();
            if let Ok(patch) = Patch::parse(content_type, &resource(), &body)
                && patch.apply(&mut object).is_err()
                && content_type == json::CONTENT_TYPE
            {
                prop_assert_eq!(object, deployment(), "nothing is changed if one operation fails");
            }
        }
    }

    #[test]
    fn configurations(body in almost(objects())) {
        let _ = apply::problem(&body);
        if let Ok(config) = apply::parse(&body)
            && apply::check(&resource(), &config).is_ok()
        {
            let apply = apply::Apply { config, manager: "m".to_owned(), subresource: String::new(), force: true, time: String::new() };
            let resource = resource();
            let _ = apply::apply((&resource, apply::shape(&resource)), Some(&deployment()), &apply);
        }
    }

    #[test]
    fn selectors(text in almost(vec![
        "a in (x, y),b notin (z),c,!d,e=f,g==h,i!=j,example.com/k>1,l<2".to_owned(),
        "metadata.name=a\\,b,spec.nodeName==c,status.phase!=d\\=e".to_owned(),
    ])) {
        let text = String::from_utf8_lossy(&text);
        if let Ok(selector) = LabelSelector::parse(&text) {
            // What was understood can be printed, and is understood again, as the same.
            let printed = selector.to_string();
            prop_assert_eq!(LabelSelector::parse(&printed).map(|selector| selector.to_string()), Ok(printed));
        }
        let _ = FieldSelector::parse(&text);
    }

    #[test]
    fn continue_tokens(text in almost(vec![
        r#"{"v":"meta.k8s.io/v1","rv":12,"start":"n/a"}"#.to_owned(),
        r#"{"v":"meta.k8s.io/v1","rv":-1,"start":"n/../a"}"#.to_owned(),
    ]), mutations in vec(mutation(), 0..2)) {
        let encoded = mutate(URL_SAFE_NO_PAD.encode(&text).into_bytes(), &mutations);
        if let Ok(token) = Token::decode(&String::from_utf8_lossy(&encoded)) {
            prop_assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        }
    }
}
