//! `ValidatingAdmissionPolicy`: expressions that must hold.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/policy/validating`.

use super::evaluation::{self, Evaluation};
use super::{Binding, Invocation, Misconfigured, Policy, Shown, Source};
use crate::admission::refusal::forbidden;
use crate::admission::variables::{self, Seen};
use crate::admission::{Attributes, Outsider, request};
use crate::audit;
use crate::cel::{self, Compiled, Environment, Kind};
use crate::resources::edit::{items, text};
use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

/// Bytes of the longest message that an expression makes. **Upstream**: `MaxEvaluatedMessageExpressionSizeBytes`.
const MAX_MESSAGE: usize = 5 * 1024;
/// Bytes of the longest value of an annotation. **Upstream**: `maxAuditAnnotationValueLength`.
const MAX_ANNOTATION: usize = 10 * 1024;

/// What a policy demands and tells.
#[derive(Debug)]
pub(super) struct Validations {
    list: Vec<Validation>,
    annotations: Vec<(String, Compiled)>,
}

#[derive(Debug)]
struct Validation {
    expression: Compiled,
    message: String,
    message_expression: Option<Compiled>,
    reason: &'static str,
}

impl Validation {
    fn read(validation: &Value, environment: &Environment) -> Self {
        let source = text(validation, "messageExpression").trim();
        Self {
            expression: Compiled::new(text(validation, "expression").trim(), environment, Kind::Bool),
            message: text(validation, "message").trim().to_owned(),
            message_expression: (!source.is_empty())
                .then(|| Compiled::new(source, environment, Kind::String)),
            reason: match text(validation, "reason") {
                "Forbidden" => "Forbidden",
                "Unauthorized" => "Unauthorized",
                "RequestEntityTooLarge" => "RequestEntityTooLarge",
                _ => "Invalid",
            },
        }
    }

    /// What is said of a request that it does not hold for.
    fn told(&self, evaluation: &Evaluation<'_>) -> String {
        let made = self.message_expression.as_ref().and_then(|source| evaluation.evaluate(source).ok());
        if let Some(cel::Value::String(message)) = made {
            let message = message.trim();
            if !message.is_empty() && message.len() <= MAX_MESSAGE && !message.contains('\n') {
                return message.to_owned();
            }
        }
        if self.message.is_empty() {
            format!("failed expression: {}", self.expression.source)
        } else {
            self.message.clone()
        }
    }
}

impl Validations {
    pub(super) fn read(spec: &Value, environment: &Environment) -> Self {
        let annotation = |annotation: &Value| {
            let source = text(annotation, "valueExpression").trim();
            (text(annotation, "key").to_owned(), Compiled::new(source, environment, Kind::Any))
        };
        Self {
            list: items(spec, "validations").iter().map(|one| Validation::read(one, environment)).collect(),
            annotations: items(spec, "auditAnnotations").iter().map(annotation).collect(),
        }
    }
}

/// A no, and whose.
struct Denial {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: &'static str,
}

impl Denial {
    fn by(policy: &Policy, binding: Option<&Binding>, message: String) -> Self {
        let binding = binding.map(|binding| binding.name.clone());
        Self { policy: policy.name.clone(), binding, message, reason: "Invalid" }
    }

