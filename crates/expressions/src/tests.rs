//! What expressions are worth, what they cost and how they fail.

use super::*;
use serde_json::json;

fn evaluate(source: &str) -> Result<serde_json::Value, String> {
    let environment = Environment::of(&["object", "oldObject"]);
    let expression = Expression::compile(source, &environment, Kind::Any)?;
    let mut context = context();
    let object = json!({"metadata": {"name": "n", "namespace": "ns", "labels": {"app.io/x": "y"}},
        "spec": {"replicas": 3, "list": [{"name": "a", "n": 1}, {"name": "b", "n": 2}], "none": null, "f": 1.5}});
    context.add_variable_from_value("object", from_json(&object));
    context.add_variable_from_value("oldObject", Value::Null);
    let value = expression.evaluate(&context, &Budget::new(10_000_000))?;
    to_json(&value).ok_or_else(|| "no JSON".to_owned())
}

#[test]
fn evaluates_what_policies_say() {
    let table = [
        ("object.spec.replicas <= 5", json!(true)),
        ("object.metadata.namespace + '/' + object.metadata.name", json!("ns/n")),
        ("object.metadata.labels['app.io/x'] == 'y'", json!(true)),
        ("has(object.metadata.annotations)", json!(false)),
        ("has(object.spec.replicas) && object.spec.replicas > 2", json!(true)),
        ("oldObject == null || oldObject.spec.x == 1", json!(true)),
        ("object.spec.list.all(c, c.n > 0)", json!(true)),
        ("object.spec.list.exists(c, c.name == 'b')", json!(true)),
        ("object.spec.list.exists_one(c, c.n == 1)", json!(true)),
        ("object.spec.list.filter(c, c.n > 1).map(c, c.name)", json!(["b"])),
        ("object.spec.list.map(c, c.n > 1, c.name).size()", json!(1)),
        ("object.?spec.?missing.?deeper.orValue('default')", json!("default")),
        ("object.?spec.?replicas.orValue(1)", json!(3)),
        ("object.spec.?replicas.optMap(r, r + 1).orValue(0)", json!(4)),
        ("object.spec.?missing.optMap(r, r + 1).hasValue()", json!(false)),
        ("object.metadata.labels[?'none'].orValue('')", json!("")),
        ("'é'.size()", json!(1)),
        ("'a-b'.split('-').join('+')", json!("a+b")),
        ("quantity('1Gi').isGreaterThan(quantity('500Mi'))", json!(true)),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", json!(true)),
        ("semver('1.2.3').isLessThan(semver('2.0.0'))", json!(true)),
        ("isURL('https://a/b') && url('https://a:1/b').getPort() == '1'", json!(true)),
        ("'abc'.matches('^a.c$')", json!(true)),
        ("type(object.spec.replicas) == int", json!(true)),
        ("type(object.spec.list) == list", json!(true)),
        ("dyn(1) == 1", json!(true)),
        ("object.spec.f > 1.0 ? 'big' : 'small'", json!("big")),
        ("duration('1h').getHours()", json!(1)),
        ("{'a': 1, ?'b': optional.none()}", json!({"a": 1})),
        ("sets.contains(['a', 'b'], ['a'])", json!(true)),
        ("'%s is %d'.format(['x', 2])", json!("x is 2")),
        ("[3, 1, 2].sort()", json!([1, 2, 3])),
        ("[1, 2].all(i, v, v == i + 1)", json!(true)),
        ("{'a': 1, 'b': 2}.exists(k, v, k == 'b' && v == 2)", json!(true)),
        ("{'a': 1, 'b': 1}.existsOne(k, v, v == 1)", json!(false)),
        ("['x', 'y'].transformList(i, v, v + string(i))", json!(["x0", "y1"])),
        ("{'a': 1, 'b': 2}.transformList(k, v, v > 1, k)", json!(["b"])),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 10)", json!({"b": 20})),
        ("{'a': 'x'}.transformMapEntry(k, v, {v: k})", json!({"x": "a"})),
        ("object.spec.list.all(i, v, object.spec.list.exists(j, w, i == j && v == w))", json!(true)),
        ("object.metadata.labels.transformMap(k, v, {k: v}).all(k, v, v[k] != '')", json!(true)),
        ("jsonpatch.escapeKey('a/b~c')", json!("a~1b~0c")),
        ("!format.dns1123Label().validate('Not A Label').hasValue()", json!(false)),
    ];
    for (source, expected) in table {
        assert_eq!(evaluate(source), Ok(expected), "{source}");
    }
}

#[test]
fn what_goes_wrong_is_told_in_upstreams_words() {
    let table = [
        ("object.spec.missing == 1", "no such key: missing"),
        ("object.spec.replicas.x == 1", "no such overload"),
        ("object.spec.none.x == 1", "no such overload"),
        ("object.spec.list[7].n", "index out of bounds: 7"),
        ("1 / 0", "division by zero"),
        ("'a' + 1", "no such overload"),
        ("[1, 2].transformMapEntry(i, v, {'same': v})", "insert failed: key same already exists"),
    ];
    for (source, expected) in table {
        assert_eq!(evaluate(source), Err(expected.to_owned()), "{source}");
    }
}

