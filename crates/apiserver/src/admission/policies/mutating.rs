//! `MutatingAdmissionPolicy`: expressions that change what is written.
//!
//! **Contract**: a policy's mutations are made in their order, each on what the one before made of the object. Nobody
//! owns the fields that policies set.
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/policy/mutating`.

use super::evaluation::{self, Evaluation};
use super::{Invocation, Misconfigured, Policy, Source};
use crate::admission::refusal::forbidden;
use crate::admission::variables::{self, Seen};
use crate::admission::{Attributes, Form, Forms, Outsider, form, request};
use crate::cel::{self, Compiled, Environment, Kind};
use crate::patch::json as json_patch;
use crate::resources::edit::text;
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Map, Value};

const NAME: &str = "MutatingAdmissionPolicy";

/// One change.
#[derive(Debug)]
pub(super) struct Mutation {
    is_patch: bool,
    expression: Compiled,
}

impl Mutation {
    pub(super) fn read(mutation: &Value, environment: &Environment) -> Self {
        let is_patch = mutation["patchType"] == "JSONPatch";
        let of = &mutation[if is_patch { "jsonPatch" } else { "applyConfiguration" }];
        Self { is_patch, expression: Compiled::new(text(of, "expression").trim(), environment, Kind::Any) }
    }

    /// The object that it makes of another, in this form.
    fn apply(
        &self,
        evaluation: &Evaluation<'_>,
        (forms, form): (&dyn Forms, usize),
        object: &Value,
    ) -> Result<Value, String> {
        let value = evaluation.evaluate(&self.expression)?;
        if self.is_patch { patched(&value, object) } else { configured(&value, (forms, form), object) }
    }
}

/// The plugin.
pub(super) struct Mutating(pub(super) Source);

#[async_trait]
impl Outsider for Mutating {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    async fn mutate(
        &self,
        attributes: &mut Attributes<'_>,
        object: Option<&mut Value>,
    ) -> Result<(), Status> {
        // What is deleted cannot be changed any more.
        let Some(object) = object else { return Ok(()) };
        let concerned = self.0.concerned(attributes, Some(object)).await;
        let mut errors = Vec::new();
        for Misconfigured { policy, binding, why } in &concerned.errors {
            let what = if binding.is_some() { "binding" } else { "policy" };
            let message = format!("failed to configure {what}: {why}");
            errors.extend(refusal(policy, binding.as_ref().map(|binding| binding.name.as_str()), &message));
        }
        attributes.reinvocation.enter(NAME, Some(object));
        for invocation in &concerned.invocations {
            let key = invocation.key();
            if !attributes.reinvocation.is_asked(NAME, &key) {
                continue;
            }
            let before = object.clone();
            let start = self.0.metrics.start();
            let asked = self.ask(attributes, invocation, &concerned.forms, object).await?;
            let names = (&*invocation.policy.name, &*invocation.binding.name);
            self.0.metrics.mutated(names, asked.is_err(), start);
            if let Err(why) = asked {
                let message = refusal(&invocation.policy, Some(&invocation.binding.name), &why);
                errors.extend(message);
            }
            if *object != before {
                attributes.reinvocation.changed(NAME);
            }
            if invocation.policy.wants_reinvocation {
                attributes.reinvocation.wait(NAME, &key);
            }
        }
        attributes.reinvocation.leave(NAME, Some(object));
        let Some(first) = errors.first() else { return Ok(()) };
        let mut status = forbidden(attributes, Some(object), "admission request denied by policy");
        status.message.clone_from(first);
        status.reason = "Invalid";
        Err(errors.iter().fold(status, |status, message| status.with_cause("", message, "")))
    }
}

/// What a failure is told as, if it counts.
fn refusal(policy: &Policy, binding: Option<&str>, why: &str) -> Option<String> {
    let name = &policy.name;
    let message = match binding {
        Some(binding) => format!("policy '{name}' with binding '{binding}' denied request: {why}"),
        None => format!("policy {name:?} denied request: {why}"),
    };
    (!policy.ignores_failures).then_some(message)
}

impl Invocation {
    /// Tells it from every other.
    fn key(&self) -> String {
        let param = self.param.as_ref().map(|param| {
            let text = |field: &str| param["metadata"][field].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("namespace"), text("name"))
        });
        format!("{} {} {}", self.policy.name, self.binding.name, param.unwrap_or_default())
    }
}

impl Mutating {
    /// Makes a policy's changes, until one fails.
    async fn ask(
        &self,
        attributes: &Attributes<'_>,
        invocation: &Invocation,
        forms: &[Form],
        object: &mut Value,
    ) -> Result<Result<(), String>, Status> {
        let old = match attributes.old {
            Some(old) => Some(form::show(attributes, invocation.form, old).await?),
            None => None,
        };
        for mutation in &invocation.policy.mutations {
            let new = form::show(attributes, invocation.form, object).await?;
            let changed = {
                let form = &forms[invocation.form];
                let seen = Seen { requested: &forms[0], form, object: Some(&new), old: old.as_ref() };
                match self.changed(attributes, invocation, mutation, &seen) {
                    Ok(Some(changed)) => changed,
                    Ok(None) => return Ok(Ok(())),
                    Err(why) => return Ok(Err(why)),
                }
            };
            match attributes.forms.take(invocation.form, changed, object).await {
                Ok(taken) => *object = taken,
                Err(status) => return Ok(Err(status.message)),
            }
        }
        Ok(Ok(()))
    }

    /// The object after one change; `None`: the policy's conditions do not hold.
    fn changed(
        &self,
        attributes: &Attributes<'_>,
        invocation: &Invocation,
        mutation: &Mutation,
        seen: &Seen<'_>,
    ) -> Result<Option<Value>, String> {
        let mut context = variables::context(attributes, seen, &self.0.authorizer);
        let namespace = attributes.lookup.get("", "namespaces", "", attributes.namespace);
        let own = request::namespace(attributes) == attributes.namespace;
        evaluation::add_namespace(&mut context, namespace.as_deref().filter(|_| own));
        evaluation::add_param(&mut context, invocation);
        if !invocation.policy.conditions.hold(&context)? {
            return Ok(None);
        }
        let evaluation = Evaluation::new(&context, &invocation.policy);
        let object = seen.object.ok_or("there is no object")?;
        mutation.apply(&evaluation, (attributes.forms, invocation.form), object).map(Some)
    }
}

/// The object with an apply configuration merged in.
fn configured(
    value: &cel::Value,
    (forms, form): (&dyn Forms, usize),
    object: &Value,
) -> Result<Value, String> {
    cel::check_constructed(value, "Object").map_err(|why| format!("type mismatch: {why}"))?;
    let config = cel::to_json(value).filter(Value::is_object);
    let config = config.ok_or_else(|| {
        format!("unsupported return type from ApplyConfiguration expression: {}", value.type_of())
    })?;
    let mut changed = object.clone();
    let atomic = forms.merge(form, &mut changed, &config);
    if atomic.is_empty() {
        return Ok(changed);
    }
    let why = format!("may not mutate atomic arrays, maps or structs: {}", atomic.join(", "));
    Err(format!("error applying patch: invalid ApplyConfiguration: {why}"))
}

/// The object after the operations that an expression lists.
fn patched(value: &cel::Value, object: &Value) -> Result<Value, String> {
    let mismatch = "type mismatch: JSONPatchType.expression should evaluate to array";
    let cel::Value::List(list) = value else { return Err(mismatch.to_owned()) };
    let mut operations = Vec::with_capacity(list.len());
    for one in list.iter() {
        let constructed = cel::constructed_type(one) == Some("JSONPatch");
        let fields = cel::to_json(one).filter(|_| constructed);
        let Some(Value::Object(mut fields)) = fields else { return Err(format!("{mismatch} of JSONPatch")) };
        fields.retain(|name, value| name != "from" || value != "");
        operations.push(Value::Object(Map::from_iter(fields)));
    }
    let operations = json_patch::parse(Value::from(operations).to_string().as_bytes());
    let operations = operations.map_err(|status| format!("JSONPath: {}", status.message))?;
    let mut changed = object.clone();
    match json_patch::apply_tested(&operations, &mut changed) {
        Ok(()) => Ok(changed),
        Err(json_patch::Failure::Test) => Ok(object.clone()),
        Err(json_patch::Failure::Other(why)) => Err(format!("JSONPath: {why}")),
    }
}
