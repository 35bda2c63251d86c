//! Custom resources, as stock kubectl and kube-rs use them: the behaviours of the official suite that are about kinds added
//! at run time, by their names, on whole clusters in the test's process.
//!
//! **Not here**: what needs no client from outside (`crates/apiserver/src/crd/server_tests.rs`).
//! **Upstream**: `test/e2e/apimachinery/{custom_resource_definition,crd_publish_openapi,crd_selectable_fields}.go`, `aggregated_discovery.go`,
//! `field_validation.go`.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams, WatchEvent, WatchParams,
};
use serde_json::{Value, json};
use testkit::{eventually, eventually_some};
use tests::DEADLINE;
use tests::kubectl;
use tests::profile::Said;
use tests::served::Served;

fn definition(group: &str, kind: &str, version: Value) -> CustomResourceDefinition {
    let plural = format!("{}s", kind.to_lowercase());
    let mut whole = json!({"name": "v1", "served": true, "storage": true});
    for (field, value) in version.as_object().expect("a version") {
        whole[field] = value.clone();
    }
    serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "versions": [whole],
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind}}
    }))
    .expect("a definition")
}

fn shop_schema() -> Value {
    json!({"schema": {"openAPIV3Schema": {"type": "object", "description": "A shop.", "properties": {
        "spec": {"type": "object", "description": "What the shop sells.", "required": ["goods"], "properties": {
            "goods": {"type": "array", "description": "The goods.", "items": {"type": "object", "required": ["name"],
                "properties": {"name": {"type": "string", "description": "What it is called."},
                    "price": {"type": "integer", "description": "What it costs."}}}},
            "open": {"type": "boolean", "default": true}}},
        "status": {"type": "object", "properties": {"sold": {"type": "integer"}}}}}},
        "subresources": {"status": {}}})
}

async fn establish(served: &Served, definition: &CustomResourceDefinition) -> Api<DynamicObject> {
    let client = served.cluster.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), definition).await.expect("created");
    let name = definition.metadata.name.clone().expect("a name");
    eventually(DEADLINE, async || is(&definitions.get(&name).await.expect("read"), "Established")).await;
    let spec = &definition.spec;
    let kind = GroupVersionKind::gvk(&spec.group, &spec.versions[0].name, &spec.names.kind);
    Api::default_namespaced_with(client, &ApiResource::from_gvk_with_plural(&kind, &spec.names.plural))
}

fn is(definition: &CustomResourceDefinition, condition: &str) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|known| known.type_ == condition && known.status == "True")
}

async fn kubectl(served: &Served, arguments: &[&str]) -> Said {
    let newest = kubectl::all().into_iter().max_by_key(|one| one.minor).expect("a kubectl");
    served.run(&newest.path, arguments).await
}

