//! Expressions kept with their text, and `matchConditions`: lists of them that must all hold.
//!
//! **Not here**: what they are about: `admission/variables.rs` for requests.
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions`.

use super::{Budget, Context, Environment, Expression, Kind, Value};
use crate::resources::edit::{items, text};
use serde_json::Value as Json;
use std::sync::Arc;

/// Steps that all conditions of one holder may take. **Upstream**: `RuntimeCELCostBudgetMatchConditions`.
const STEPS: u64 = 2_500_000;

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
    pub(crate) fn evaluate(&self, context: &Context<'_>, budget: &Arc<Budget>) -> Result<Value, String> {
        let expression = self.expression.as_ref().map_err(|why| format!("compilation error: {why}"))?;
        let told = |why| format!("expression '{}' resulted in error: {why}", self.source);
        expression.evaluate(context, budget).map_err(told)
    }
}

/// The conditions of one webhook, policy or authorizer.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    list: Vec<Compiled>,
    ignores_failures: bool,
}

impl Conditions {
    /// Those of a webhook or of a policy's `spec`.
    pub(crate) fn read(holder: &Json, environment: &Environment) -> Self {
        let compile =
            |condition: &Json| Compiled::new(text(condition, "expression"), environment, Kind::Bool);
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
                Ok(Value::Bool(true)) => {}
                // One that does not hold counts more than others that fail.
                Ok(Value::Bool(false)) => return Ok(false),
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
