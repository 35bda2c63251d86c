//! `authorizer`: may the user of the request do something else?
//!
//! **Contract**: questions are answered as far as can be told without asking another server.
//! **Upstream**: `k8s.io/apiserver/pkg/cel/library/authz.go`.

use crate::auth::{Action, Authorizer, UserInfo};
use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::Opaque;
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value};
use std::fmt;
use std::sync::Arc;

/// A question that is being put together.
#[derive(Clone, Default)]
struct Question {
    path: Option<String>,
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    fields: String,
    labels: String,
}

/// Who is asked, about whom, and what so far.
#[derive(Clone)]
struct Asking {
    authorizer: Arc<dyn Authorizer>,
    user: Arc<UserInfo>,
    stage: Stage,
}

#[derive(Clone)]
enum Stage {
    Begun,
    Group(String),
    Question(Question),
    Decided { allowed: bool, reason: String },
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl PartialEq for Asking {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Asking {}

impl Opaque for Asking {
    fn runtime_type_name(&self) -> &str {
        match self.stage {
            Stage::Begun => "kubernetes.authorization.Authorizer",
            Stage::Group(_) => "kubernetes.authorization.GroupCheck",
            Stage::Question(Question { path: Some(_), .. }) => "kubernetes.authorization.PathCheck",
            Stage::Question(_) => "kubernetes.authorization.ResourceCheck",
            Stage::Decided { .. } => "kubernetes.authorization.Decision",
        }
    }
}

impl Asking {
    fn value(&self, stage: Stage) -> Value {
        Value::Opaque(Arc::new(Self { stage, ..self.clone() }))
    }
}

/// The variable `authorizer`.
pub(crate) fn begun(authorizer: &Arc<dyn Authorizer>, user: &UserInfo) -> Value {
    let user = Arc::new(user.clone());
    Value::Opaque(Arc::new(Asking { authorizer: Arc::clone(authorizer), user, stage: Stage::Begun }))
}

/// The variable `authorizer.requestResource`, about what the request is about.
pub(crate) fn of_request(
    authorizer: &Arc<dyn Authorizer>,
    user: &UserInfo,
    (group, resource, subresource): (&str, &str, &str),
    (namespace, name): (&str, &str),
) -> Value {
    let question = Question {
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Question::default()
    };
    let stage = Stage::Question(question);
    let user = Arc::new(user.clone());
    Value::Opaque(Arc::new(Asking { authorizer: Arc::clone(authorizer), user, stage }))
}

fn with<R>(value: &Value, work: impl FnOnce(&Asking) -> Option<R>) -> Result<R, ExecutionError> {
    let Value::Opaque(opaque) = value else { return Err(ExecutionError::NoSuchOverload) };
    opaque.downcast_ref::<Asking>().and_then(work).ok_or(ExecutionError::NoSuchOverload)
}

/// Sets a part of a question.
fn set(this: &Value, text: &str, change: fn(&mut Question, String)) -> ResolveResult {
    with(this, |asking| {
        let Stage::Question(question) = &asking.stage else { return None };
        let mut question = question.clone();
        change(&mut question, text.to_owned());
        Some(asking.value(Stage::Question(question)))
    })
}

fn decide(asking: &Asking, verb: &str) -> Option<Value> {
    let Stage::Question(question) = &asking.stage else { return None };
    let user = &asking.user;
    let action = match &question.path {
        Some(path) => Action::path(user, verb, path),
        None => Action {
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            field_selector: &question.fields,
            label_selector: &question.labels,
            version: "*",
            ..Action::on(user, verb, &question.group, &question.resource)
        },
    };
    let decision = asking.authorizer.authorize(&action);
    Some(asking.value(Stage::Decided { allowed: decision.allowed, reason: decision.reason }))
}

/// Adds the functions.
pub(super) fn register(context: &mut Context<'_>) {
    context.add_function("group", |This(this): This<Value>, group: Arc<String>| -> ResolveResult {
        with(&this, |asking| match asking.stage {
            Stage::Begun => Some(asking.value(Stage::Group(group.to_string()))),
            _ => None,
        })
    });
    context.add_function("path", |This(this): This<Value>, path: Arc<String>| -> ResolveResult {
        if path.is_empty() {
            return Err(ExecutionError::function_error("path", "path must not be empty"));
        }
        with(&this, |asking| match asking.stage {
            Stage::Begun => {
                let path = Some(path.to_string());
                Some(asking.value(Stage::Question(Question { path, ..Question::default() })))
            }
            _ => None,
        })
    });
    context.add_function(
        "serviceAccount",
        |This(this): This<Value>, namespace: Arc<String>, name: Arc<String>| -> ResolveResult {
            with(&this, |asking| {
                let Stage::Begun = asking.stage else { return None };
                let groups =
                    ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
                let user =
                    UserInfo::authenticated(format!("system:serviceaccount:{namespace}:{name}"), groups);
                Some(begun(&asking.authorizer, &user))
            })
        },
    );
    context.add_function("resource", |This(this): This<Value>, resource: Arc<String>| -> ResolveResult {
        with(&this, |asking| {
            let Stage::Group(group) = &asking.stage else { return None };
            let (group, resource) = (group.clone(), resource.to_string());
            Some(asking.value(Stage::Question(Question { group, resource, ..Question::default() })))
        })
    });
    type Part = fn(&mut Question, String);
    let parts: [(&str, Part); 5] = [
        ("subresource", |question, text| question.subresource = text),
        ("namespace", |question, text| question.namespace = text),
        ("name", |question, text| question.name = text),
        ("fieldSelector", |question, text| question.fields = text),
        ("labelSelector", |question, text| question.labels = text),
    ];
    for (name, change) in parts {
        let part =
            move |This(this): This<Value>, text: Arc<String>| -> ResolveResult { set(&this, &text, change) };
        context.add_function(name, part);
    }
    context.add_function("check", |This(this): This<Value>, verb: Arc<String>| -> ResolveResult {
        with(&this, |asking| decide(asking, &verb))
    });
    context.add_function("allowed", |This(this): This<Value>| -> ResolveResult {
        with(&this, |asking| match asking.stage {
            Stage::Decided { allowed, .. } => Some(allowed.into()),
            _ => None,
        })
    });
    context.add_function("reason", |This(this): This<Value>| -> ResolveResult {
        with(&this, |asking| match &asking.stage {
            Stage::Decided { reason, .. } => Some(reason.as_str().into()),
            _ => None,
        })
    });
    // What cannot be asked here counts as no.
    context.add_function("errored", |This(this): This<Value>| -> ResolveResult {
        with(&this, |asking| matches!(asking.stage, Stage::Decided { .. }).then(|| false.into()))
    });
    context.add_function("error", |This(this): This<Value>| -> ResolveResult {
        with(&this, |asking| matches!(asking.stage, Stage::Decided { .. }).then(|| "".into()))
    });
}