fn shop(name: &str, more: &str) -> String {
    format!(
        "apiVersion: example.org/v1\nkind: Shop\nmetadata:\n  name: {name}\nspec:\n  goods:\n  - name: tea\n    price: 3\n{more}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_and_deleting_custom_resource_definition_objects_works() {
    let served = Served::start(0).await;
    let shops = establish(&served, &definition("example.org", "Shop", shop_schema())).await;
    let file = served.file("shop.yaml", &shop("corner", ""));
    assert_eq!(kubectl(&served, &["create", "-f", &file]).await.ok(), "shop.example.org/corner created\n");
    assert_eq!(kubectl(&served, &["apply", "-f", &file]).await.code, 0);
    assert_eq!(kubectl(&served, &["apply", "-f", &file]).await.ok(), "shop.example.org/corner unchanged\n");
    let table = kubectl(&served, &["get", "shops"]).await.ok();
    assert!(table.starts_with("NAME     AGE\ncorner   "), "{table}");
    assert_eq!(
        kubectl(&served, &["get", "shop", "corner", "-o", "jsonpath={.spec.open}"]).await.ok(),
        "true"
    );
    let edited =
        kubectl(&served, &["patch", "shop", "corner", "--type=merge", "-p", "{\"spec\":{\"open\":false}}"])
            .await;
    assert_eq!(edited.ok(), "shop.example.org/corner patched\n");
    let watched = shops.watch(&WatchParams::default(), "0").await.expect("a watch");
    let mut watched = std::pin::pin!(watched);
    assert!(
        matches!(watched.next().await, Some(Ok(WatchEvent::Added(shop))) if shop.data["spec"]["open"] == false)
    );
    assert_eq!(
        kubectl(&served, &["delete", "shop", "corner"]).await.ok(),
        "shop.example.org \"corner\" deleted from default namespace\n"
    );
    assert!(matches!(watched.next().await, Some(Ok(WatchEvent::Deleted(_)))));
    let gone = kubectl(&served, &["delete", "crd", "shops.example.org"]).await.ok();
    assert_eq!(gone, "customresourcedefinition.apiextensions.k8s.io \"shops.example.org\" deleted\n");
    let unknown = kubectl(&served, &["get", "shops"]).await;
    // Whoever remembers the kind is told by the server, others by discovery.
    assert_ne!(unknown.code, 0, "{unknown:?}");
    // The watch ends with the kind.
    assert!(watched.next().await.is_none_or(|event| event.is_err()));
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_for_crd_with_validation_schema() {
    let served = Served::start(0).await;
    establish(&served, &definition("example.org", "Shop", shop_schema())).await;
    let told = kubectl(&served, &["explain", "shops.spec.goods"]).await.ok();
    for words in [
        "KIND:       Shop",
        "FIELD: goods <[]Object>",
        "The goods.",
        "name\t<string> -required-",
        "price\t<integer>",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    assert!(kubectl(&served, &["explain", "shops"]).await.ok().contains("A shop."));
    let oldest = kubectl::all().into_iter().min_by_key(|one| one.minor).expect("a kubectl");
    let told = served.run(&oldest.path, &["explain", "shops.spec"]).await.ok();
    assert!(told.contains("What the shop sells."), "{told}");
    let file = served.file("typo.yaml", &shop("typo", "  opne: true\n"));
    let refused = kubectl(&served, &["create", "-f", &file]).await;
    assert!(refused.stderr.contains("unknown field \"spec.opne\""), "{refused:?}");
    let file = served
        .file("missing.yaml", "apiVersion: example.org/v1\nkind: Shop\nmetadata:\n  name: empty\nspec: {}\n");
    let refused = kubectl(&served, &["create", "--validate=false", "-f", &file]).await;
    assert!(
        refused.stderr.contains("The Shop \"empty\" is invalid: spec.goods: Required value"),
        "{refused:?}"
    );
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_for_crd_preserving_unknown_fields_at_the_schema_root_and_in_an_embedded_object() {
    let served = Served::start(0).await;
    let open = json!({"schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    establish(&served, &definition("example.org", "Shop", open)).await;
    let embedded = json!({"schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}}}}});
    establish(&served, &definition("example.org", "Box", embedded)).await;
    let file = served.file("shop.yaml", &shop("corner", "  anything: [1, {a: b}]\n"));
    assert_eq!(kubectl(&served, &["apply", "-f", &file]).await.code, 0);
    assert_eq!(kubectl(&served, &["apply", "--server-side", "--force-conflicts", "-f", &file]).await.code, 0);
    assert_eq!(
        kubectl(&served, &["get", "shop", "corner", "-o", "jsonpath={.spec.anything[1].a}"]).await.ok(),
        "b"
    );
    let boxed = "apiVersion: example.org/v1\nkind: Box\nmetadata:\n  name: b\nspec:\n  template:\n    apiVersion: v1\n    kind: Pod\n    metadata:\n      name: inner\n    spec:\n      free: {a: 1}\n";
    let file = served.file("box.yaml", boxed);
    assert_eq!(kubectl(&served, &["create", "-f", &file]).await.code, 0);
    let stray = boxed
        .replace("      name: inner", "      name: inner\n      nmae: x")
        .replace("  name: b\n", "  name: c\n");
    let refused = kubectl(&served, &["create", "-f", &served.file("stray.yaml", &stray)]).await;
    assert!(refused.stderr.contains("unknown field \"spec.template.metadata.nmae\""), "{refused:?}");
    assert!(kubectl(&served, &["explain", "boxs.spec"]).await.ok().contains("template"));
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_must_list_and_watch_matching_the_field_selector() {
    let served = Served::start(0).await;
    let mut version = shop_schema();
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["town"] =
        json!({"type": "string"});
    version["selectableFields"] = json!([{"jsonPath": ".spec.town"}]);
    let shops = establish(&served, &definition("example.org", "Shop", version)).await;
    let in_town = ListParams::default().fields("spec.town=Ulm");
    let start = shops
        .list(&ListParams::default())
        .await
        .expect("a list")
        .metadata
        .resource_version
        .expect("a version");
    for (name, town) in [("a", "Ulm"), ("b", "Rom")] {
        let object = json!({"apiVersion": "example.org/v1", "kind": "Shop", "metadata": {"name": name}, "spec": {"goods": [], "town": town}});
        shops
            .create(&PostParams::default(), &serde_json::from_value(object).expect("a shop"))
            .await
            .expect("created");
    }
    let names: Vec<String> = shops
        .list(&in_town)
        .await
        .expect("a list")
        .items
        .into_iter()
        .filter_map(|s| s.metadata.name)
        .collect();
    assert_eq!(names, ["a"]);
    let watched =
        shops.watch(&WatchParams::default().fields("spec.town=Ulm"), &start).await.expect("a watch");
    let mut watched = std::pin::pin!(watched);
    let moves = json!({"spec": {"town": "Ulm"}});
    shops.patch("b", &PatchParams::default(), &Patch::Merge(moves)).await.expect("patched");
    let seen = [watched.try_next().await.expect("an event"), watched.try_next().await.expect("an event")];
    assert!(
        matches!(&seen, [Some(WatchEvent::Added(a)), Some(WatchEvent::Added(b))]
        if a.metadata.name.as_deref() == Some("a") && b.metadata.name.as_deref() == Some("b")),
        "{seen:?}"
    );
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_objects_go_with_their_namespace_and_with_their_owner() {
    let served = Served::start(0).await;
    let client = served.cluster.client();
    let shops = establish(&served, &definition("example.org", "Shop", shop_schema())).await;
    let spaces: Api<Namespace> = Api::all(client.clone());
    let space: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "mall"}})).expect("a namespace");
    spaces.create(&PostParams::default(), &space).await.expect("created");
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("example.org", "v1", "Shop"), "shops");
    let in_mall: Api<DynamicObject> = Api::namespaced_with(client, "mall", &resource);
    let object = |name: &str, owner: Value| -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "example.org/v1", "kind": "Shop", "spec": {"goods": []},
            "metadata": {"name": name, "ownerReferences": owner}}))
        .expect("a shop")
    };
    in_mall.create(&PostParams::default(), &object("kiosk", json!([]))).await.expect("created");
    spaces.delete("mall", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || spaces.get_opt("mall").await.expect("an answer").is_none()).await;

    let owner = shops.create(&PostParams::default(), &object("owner", json!([]))).await.expect("created");
    let uid = owner.metadata.uid.expect("a uid");
    let owned = json!([{"apiVersion": "example.org/v1", "kind": "Shop", "name": "owner", "uid": uid}]);
    shops.create(&PostParams::default(), &object("owned", owned)).await.expect("created");
    shops.delete("owner", &DeleteParams::background()).await.expect("deleted");
    eventually(DEADLINE, async || shops.get_opt("owned").await.expect("an answer").is_none()).await;
    served.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn getting_updating_patching_custom_resource_definition_status_sub_resource_works() {
    let served = Served::start(0).await;
    establish(&served, &definition("example.org", "Shop", shop_schema())).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(served.cluster.client());
    let written = eventually_some(DEADLINE, async || {
        let mut read = definitions.get_status("shops.example.org").await.expect("read");
        let status = read.status.as_mut().expect("a status");
        let mut own = status.conditions.clone().expect("conditions")[0].clone();
        own.type_ = "StatusUpdate".to_owned();
        status.conditions.as_mut().expect("conditions").push(own);
        match definitions.replace_status("shops.example.org", &PostParams::default(), &read).await {
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => None,
            written => Some(written.expect("written")),
        }
    })
    .await;
    assert!(is(&written, "StatusUpdate") && is(&written, "Established"));
    assert!(is(&definitions.get("shops.example.org").await.expect("read"), "StatusUpdate"));
    served.cluster.stop().await;
}

/// Sets of definitions in the style of well-known operators, each with an object of its kind.
const OPERATORS: [(&str, &str, &str); 3] = [
    ("certificates", "certificates.spec.issuerRef", "NAME      READY   SECRET        AGE\n"),
    ("routes", "routes.spec.rules.matches.path", "NAME      HOSTNAMES             AGE\n"),
    ("workflows", "workflows.spec.podTemplate", "NAME      STATUS   PARALLELISM\n"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_definitions_are_installed_used_upgraded_and_deleted() {
    let served = Served::start(0).await;
    for (name, field, table) in OPERATORS {
        let text = std::fs::read_to_string(tests::root().join(format!("tests/custom_resources/{name}.yaml")))
            .expect("a file");
        let (definition, object) = text.split_once("\n---\n").expect("two documents");
        let (definition, object) = (served.file("crd.yaml", definition), served.file("object.yaml", object));
        assert_eq!(kubectl(&served, &["apply", "-f", &definition]).await.code, 0);
        let established =
            kubectl(&served, &["wait", "--for=condition=Established", "--timeout=30s", "-f", &definition])
                .await;
        assert_eq!(established.code, 0, "{established:?}");
        let applied = kubectl(&served, &["apply", "-f", &object]).await;
        assert!(applied.stdout.ends_with("/example created\n"), "{applied:?}");
        // kubectl sends a list again in which the server filled in defaults; the object stays what it is.
        let version = ["get", name, "example", "-o", "jsonpath={.metadata.resourceVersion}"];
        let before = kubectl(&served, &version).await.ok();
        assert_eq!(kubectl(&served, &["apply", "-f", &object]).await.code, 0);
        assert_eq!(kubectl(&served, &version).await.ok(), before, "{name}");
        let server_side =
            ["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", &object];
        assert_eq!(kubectl(&served, &server_side).await.code, 0);
        let before = kubectl(&served, &version).await.ok();
        assert_eq!(kubectl(&served, &server_side).await.code, 0);
        assert_eq!(kubectl(&served, &version).await.ok(), before);
        let listed = kubectl(&served, &["get", name]).await.ok();
        assert!(listed.starts_with(table), "{listed}");
        assert!(kubectl(&served, &["explain", field]).await.ok().contains("FIELD"), "{field}");
        // The next release says more of the same kind.
        let annotated =
            ["annotate", "--overwrite", "-f", &definition, "controller-gen.kubebuilder.io/version=v0.19.0"];
        assert_eq!(kubectl(&served, &annotated).await.code, 0);
        let more = "[{\"op\":\"add\",\"path\":\"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/more\",\"value\":{\"type\":\"string\",\"default\":\"new\"}}]";
        let stored =
            if name == "workflows" { more.replace("versions/0", "versions/1") } else { more.to_owned() };
        assert_eq!(
            kubectl(&served, &["patch", "-f", &definition, "--type=json", "-p", &stored]).await.code,
            0
        );
        let told = ["get", name, "example", "-o", "jsonpath={.spec.more}"];
        eventually(DEADLINE, async || kubectl(&served, &told).await.stdout == "new").await;
        assert_eq!(kubectl(&served, &["delete", "-f", &definition]).await.code, 0);
        let unknown = kubectl(&served, &["get", name]).await;
        assert_ne!(unknown.code, 0, "{unknown:?}");
    }
    served.cluster.stop().await;
}
