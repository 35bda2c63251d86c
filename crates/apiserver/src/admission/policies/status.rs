//! The status of ValidatingAdmissionPolicies: what their expressions get wrong about the kinds that they match.
//!
//! **Contract**: a task that follows the policies; each is looked at once a generation.
//! **Upstream**: `pkg/controller/validatingadmissionpolicystatus`, `validating/typechecking.go`.

use super::{GROUP, params};
use crate::admission::Lookup;
use crate::admission::declared::{self, OfRequests};
use crate::cel::{self, Declarations, Declared, Objects, Type};
use crate::registry::{Registry, UpdateOptions, Version};
use crate::resources::edit::{items, text};
use crate::upkeep::{At, Followed, RETRY_PAUSE, amend};
use crate::watch_cache::Selection;
use api::kind::Resource;
use api::schema::{FieldType, Schema};
use component_base::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const PLURAL: &str = "validatingadmissionpolicies";
/// Kinds that one policy is held against at most. **Upstream**: `maxTypesToCheck`.
const MAX_KINDS: usize = 10;

/// Begins to keep the statuses.
pub(crate) fn follow(registry: &Arc<Registry>, context: &Context) {
    let what = vec![(GROUP.to_owned(), PLURAL.to_owned(), Selection::namespace(""))];
    let mut followed = Followed::new(registry, what);
    let (registry, clock) = (Arc::clone(registry), context.clock.clone());
    context.shutdown.spawn(async move {
        loop {
            for policy in registry.list(GROUP, PLURAL, "") {
                let change = |policy: &Value| told(&registry, policy);
                let at = At::of(GROUP, PLURAL, &policy);
                while let Err(status) = amend(&registry, at, UpdateOptions::Status, &change).await {
                    tracing::warn!(message = status.message, "cannot tell what a policy gets wrong");
                    clock.sleep(RETRY_PAUSE).await;
                }
            }
            followed.changed(&clock).await;
        }
    });
}

/// The policy with the status of its generation; `None` if it has it.
fn told(registry: &Registry, policy: &Value) -> Option<Value> {
    let generation = policy["metadata"]["generation"].as_i64().unwrap_or(0);
    if policy["status"]["observedGeneration"] == generation {
        return None;
    }
    let kinds: Vec<Matched> = matched(registry, &policy["spec"]).iter().map(Matched::of).collect();
    let kind = &policy["spec"]["paramKind"];
    let params = params::served(registry, text(kind, "apiVersion"), text(kind, "kind"));
    let params = params.map(|(_, version)| Matched::named(&version, "params"));
    let warnings = warnings(&policy["spec"], &kinds, params.as_ref());
    let mut checking = json!({});
    if !warnings.is_empty() {
        checking["expressionWarnings"] = warnings.into();
    }
    let mut policy = policy.clone();
    policy["status"]["observedGeneration"] = generation.into();
    policy["status"]["typeChecking"] = checking;
    Some(policy)
}

/// A kind that a policy matches, and what is known of its objects.
struct Matched {
    resource: Resource,
    object: Arc<Declared>,
    fields: Box<dyn Objects>,
}

impl Matched {
    fn of(version: &Version) -> Self {
        Self::named(version, &version.resource().kind)
    }

    /// The type of a custom kind has no name but this.
    fn named(version: &Version, name: &str) -> Self {
        let resource = version.resource().clone();
        if let Some((object, fields)) = version.published().and_then(|published| published.declared(name)) {
            let fields = Box::new(Custom { whole: object.ty.clone(), fields });
            return Self { resource, object, fields };
        }
        let ty = Schema::get().type_by_gvk(&resource.group, &resource.version, &resource.kind);
        let ty = ty.map_or(Type::Dyn, |ty| Type::Object(ty.name.into()));
        Self { resource, object: Arc::new(Declared::of(ty)), fields: Box::new(BuiltIn) }
    }
}

/// The fields of a custom kind, whose metadata is that of every object.
struct Custom {
    whole: Type,
    fields: Box<dyn Objects>,
}

impl Objects for Custom {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        if field == "metadata" && matches!(&self.whole, Type::Object(name) if **name == *object) {
            let pod = Schema::get().type_by_gvk("", "v1", "Pod")?;
            return pod.field(field).map(|field| of_field(&field.ty));
        }
        self.fields.field(object, field).or_else(|| BuiltIn.field(object, field))
    }
}

/// What the expressions of a policy may speak of.
struct Everything<'a> {
    object: &'a dyn Objects,
    params: Option<&'a dyn Objects>,
}

impl Objects for Everything<'_> {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        let found = self.object.field(object, field);
        let found = found.or_else(|| self.params?.field(object, field));
        found.or_else(|| OfRequests.field(object, field))
    }
}

/// The fields of built-in types.
struct BuiltIn;

impl Objects for BuiltIn {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        Schema::get().type_by_name(object)?.field(field).map(|field| of_field(&field.ty))
    }
}

fn of_field(ty: &FieldType) -> Type {
    match ty {
        FieldType::String | FieldType::Quantity => Type::String,
        FieldType::Integer(_) => Type::Int,
        FieldType::Number => Type::Double,
        FieldType::Boolean => Type::Bool,
        FieldType::Time | FieldType::MicroTime => Type::Timestamp,
        FieldType::Ref(ty) => Type::Object(ty.name().into()),
        FieldType::Array(item) => Type::list(of_field(item)),
        FieldType::Map(value) => Type::map(of_field(value)),
        FieldType::Bytes => Type::Bytes,
        FieldType::IntOrString | FieldType::Any(_) | FieldType::SchemaOr(_) => Type::Dyn,
    }
}