    fn status(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Status {
        let (policy, said) = (&self.policy, &self.message);
        let message = match &self.binding {
            Some(binding) => format!(
                "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {said}"
            ),
            None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {said}"),
        };
        let mut status = forbidden(attributes, object, &message).with_cause("", &message, "");
        status.reason = self.reason;
        status.code = match self.reason {
            "Forbidden" => 403,
            "Unauthorized" => 401,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        status
    }
}

/// The plugin.
pub(super) struct Validating(pub(super) Source);

#[async_trait]
impl Outsider for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    async fn validate(&self, attributes: &mut Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let concerned = self.0.concerned(attributes, object).await;
        let mut answers = Answers::default();
        for Misconfigured { policy, binding, why } in &concerned.errors {
            if !policy.ignores_failures {
                let what = if binding.is_some() { "binding" } else { "policy" };
                let message = format!("failed to configure {what}: {why}");
                answers.denials.push(Denial::by(policy, binding.as_deref(), message));
            }
        }
        let mut shown = Shown::default();
        for invocation in &concerned.invocations {
            let (new, old) = shown.get(attributes, invocation.form, object).await?;
            let (requested, form) = (&concerned.forms[0], &concerned.forms[invocation.form]);
            let seen = Seen { requested, form, object: new.as_ref(), old: old.as_ref() };
            let (start, before) = (self.0.metrics.start(), answers.told());
            self.ask(attributes, invocation, &seen, &mut answers);
            let (failed, action) = answers.told_since(before);
            let names = (&*invocation.policy.name, &*invocation.binding.name);
            self.0.metrics.checked(names, failed, action, start);
        }
        attributes.outcome.warnings.append(&mut answers.warnings);
        for (key, values) in answers.annotations {
            audit::annotate(&key, values.join(", "));
        }
        match answers.denials.first() {
            Some(denial) => Err(denial.status(attributes, object)),
            None => Ok(()),
        }
    }
}

/// What the policies said.
#[derive(Default)]
struct Answers {
    denials: Vec<Denial>,
    warnings: Vec<String>,
    /// How many failures were only written down.
    audited: usize,
    /// How many expressions could not be evaluated.
    errors: usize,
    /// Different values of one key are joined.
    annotations: Vec<(String, Vec<String>)>,
}

impl Validating {
    fn ask(
        &self,
        attributes: &Attributes<'_>,
        invocation: &Invocation,
        seen: &Seen<'_>,
        answers: &mut Answers,
    ) {
        let policy = &invocation.policy;
        let mut context = variables::context(attributes, seen, &self.0.authorizer);
        let namespace = attributes.lookup.get("", "namespaces", "", attributes.namespace);
        let own = request::namespace(attributes) == attributes.namespace;
        evaluation::add_namespace(&mut context, namespace.as_deref().filter(|_| own));
        evaluation::add_param(&mut context, invocation);
        match policy.conditions.hold(&context) {
            Ok(true) => {}
            Ok(false) => return,
            Err(why) => {
                answers.errors += 1;
                return answers.failed(invocation, 0, why, "Invalid");
            }
        }
        let evaluation = Evaluation::new(&context, policy);
        for (index, validation) in policy.validations.list.iter().enumerate() {
            match evaluation.evaluate(&validation.expression) {
                Ok(cel::Value::Bool(true)) => {}
                Err(_) if policy.ignores_failures => {}
                Err(why) => {
                    answers.errors += 1;
                    answers.failed(invocation, index, why, "Invalid");
                }
                Ok(_) => answers.failed(invocation, index, validation.told(&evaluation), validation.reason),
            }
        }
        for (key, compiled) in &policy.validations.annotations {
            match evaluation.evaluate(compiled) {
                Ok(cel::Value::String(value)) => {
                    answers.annotate(&format!("{}/{key}", policy.name), value.trim())
                }
                Ok(cel::Value::Null) => {}
                Err(_) if policy.ignores_failures => {}
                Err(why) => answers.denials.push(Denial::by(policy, Some(&invocation.binding), why)),
                Ok(value) => {
                    let why = format!(
                        "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                        compiled.source,
                        value.type_of()
                    );
                    answers.denials.push(Denial::by(policy, Some(&invocation.binding), why));
                }
            }
        }
    }
}

impl Answers {
    /// How much was said: refusals, warnings, what was written down, errors.
    fn told(&self) -> [usize; 4] {
        [self.denials.len(), self.warnings.len(), self.audited, self.errors]
    }

    /// Whether anything could not be evaluated since, and what the verdicts lead to, as they are counted.
    fn told_since(&self, before: [usize; 4]) -> (bool, &'static str) {
        let [denied, warned, audited, errors] = self.told();
        let action = match () {
            () if denied > before[0] => "deny",
            () if warned > before[1] => "warn",
            () if audited > before[2] => "audit",
            () => "allow",
        };
        (errors > before[3], action)
    }

    /// A validation does not hold: the binding says what that means.
    fn failed(&mut self, invocation: &Invocation, index: usize, message: String, reason: &'static str) {
        let (policy, binding) = (&invocation.policy, &invocation.binding);
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => {
                    self.denials
                        .push(Denial { reason, ..Denial::by(policy, Some(binding), message.clone()) });
                }
                "Warn" => self.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                    policy.name, binding.name
                )),
                "Audit" => {
                    self.audited += 1;
                    let failure = json!([{"message": message, "policy": policy.name, "binding": binding.name,
                        "expressionIndex": index, "validationActions": binding.actions}]);
                    let key = "validation.policy.admission.k8s.io/validation_failure";
                    audit::annotate(key, failure.to_string());
                }
                _ => {}
            }
        }
    }

    fn annotate(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let mut end = value.len().min(MAX_ANNOTATION);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = value[..end].to_owned();
        match self.annotations.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.annotations.push((key.to_owned(), vec![value])),
        }
    }
}
