//! Templates and what they give, as kubectl 1.36 gives it.

use serde_json::{Value, json};

use super::*;

fn object() -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": "hello", "labels": {"app": "x", "tier": "y"}, "annotations": {"example.com/a.b": "dots"}},
        "spec": {
            "priority": 0, "hostNetwork": true, "nothing": null, "ratio": 1.5,
            "containers": [
                {"name": "web", "image": "nginx", "ports": [{"containerPort": 80}, {"containerPort": 443}]},
                {"name": "side", "image": "busybox"},
                {"name": "third", "image": "nginx"},
            ],
        },
    })
}

#[test]
fn templates_give_kubectls_text() {
    for (template, want) in [
        ("{.metadata.name}", "hello"),
        ("{ .metadata.name }", "hello"),
        ("{$.metadata.name}", "hello"),
        ("{@.metadata.name}", "hello"),
        ("plain", "plain"),
        ("{.metadata.name} is a {.kind}", "hello is a Pod"),
        ("{.metadata.name}{\"\\t\"}{.kind}{\"\\n\"}", "hello\tPod\n"),
        ("{'single'}", "single"),
        ("{1}{1.5}{true}", "11.5true"),
        ("{.metadata.labels}", "{\"app\":\"x\",\"tier\":\"y\"}"),
        ("{.metadata.labels.*}", "x y"),
        ("{['metadata']['name']}", "hello"),
        ("{.metadata.annotations['example\\.com/a\\.b']}", "dots"),
        ("{.metadata.annotations.example\\.com/a\\.b}", "dots"),
        ("{.spec.containers[*].name}", "web side third"),
        ("{.spec.containers[0].name}", "web"),
        ("{.spec.containers[-1].name}", "third"),
        ("{.spec.containers[0:2].name}", "web side"),
        ("{.spec.containers[:-1].name}", "web side"),
        ("{.spec.containers[0:3:2].name}", "web third"),
        ("{.spec.containers[0,2].name}", "web third"),
        ("{.metadata['name','labels'].app}", "x"),
        ("{.spec.containers[?(@.name==\"side\")].image}", "busybox"),
        ("{.spec.containers[?(@.name!='side')].name}", "web third"),
        ("{.spec.containers[?(@.ports)].name}", "web"),
        ("{.spec.containers[*].ports[?(@.containerPort>100)].containerPort}", "443"),
        ("{.spec.containers[*].ports[?(@.containerPort<=80)].containerPort}", "80"),
        ("{..containerPort}", "80 443"),
        ("{.spec..image}", "nginx busybox nginx"),
        ("{range .spec.containers[*]}{.name}={.image};{end}", "web=nginx;side=busybox;third=nginx;"),
        (
            "{range .spec.containers[*]}{.name}:{range .ports[*]}{.containerPort},{end}{\"\\n\"}{end}",
            "web:80,443,\nside:\nthird:\n",
        ),
        ("{range .spec.containers[*]}{.name}", "websidethird"),
        ("{.spec.priority} {.spec.hostNetwork} {.spec.ratio}", "0 true 1.5"),
        ("{.spec.nothing}", "null"),
        ("{.nope}", ""),
        ("{.nope.deeper[*].x}", ""),
        ("{.kind}{.nope}{.kind}", "PodPod"),
        ("{.kind .metadata.name}", "Podhello"),
    ] {
        let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(parsed.render(&object()).as_deref(), Ok(want), "{template}");
    }
}

#[test]
fn what_does_not_fit_is_told() {
    for (template, want) in [
        ("{.spec.containers[7].name}", "array index out of bounds: index 7, length 3"),
        ("{.spec.containers[-7].name}", "array index out of bounds: index -7, length 3"),
        (
            "{.metadata[0]}",
            "map[annotations:map[example.com/a.b:dots] labels:map[app:x tier:y] name:hello] is not array or slice",
        ),
    ] {
        let found = Template::parse(template).unwrap().render(&object());
        assert_eq!(found, Err(JsonPathError(want.to_owned())), "{template}");
    }
    let strict = Template::parse("{.nope}").unwrap().allow_missing_keys(false);
    assert_eq!(strict.render(&object()), Err(JsonPathError("nope is not found".to_owned())));
}

#[test]
fn broken_templates_are_refused() {
    for (template, want) in [
        ("{.a", "unclosed action"),
        ("{end}", "not in range, nothing to end"),
        ("{[\"a\"]}", "invalid array index \"a\""),
        ("{.a[x]}", "invalid array index x"),
        ("{.a[0}", "unterminated array"),
        ("{\"a}", "unclosed action"),
        ("{nope}", "unrecognized identifier nope"),
    ] {
        assert_eq!(Template::parse(template).unwrap_err().0, want, "{template}");
    }
    for deep in ["[?(@.a", "{range .a}", "["] {
        let template = format!("{{.x{}}}", deep.repeat(100_000));
        assert!(Template::parse(&template).is_err(), "{deep}");
    }
}

#[test]
fn relaxed_forms_mean_paths() {
    for (text, want) in [
        ("metadata.name", "{.metadata.name}"),
        (".metadata.name", "{.metadata.name}"),
        ("{metadata.name}", "{.metadata.name}"),
        ("{.metadata.name}", "{.metadata.name}"),
        ("{.a}{.b}", "{.a}{.b}"),
        ("", ""),
    ] {
        assert_eq!(relax(text).unwrap(), want, "{text}");
    }
    assert!(relax("{}").is_err());
}

#[test]
fn lists_come_out_as_json() {
    let template = Template::parse("{.spec.containers[0:2].name}").unwrap();
    assert_eq!(template.render_json(&object()).unwrap(), "[\n    \"web\",\n    \"side\"\n]\n");
}
