//! `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy`: rules on writes, as expressions.
//!
//! **Contract**: policies are asked in the order of their names, and each for every binding of it that matches, with
//! every parameter that the binding names. Expressions are compiled when policies change.
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/policy`.

mod evaluation;
mod mutating;
mod params;
pub(crate) mod status;
mod validating;

use super::configured::{Configured, State};
use super::matching::Criteria;
use super::{AdmissionMetrics, Attributes, Form, Outsider, matching, variables};
use crate::auth::Authorizer;
use crate::cel::{Compiled, Conditions, Environment, Kind};
use crate::registry::Registry;
use crate::resources::edit::{items, text};
use api::status::Status;
use mutating::Mutation;
use params::ParamRef;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use validating::Validations;

const GROUP: &str = "admissionregistration.k8s.io";

/// What a policy's expressions may refer to, its own variables aside.
pub(crate) fn environment(mutating: bool, has_params: bool) -> Environment {
    let mut environment = variables::environment();
    environment.variables.insert("namespaceObject".to_owned());
    if has_params {
        environment.variables.insert("params".to_owned());
    }
    environment.constructs = mutating;
    environment
}

/// The two plugins: mutating, validating.
pub(crate) fn policies(
    registry: &Arc<Registry>,
    authorizer: &Arc<dyn Authorizer>,
    metrics: &Arc<AdmissionMetrics>,
) -> Option<[Arc<dyn Outsider>; 2]> {
    let source = |kind: &str| Source::of(registry, authorizer, metrics, kind);
    let mutating = mutating::Mutating(source("mutating")?);
    let validating = validating::Validating(source("validating")?);
    Some([Arc::new(mutating), Arc::new(validating)])
}

/// A compiled policy of either kind.
#[derive(Debug)]
struct Policy {
    name: String,
    criteria: Criteria,
    conditions: Conditions,
    ignores_failures: bool,
    /// `apiVersion` and `kind` of its parameters.
    param_kind: Option<(String, String)>,
    variables: Vec<(String, Compiled)>,
    validations: Validations,
    mutations: Vec<Mutation>,
    wants_reinvocation: bool,
}

impl Policy {
    fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let kind = &spec["paramKind"];
        let mutating = object["kind"] == "MutatingAdmissionPolicy";
        let mut environment = environment(mutating, kind.is_object());
        let conditions = Conditions::read(spec, &environment);
        let mut variables = Vec::new();
        for variable in items(spec, "variables") {
            let name = text(variable, "name").to_owned();
            variables
                .push((name.clone(), Compiled::new(text(variable, "expression"), &environment, Kind::Any)));
            environment.composed.insert(name);
        }
        Self {
            name: text(&object["metadata"], "name").to_owned(),
            criteria: Criteria::of_policy(&spec["matchConstraints"]),
            conditions,
            ignores_failures: spec["failurePolicy"] == "Ignore",
            param_kind: kind
                .is_object()
                .then(|| (text(kind, "apiVersion").to_owned(), text(kind, "kind").to_owned())),
            variables,
            validations: Validations::read(spec, &environment),
            mutations: items(spec, "mutations")
                .iter()
                .map(|mutation| Mutation::read(mutation, &environment))
                .collect(),
            wants_reinvocation: spec["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

/// Where a policy counts.
#[derive(Debug)]
struct Binding {
    name: String,
    policy: String,
    /// `None`: wherever the policy does.
    criteria: Option<Criteria>,
    params: Option<ParamRef>,
    actions: Vec<String>,
}

impl Binding {
    fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let matching = &spec["matchResources"];
        let actions = items(spec, "validationActions").iter();
        Self {
            name: text(&object["metadata"], "name").to_owned(),
            policy: text(spec, "policyName").to_owned(),
            criteria: matching.is_object().then(|| Criteria::of_policy(matching)),
            params: ParamRef::read(&spec["paramRef"]),
            actions: actions.filter_map(|action| action.as_str().map(str::to_owned)).collect(),
        }
    }
}

/// The policies of one kind with their bindings.
struct Source {
    registry: Arc<Registry>,
    authorizer: Arc<dyn Authorizer>,
    metrics: Arc<AdmissionMetrics>,
    policies: Configured<Policy>,
    bindings: Configured<Binding>,
}

/// A policy that a request matches, one binding and one parameter of it.
struct Invocation {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    form: usize,
    param: Option<Arc<Value>>,
}

/// What went wrong before anything could be evaluated.
struct Misconfigured {
    policy: Arc<Policy>,
    binding: Option<Arc<Binding>>,
    why: String,
}

/// What concerns a request.
struct Concerned {
    forms: Vec<Form>,
    invocations: Vec<Invocation>,
    errors: Vec<Misconfigured>,
}

impl Source {
    fn of(
        registry: &Arc<Registry>,
        authorizer: &Arc<dyn Authorizer>,
        metrics: &Arc<AdmissionMetrics>,
        kind: &str,
    ) -> Option<Self> {
        let policies = registry.store(GROUP, &format!("{kind}admissionpolicies"))?;
        let bindings = registry.store(GROUP, &format!("{kind}admissionpolicybindings"))?;
        Some(Self {
            policies: Configured::new(&policies, Policy::read),
            bindings: Configured::new(&bindings, Binding::read),
            registry: Arc::clone(registry),
            authorizer: Arc::clone(authorizer),
            metrics: Arc::clone(metrics),
        })
    }

    /// A policy without a binding counts nowhere.
    fn is_idle(&self) -> bool {
        self.bindings.get().is_empty() || self.policies.get().is_empty()
    }

    /// The policies, bindings and parameters that are about a request.
    async fn concerned(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Concerned {
        let (forms, mut invocations, mut errors) = (attributes.forms.all(), Vec::new(), Vec::new());
        if matching::is_exempt(attributes) {
            return Concerned { forms, invocations, errors };
        }
        let (policies, bindings): (_, Arc<State<Binding>>) = (self.policies.get(), self.bindings.get());
        for (_, policy) in policies.iter() {
            let mut wrong = |binding: Option<&Arc<Binding>>, why: String| {
                let (policy, binding) = (Arc::clone(policy), binding.map(Arc::clone));
                errors.push(Misconfigured { policy, binding, why });
            };
            let form = match policy.criteria.matches(attributes, object, &forms) {
                Ok(Some(form)) => form,
                Ok(None) => continue,
                Err(status) => {
                    wrong(None, status.message);
                    continue;
                }
            };
            for (_, binding) in bindings.iter().filter(|(_, binding)| binding.policy == policy.name) {
                let matches = match &binding.criteria {
                    None => Ok(true),
                    Some(criteria) => criteria.matches(attributes, object, &forms).map(|form| form.is_some()),
                };
                match matches {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(status) => {
                        wrong(Some(binding), status.message);
                        continue;
                    }
                }
                let kind = policy.param_kind.as_ref();
                match params::collect(&self.registry, kind, binding.params.as_ref(), attributes).await {
                    Ok(params) => invocations.extend(params.into_iter().map(|param| Invocation {
                        policy: Arc::clone(policy),
                        binding: Arc::clone(binding),
                        form,
                        param,
                    })),
                    Err(params::Error::Policy(why)) => {
                        wrong(None, why);
                        break;
                    }
                    Err(params::Error::Binding(why)) => wrong(Some(binding), why),
                }
            }
        }
        Concerned { forms, invocations, errors }
    }
}

/// The objects of a request, by form, as far as they were wanted.
#[derive(Default)]
struct Shown(HashMap<usize, (Option<Value>, Option<Value>)>);

impl Shown {
    /// The object and the one before, in this form.
    async fn get(
        &mut self,
        attributes: &Attributes<'_>,
        form: usize,
        object: Option<&Value>,
    ) -> Result<&(Option<Value>, Option<Value>), Status> {
        if let Entry::Vacant(entry) = self.0.entry(form) {
            let new = match object {
                Some(object) => Some(super::form::show(attributes, form, object).await?),
                None => None,
            };
            let old = match attributes.old {
                Some(old) => Some(super::form::show(attributes, form, old).await?),
                None => None,
            };
            entry.insert((new, old));
        }
        Ok(&self.0[&form])
    }
}
