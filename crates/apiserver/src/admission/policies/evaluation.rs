//! One policy, one binding, one parameter: its expressions evaluated, variables at their first use.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/cel/composition.go`.

use super::{Invocation, Policy};
use crate::cel::{self, Budget, Compiled, Context};
use kube_cel::cel::context::VariableResolver;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Steps that one policy may take for a request. **Upstream**: `RuntimeCELCostBudget`.
const STEPS: u64 = 10_000_000;
/// What of a namespace's metadata expressions see.
const METADATA: [&str; 11] = [
    "name",
    "generateName",
    "labels",
    "annotations",
    "uid",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "resourceVersion",
    "finalizers",
];

/// The evaluation of a policy's expressions.
pub(super) struct Evaluation<'a> {
    context: &'a Context<'a>,
    policy: &'a Policy,
    budget: Arc<Budget>,
    known: Mutex<HashMap<String, Result<cel::Value, String>>>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(context: &'a Context<'a>, policy: &'a Policy) -> Self {
        Self { context, policy, budget: Budget::new(STEPS), known: Mutex::default() }
    }

    /// The value of an expression.
    pub(super) fn evaluate(&self, compiled: &Compiled) -> Result<cel::Value, String> {
        let mut scope = self.context.new_inner_scope();
        scope.set_variable_resolver(self);
        compiled.evaluate(&scope, &self.budget).map_err(|why| self.explained(why))
    }

    /// A variable that could not be evaluated is missing to the interpreter; here is why.
    fn explained(&self, why: String) -> String {
        let Some((before, name)) = why.split_once("no such attribute(s): variables.") else { return why };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(name) {
            Some(Err(cause)) => format!("{before}composited variable {name:?} fails to evaluate: {cause}"),
            _ => why.clone(),
        }
    }
}

impl VariableResolver for Evaluation<'_> {
    fn resolve(&self, variable: &str) -> Option<cel::Value> {
        let name = variable.strip_prefix("variables.")?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(known) = known {
            return known.ok();
        }
        let (_, compiled) = self.policy.variables.iter().find(|(declared, _)| declared == name)?;
        let value = self.evaluate(compiled);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), value.clone());
        value.ok()
    }
}

/// Adds what policies see beyond what every expression about a request does.
pub(super) fn add_namespace(context: &mut Context<'_>, namespace: Option<&Value>) {
    let value = namespace.map_or(cel::Value::Null, |namespace| cel::from_json(&told(namespace)));
    context.add_variable_from_value("namespaceObject", value);
}

/// Adds the parameter.
pub(super) fn add_param(context: &mut Context<'_>, invocation: &Invocation) {
    let value = invocation.param.as_deref().map_or(cel::Value::Null, cel::from_json);
    context.add_variable_from_value("params", value);
}

/// What of a namespace is told.
fn told(namespace: &Value) -> Value {
    let metadata = namespace["metadata"].as_object().into_iter().flatten();
    let metadata = metadata.filter(|(name, _)| METADATA.contains(&name.as_str()));
    let metadata: serde_json::Map<String, Value> =
        metadata.map(|(name, value)| (name.clone(), value.clone())).collect();
    json!({"metadata": metadata, "spec": namespace["spec"], "status": {"phase": namespace["status"]["phase"]}})
}
