//! The schema of an HTTPRoute.

use super::schema::{
    HOSTNAME, KIND, SECTION, checked, conditions, group, list, number, object, one_of, or, pattern, port,
    reference, text,
};
use crate::gateway::types::GROUP;
use serde_json::{Value, json};

const HEADER: &str = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$";
const DURATION: &str = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$";

fn parent() -> Value {
    reference(GROUP, "Gateway", vec![("port", port()), ("sectionName", pattern(SECTION, 253))])
}

fn headers() -> Value {
    let pair =
        object(&["name", "value"], vec![("name", pattern(HEADER, 256)), ("value", pattern(".*", 4096))]);
    let names = json!({
        "type": "array", "items": {"type": "string"}, "maxItems": 16, "x-kubernetes-list-type": "set",
    });
    object(
        &[],
        vec![
            ("add", list(pair.clone(), 16, &["name"])),
            ("remove", names),
            ("set", list(pair, 16, &["name"])),
        ],
    )
}

fn path_modifier() -> Value {
    checked(
        object(
            &["type"],
            vec![
                ("replaceFullPath", text(1024)),
                ("replacePrefixMatch", text(1024)),
                ("type", one_of(&["ReplaceFullPath", "ReplacePrefixMatch"])),
            ],
        ),
        &[
            (
                "self.type == 'ReplaceFullPath' ? has(self.replaceFullPath) : true",
                "replaceFullPath must be specified when type is set to 'ReplaceFullPath'",
            ),
            (
                "self.type == 'ReplacePrefixMatch' ? has(self.replacePrefixMatch) : true",
                "replacePrefixMatch must be specified when type is set to 'ReplacePrefixMatch'",
            ),
        ],
    )
}

fn backend(more: Vec<(&str, Value)>) -> Value {
    let mut fields = vec![("port", port())];
    fields.extend(more);
    checked(
        reference("", "Service", fields),
        &[(
            "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
            "Must have port for Service reference",
        )],
    )
}

fn filters() -> Value {
    let redirect = object(
        &[],
        vec![
            ("hostname", pattern(HOSTNAME, 253)),
            ("path", path_modifier()),
            ("port", port()),
            ("scheme", one_of(&["http", "https"])),
            ("statusCode", json!({"type": "integer", "default": 302, "enum": [301, 302, 303, 307, 308]})),
        ],
    );
    let fraction = object(
        &["numerator"],
        vec![
            ("denominator", or(number(1, i64::from(i32::MAX)), json!(100))),
            ("numerator", number(0, i64::from(i32::MAX))),
        ],
    );
    let mirror = object(
        &["backendRef"],
        vec![("backendRef", backend(Vec::new())), ("fraction", fraction), ("percent", number(0, 100))],
    );
    let extension = object(
        &["group", "kind", "name"],
        vec![("group", group()), ("kind", pattern(KIND, 63)), ("name", pattern(".*", 253))],
    );
    let rewrite = object(&[], vec![("hostname", pattern(HOSTNAME, 253)), ("path", path_modifier())]);
    let kinds = [
        ("requestHeaderModifier", "RequestHeaderModifier"),
        ("responseHeaderModifier", "ResponseHeaderModifier"),
        ("requestMirror", "RequestMirror"),
        ("requestRedirect", "RequestRedirect"),
        ("urlRewrite", "URLRewrite"),
        ("extensionRef", "ExtensionRef"),
    ];
    let rules: Vec<[(String, String); 2]> = kinds
        .iter()
        .map(|(field, kind)| {
            [
                (
                    format!("!(has(self.{field}) && self.type != '{kind}')"),
                    format!("filter.{field} must be nil if the filter.type is not {kind}"),
                ),
                (
                    format!("!(!has(self.{field}) && self.type == '{kind}')"),
                    format!("filter.{field} must be specified for {kind} filter.type"),
                ),
            ]
        })
        .collect();
    let rules: Vec<(&str, &str)> =
        rules.iter().flatten().map(|(rule, message)| (rule.as_str(), message.as_str())).collect();
    let filter = checked(
        object(
            &["type"],
            vec![
                ("extensionRef", extension),
                ("requestHeaderModifier", headers()),
                ("requestMirror", mirror),
                ("requestRedirect", redirect),
                ("responseHeaderModifier", headers()),
                ("type", one_of(&kinds.map(|(_, kind)| kind))),
                ("urlRewrite", rewrite),
            ],
        ),
        &rules,
    );
    checked(
        list(filter, 16, &[]),
        &[
            (
                "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
                "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
            ),
            (
                "self.filter(f, f.type == 'RequestHeaderModifier').size() <= 1",
                "RequestHeaderModifier filter cannot be repeated",
            ),
            (
                "self.filter(f, f.type == 'ResponseHeaderModifier').size() <= 1",
                "ResponseHeaderModifier filter cannot be repeated",
            ),
            (
                "self.filter(f, f.type == 'RequestRedirect').size() <= 1",
                "RequestRedirect filter cannot be repeated",
            ),
            ("self.filter(f, f.type == 'URLRewrite').size() <= 1", "URLRewrite filter cannot be repeated"),
        ],
    )
}

pub(super) fn route_spec() -> Value {
    let match_type = or(one_of(&["Exact", "RegularExpression"]), json!("Exact"));
    let name_match = |most: u32| {
        object(
            &["name", "value"],
            vec![
                ("name", pattern(HEADER, 256)),
                ("type", match_type.clone()),
                ("value", pattern(".*", most)),
            ],
        )
    };
    let path = checked(
        object(
            &[],
            vec![
                ("type", or(one_of(&["Exact", "PathPrefix", "RegularExpression"]), json!("PathPrefix"))),
                ("value", or(text(1024), json!("/"))),
            ],
        ),
        &[(
            "(self.type in ['Exact','PathPrefix']) ? self.value.startsWith('/') : true",
            "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']",
        )],
    );
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let any = json!({"type": "PathPrefix", "value": "/"});
    let matches = object(
        &[],
        vec![
            ("headers", list(name_match(4096), 16, &["name"])),
            ("method", one_of(&methods)),
            ("path", or(path, any.clone())),
            ("queryParams", list(name_match(1024), 16, &["name"])),
        ],
    );
    let timeouts = checked(
        object(&[], vec![("backendRequest", pattern(DURATION, 63)), ("request", pattern(DURATION, 63))]),
        &[(
            "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s') && duration(self.backendRequest) > duration(self.request))",
            "backendRequest timeout cannot be longer than request timeout",
        )],
    );
    let backends = backend(vec![("filters", filters()), ("weight", or(number(0, 1_000_000), json!(1)))]);
    let rule = object(
        &[],
        vec![
            ("backendRefs", list(backends, 16, &[])),
            ("filters", filters()),
            ("matches", or(list(matches, 64, &[]), json!([{"path": any}]))),
            ("name", pattern(SECTION, 253)),
            ("timeouts", timeouts),
        ],
    );
    let rules = or(list(rule, 16, &[]), json!([{"matches": [{"path": any}]}]));
    object(
        &[],
        vec![
            ("hostnames", list(pattern(HOSTNAME, 253), 16, &[])),
            ("parentRefs", list(parent(), 32, &[])),
            ("rules", rules),
        ],
    )
}

pub(super) fn route_status() -> Value {
    let one = object(
        &["conditions", "controllerName", "parentRef"],
        vec![("conditions", conditions()), ("controllerName", pattern(".*", 253)), ("parentRef", parent())],
    );
    object(&["parents"], vec![("parents", list(one, 32, &[]))])
}