#[test]
fn what_is_not_declared_or_no_expression_does_not_compile() {
    let environment = Environment::of(&["object"]);
    let error = |source: &str, kind| Expression::compile(source, &environment, kind).unwrap_err();
    assert_eq!(
        error("object.x &&\n nothing", Kind::Bool),
        "compilation failed: ERROR: <input>:2:2: undeclared reference to 'nothing' (in container '')\n |  nothing\n | .^"
    );
    let unparsed = error("... [] bad expression", Kind::Bool);
    assert!(
        unparsed.starts_with("compilation failed: ERROR: <input>:1:") && unparsed.contains("Syntax error: "),
        "{unparsed}"
    );
    assert!(error("object.frobnicate()", Kind::Any).contains("undeclared reference to 'frobnicate'"));
    assert!(error("[1].all(1, v, true)", Kind::Any).contains("undeclared reference to 'all'"));
    assert!(error("math.least(1, 2)", Kind::Any).contains("undeclared reference to 'least'"));
    assert!(error("Object{a: 1}", Kind::Any).contains("undeclared reference to 'Object'"));
    assert!(error("variables.x", Kind::Any).contains("undeclared reference to 'variables.x'"));
    assert_eq!(error("1 + 1", Kind::Bool), "must evaluate to bool");
    assert_eq!(error("true", Kind::String), "must evaluate to string");
    assert_eq!(error("[1].map(x, x)", Kind::Bool), "must evaluate to bool");
    for source in ["", "(", "a.b.c.", "\u{0}", "'\\"] {
        assert!(Expression::compile(source, &environment, Kind::Any).is_err());
    }
}

/// As long as an expression may be, as deep as each of the parser's rules recurses.
#[test]
fn the_longest_expressions_end() {
    let environment = Environment::of(&["object"]);
    for repeated in ["(", "-", "1+", "1?1:", ".a", "1||", "{1:", "a["] {
        let source = repeated.repeat(MAX_LENGTH / repeated.len());
        for source in
            [&source, &format!("object{}", &source[..source.len() - 6]), &format!("{}1", &source[1..])]
        {
            let compiled = Expression::compile(source, &environment, Kind::Any);
            let ended = compiled.and_then(|expression| expression.evaluate(&context(), &Budget::new(1_000)));
            // Only signs before a number may be many.
            assert!(ended.is_err() || repeated == "-", "{repeated}");
        }
    }
}

#[test]
fn a_loop_ends_with_its_budget() {
    let numbers = "[0,1,2,3,4,5,6,7,8,9]";
    let mut source = format!("{numbers}.all(a, true)");
    for i in 0..6 {
        source = format!("{numbers}.all(x{i}, {source})");
    }
    assert_eq!(evaluate(&source), Err("operation cancelled: actual cost limit exceeded".to_owned()));
}

#[test]
fn objects_can_be_made_where_they_are_wanted() {
    let environment = Environment { constructs: true, ..Environment::of(&["object"]) };
    let source = "Object{metadata: Object.metadata{labels: {'a': 'b'}}, spec: Object.spec{replicas: 1 + 1}}";
    let expression = Expression::compile(source, &environment, Kind::Any).unwrap();
    let value = expression.evaluate(&context(), &Budget::new(1_000)).unwrap();
    assert_eq!(to_json(&value), Some(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 2}})));
}

#[test]
fn maps_that_are_total_have_an_empty_map_for_what_they_lack() {
    let environment = Environment::of_devices();
    let mut context = context();
    let own =
        map([("model".to_owned(), "a".into()), ("driver".to_owned(), semver("1.2.3").expect("a version"))]);
    let memory = map([("memory".to_owned(), quantity("8Gi").expect("an amount"))]);
    let attributes = map([("x.io".to_owned(), own)]);
    let capacity = map([("x.io".to_owned(), memory)]);
    let device = map([("attributes".to_owned(), attributes), ("capacity".to_owned(), capacity)]);
    context.add_variable_from_value("device", device);
    for (source, wanted) in [
        ("device.attributes['x.io'].model == 'a'", Ok(true)),
        ("device.attributes['x.io'].driver.isGreaterThan(semver('1.2.0'))", Ok(true)),
        ("device.attributes['x.io'].driver == semver('1.2.3')", Ok(true)),
        ("device.capacity['x.io'].memory.compareTo(quantity('8Gi')) >= 0", Ok(true)),
        ("'model' in device.attributes['y.io']", Ok(false)),
        ("has(device.attributes['y.io'].model)", Ok(false)),
        ("device.attributes['y.io'].?model.orValue('a') == 'a'", Ok(true)),
        ("'y.io' in device.attributes", Ok(false)),
        ("device.attributes['y.io'].model == 'a'", Err("no such key: model")),
    ] {
        let expression = Expression::compile(source, &environment, Kind::Bool).expect(source);
        let found = expression.evaluate(&context, &Budget::new(1000));
        let found = found.map(|value| value == Value::Bool(true));
        assert_eq!(found, wanted.map_err(str::to_owned), "{source}");
    }
}
