//! `matchConditions`, and the variables that expressions about a request have.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions`, `pkg/admission/plugin/cel`.

use super::request::{self, AdmissionRequest};
use super::{Attributes, Form};
use crate::auth::Authorizer;
use crate::cel::{self, Budget, Context, Environment, Expression, Kind};
use crate::resources::edit::{items, text};
use serde_json::Value;
use std::sync::Arc;

/// What expressions about any request may refer to.
const VARIABLES: [&str; 5] = ["object", "oldObject", "request", "authorizer", "authorizer.requestResource"];
/// Steps that all conditions of one webhook or policy may take. **Upstream**: `RuntimeCELCostBudgetMatchConditions`.
const STEPS: u64 = 2_500_000;

/// The variables of a webhook's conditions.
pub(crate) fn environment() -> Environment {
    Environment::of(&VARIABLES)
}

/// An expression as it was written, and compiled or not.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) source: String,
    expression: Result<Expression, String>,
}

impl Compiled {
    pub(crate) fn new(source: &str, environment: &Environment, kind: Kind) -> Self {
        Self { source: source.to_owned(), expression: Expression::compile(source, environment, kind) }
    }

    /// What is wrong with it, if it does not compile.
    pub(crate) fn error(&self) -> Option<&str> {
        self.expression.as_ref().err().map(String::as_str)
    }

    /// The value, or why there is none, in upstream's words.
    pub(crate) fn evaluate(&self, context: &Context<'_>, budget: &Arc<Budget>) -> Result<cel::Value, String> {
        let expression = self.expression.as_ref().map_err(|why| format!("compilation error: {why}"))?;
        let told = |why| format!("expression '{}' resulted in error: {why}", self.source);
        expression.evaluate(context, budget).map_err(told)
    }
}

/// The conditions of one webhook or policy.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    list: Vec<Compiled>,
    ignores_failures: bool,
}

impl Conditions {
    /// Those of a webhook or of a policy's `spec`.
    pub(crate) fn read(holder: &Value, environment: &Environment) -> Self {
        let compile =
            |condition: &Value| Compiled::new(text(condition, "expression"), environment, Kind::Bool);
        Self {
            list: items(holder, "matchConditions").iter().map(compile).collect(),
            ignores_failures: holder["failurePolicy"] == "Ignore",
        }
    }

    /// The first that does not compile: its place, its text and what is wrong.
    pub(crate) fn error(&self) -> Option<(usize, &str, &str)> {
        let mut places = self.list.iter().enumerate();
        places.find_map(|(i, condition)| Some((i, condition.source.as_str(), condition.error()?)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether all of them hold.
    ///
    /// # Errors
    /// If that cannot be told, and failures count.
    pub(crate) fn hold(&self, context: &Context<'_>) -> Result<bool, String> {
        let budget = Budget::new(STEPS);
        let mut errors = Vec::new();
        for condition in &self.list {
            match condition.evaluate(context, &budget) {
                Ok(cel::Value::Bool(true)) => {}
                // One that does not hold counts more than others that fail.
                Ok(cel::Value::Bool(false)) => return Ok(false),
                Ok(_) => errors.push(format!(
                    "expression '{}' resulted in error: must evaluate to bool",
                    condition.source
                )),
                Err(why) => errors.push(why),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            _ if self.ignores_failures => Ok(false),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

/// A request's object in one form.
pub(super) struct Seen<'a> {
    pub(super) requested: &'a Form,
    pub(super) form: &'a Form,
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
}

/// The variables of a request.
pub(super) fn context(
    attributes: &Attributes<'_>,
    seen: &Seen<'_>,
    authorizer: &Arc<dyn Authorizer>,
) -> Context<'static> {
    let mut context = cel::context();
    let value = |object: Option<&Value>| object.map_or(cel::Value::Null, cel::from_json);
    context.add_variable_from_value("object", value(seen.object));
    context.add_variable_from_value("oldObject", value(seen.old));
    let request = AdmissionRequest::new(attributes, seen.requested, seen.form, "");
    let request = serde_json::to_value(&request).unwrap_or_default();
    context.add_variable_from_value("request", cel::from_json(&request));
    context.add_variable_from_value("authorizer", cel::authorizer::begun(authorizer, attributes.user));
    let resource = (&*attributes.resource.group, &*attributes.resource.plural, attributes.subresource);
    let place = (request::namespace(attributes), attributes.name);
    let own = cel::authorizer::of_request(authorizer, attributes.user, resource, place);
    context.add_variable_from_value("authorizer.requestResource", own);
    context
}
