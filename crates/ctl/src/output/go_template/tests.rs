//! Templates and what they make of objects.

use serde_json::json;

use super::Template;

#[test]
fn renders_as_go_does() {
    let object = json!({
        "kind": "Pod",
        "metadata": {"name": "one", "labels": {"b": "2", "a": "1"}},
        "items": [{"n": 1}, {"n": 2}],
        "zero": 0,
        "empty": [],
    });
    for (template, want) in [
        ("plain", "plain"),
        ("{{.metadata.name}} {{.nope}} {{.nope.deeper}}", "one <no value> <no value>"),
        ("{{.metadata.labels}}", "map[a:1 b:2]"),
        ("{{range .items}}{{.n}},{{end}}", "1,2,"),
        ("{{range $i, $e := .items}}{{$i}}={{$e.n}} {{end}}", "0=1 1=2 "),
        ("{{range $k, $v := .metadata.labels}}{{$k}}{{$v}}{{end}}", "a1b2"),
        ("{{range .empty}}x{{else}}none{{end}}", "none"),
        ("{{if .zero}}a{{else if eq .kind \"Pod\"}}b{{else}}c{{end}}", "b"),
        ("{{with .metadata}}{{.name | printf \"%q\"}}{{end}}", "\"one\""),
        ("a {{- \" x \" -}}  b{{/* c */}}", "a x b"),
        ("{{$x := .kind}}{{range .items}}{{$x}}{{$.kind}}{{end}}", "PodPodPodPod"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{len .items}} {{index .items 1 \"n\"}} {{(index .items 0).n}}", "2 2 1"),
        ("{{and 1 0}} {{or 0 2}} {{not true}} {{ne 1 2}} {{lt 1 2}}", "0 2 false true true"),
        ("{{printf \"%s-%v-%03d|%-4s|\" .kind 3 7 \"a\"}}", "Pod-3-007|a   |"),
        ("{{slice \"abc\" 1 2}}{{print 1 2 \"a\"}}{{println 1}}", "b1 2a1\n"),
        ("{{html \"<a>\"}}{{urlquery \"a b\"}}{{base64decode \"YQ==\"}}", "&lt;a&gt;a+ba"),
        ("{{if exists . \"metadata\" \"name\"}}y{{end}}{{if exists . \"x\"}}n{{end}}", "y"),
        ("{{`raw \"text\"`}}", "raw \"text\""),
    ] {
        let found = Template::parse(template).and_then(|template| template.render(&object));
        assert_eq!(found.as_deref(), Ok(want), "{template}");
    }
}

#[test]
fn tells_what_is_wrong() {
    let object = json!({"metadata": {"name": "one"}});
    for (template, want) in [
        ("{{.metadata.name", "output:1: unclosed action"),
        ("\n{{nope}}", "output:2: function \"nope\" not defined"),
        ("{{if true}}", "output:1: unexpected EOF"),
        ("{{end}}", "output:1: unexpected {{end}}"),
        ("{{define \"x\"}}{{end}}", "output:1: {{define}} is not supported"),
    ] {
        assert_eq!(Template::parse(template).map(|_| ()), Err(want.to_owned()), "{template}");
    }
    let template = Template::parse("{{.metadata.name.x}}").unwrap();
    let want = "output:1:11: executing \"output\" at <.metadata.name.x>: can't evaluate field x in type interface {}";
    assert_eq!(template.render(&object), Err(want.to_owned()));
    let template = Template::parse("{{.a.b}}").unwrap().allow_missing_keys(false);
    let want = "output:1:4: executing \"output\" at <.a.b>: map has no entry for key \"a\"";
    assert_eq!(template.render(&object), Err(want.to_owned()));
}