/// The kinds that a policy names; what it says with `*` is not looked at.
fn matched(registry: &Registry, spec: &Value) -> Vec<Version> {
    let mut kinds: Vec<Version> = Vec::new();
    for rule in items(&spec["matchConstraints"], "resourceRules") {
        for group in items(rule, "apiGroups") {
            for version in items(rule, "apiVersions") {
                for plural in items(rule, "resources") {
                    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let served = registry.served(&name(group), &name(version), &name(plural));
                    let Some((_, version)) = served else { continue };
                    if !kinds.iter().any(|known| known.resource() == version.resource()) {
                        kinds.push(version);
                    }
                }
            }
        }
    }
    let key = |version: &Version| {
        let Resource { group, version, kind, .. } = version.resource();
        (group.clone(), version.clone(), kind.clone())
    };
    kinds.sort_by_key(key);
    kinds.truncate(MAX_KINDS);
    kinds
}

/// What each expression gets wrong, about whichever kind.
fn warnings(spec: &Value, kinds: &[Matched], params: Option<&Matched>) -> Vec<Value> {
    let known = kinds.iter().map(|kind| {
        let everything = Everything { object: &*kind.fields, params: params.map(|params| &*params.fields) };
        let params = params.map(|params| &params.object);
        let variables = variables(spec, (&kind.object, params), &everything);
        (kind, variables, everything)
    });
    let known: Vec<_> = known.collect();
    let mut warnings = Vec::new();
    for (index, validation) in items(spec, "validations").iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = text(validation, field).trim();
            if source.is_empty() {
                continue;
            }
            let wrong = known.iter().filter_map(|(kind, variables, objects)| {
                let declared = Declarations { objects, variables: variables.clone() };
                let why = cel::check(source, &declared)?.err()?;
                let Resource { kind: name, .. } = &kind.resource;
                Some(format!("{}, Kind={name}: {why}\n", kind.resource.api_version()))
            });
            let wrong: Vec<String> = wrong.collect();
            if !wrong.is_empty() {
                let at = format!("spec.validations[{index}].{field}");
                warnings.push(json!({"fieldRef": at, "warning": wrong.join("\n")}));
            }
        }
    }
    warnings
}

/// What is known of the variables of a policy's expressions for objects of one kind.
fn variables(
    spec: &Value,
    (object, params): (&Arc<Declared>, Option<&Arc<Declared>>),
    objects: &Everything<'_>,
) -> BTreeMap<String, Arc<Declared>> {
    let mut variables = declared::of_request();
    for name in ["object", "oldObject"] {
        variables.insert(name.to_owned(), Arc::clone(object));
    }
    variables.extend(params.map(|params| ("params".to_owned(), Arc::clone(params))));
    for variable in items(spec, "variables") {
        let declared = Declarations { objects, variables: variables.clone() };
        let checked = cel::check(text(variable, "expression").trim(), &declared).and_then(Result::ok);
        let ty = checked.map_or(Type::Dyn, |checked| checked.ty);
        variables.insert(format!("variables.{}", text(variable, "name")), Arc::new(Declared::of(ty)));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kind::Scope;

    #[test]
    fn names_fields_that_a_kind_does_not_have_and_operands_that_do_not_fit() {
        let resource =
            Resource::new("apps", "v1", "Deployment", "deployments", "deployment", Scope::Namespaced);
        let ty = Schema::get().type_by_gvk("apps", "v1", "Deployment").expect("a type");
        let object = Arc::new(Declared::of(Type::Object(ty.name.into())));
        let kinds = [Matched { resource, object, fields: Box::new(BuiltIn) }];
        let found = |expression: &str| {
            let variable =
                json!({"name": "names", "expression": "object.spec.template.spec.containers.map(c, c.name)"});
            let spec = json!({"variables": [variable], "validations": [{"expression": expression}]});
            let warnings = warnings(&spec, &kinds, None);
            warnings.first().map(|warning| warning["warning"].as_str().unwrap().to_owned())
        };
        for fine in [
            "object.spec.replicas > 1",
            "has(object.metadata.labels) && object.metadata.labels['x'] == 'y'",
            "object.spec.template.spec.containers.all(c, c.image.startsWith('a') && has(c.resources))",
            "variables.names.size() > 0 && variables.names[0] == 'x' && 'x' in variables.names",
            "object.spec.strategy.rollingUpdate.maxSurge == '25%' || oldObject == null",
            "request.userInfo.username == 'x' && namespaceObject.metadata.name == 'x' && params.a.b > 3",
            "authorizer.group('').resource('pods').check('get').allowed() && authorizer.requestResource.check('x').allowed()",
            "object.metadata.?labels[?'a'].orValue('') == ''",
        ] {
            assert_eq!(found(fine), None, "{fine}");
        }
        let table = [
            (
                "object.spec.nope > 1",
                "1:12: undefined field 'nope'\n | object.spec.nope > 1\n | ...........^",
            ),
            ("object.spec.replicas > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
            ("object.spec.template.spec.containers.all(c, c.nope == 1)", "undefined field 'nope'"),
            (
                "object.metadata.name.all(c, true)",
                "expression of type 'string' cannot be range of a comprehension",
            ),
            ("object.spec.replicas.x == 1", "type 'int' does not support field selection"),
            ("request.userInfo.nope == 'x'", "1:17: undefined field 'nope'"),
            (
                "namespaceObject.metadata.name > 1",
                "found no matching overload for '_>_' applied to '(string, int)'",
            ),
            ("variables.names[0] > 1", "found no matching overload for '_>_' applied to '(string, int)'"),
        ];
        for (expression, text) in table {
            let warning = found(expression).unwrap_or_default();
            assert!(
                warning.starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:"),
                "{expression}: {warning}"
            );
            assert!(warning.contains(text), "{expression}: {warning}");
        }
    }
}
