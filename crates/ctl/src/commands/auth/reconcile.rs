//! `auth reconcile`: roles get the rules that files ask for, and bindings the subjects; what else they have stays, unless it is
//! asked to go.
//!
//! **Contract.** What is to be done is a pure function of what is there and what is wanted. A binding to another role is made
//! anew. An object that opts out (`rbac.authorization.kubernetes.io/autoupdate: "false"`) is left alone.
//! **Upstream.** `kubectl/pkg/cmd/auth/reconcile.go`, `component-helpers/auth/rbac` (behaviour and words).

use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

use super::rules;
use crate::cli::{self, DryRun, values};
use crate::commands::Context;
use crate::connection::JSON;
use crate::manifests::{self, Manifest, Sources};
use crate::report::{Error, message};
use crate::selection::{self, Change};

const GROUP: &str = "rbac.authorization.k8s.io";
const OPTS_OUT: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// How often an object that comes and goes meanwhile is looked at.
const ATTEMPTS: usize = 3;

/// The subcommand.
pub(super) fn command() -> clap::Command {
    clap::Command::new("reconcile")
        .about("Reconciles rules for RBAC role, role binding, cluster role, and cluster role binding objects")
        .args_override_self(true)
        .arg(cli::arguments("-f FILENAME"))
        .args(cli::files())
        .args(selection::print_flags())
        .arg(cli::dry_run())
        .arg(cli::flag("remove-extra-permissions", "If true, removes extra permissions added to roles"))
        .arg(cli::flag("remove-extra-subjects", "If true, removes extra subjects added to rolebindings"))
}

/// Runs it.
pub(super) async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let files = Sources::from_matches(matches)?;
    if files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    if !values(matches, "arguments").is_empty() {
        return Err(message("no arguments are allowed"));
    }
    let dry_run = DryRun::from_matches(matches)?;
    if dry_run == DryRun::Server {
        return Err(message("--dry-run=server for command reconcile is not supported yet"));
    }
    let change = Change::of_output(matches)?.with_dry_run(dry_run);
    let removes = ["remove-extra-permissions", "remove-extra-subjects"].map(|flag| matches.get_flag(flag));
    let (found, mut errors) = manifests::read(context, &files).await?;
    for manifest in found.into_iter().filter(|one| one.resource.group == GROUP) {
        let removes = if is_binding(&manifest.object) { removes[1] } else { removes[0] };
        match reconcile(context, &manifest, removes, dry_run).await {
            Ok(mut plan) => {
                change.print(context, &mut plan.object, "reconciled")?;
                context.terminal.err(&plan.told(removes));
            }
            Err(error) => errors.push(error),
        }
    }
    Error::from_many(errors)
}

async fn reconcile(
    context: &Context,
    manifest: &Manifest,
    removes: bool,
    dry_run: DryRun,
) -> Result<Plan, Error> {
    let Manifest { resource, namespace, .. } = manifest;
    if resource.version != "v1" {
        return Err(message(format!(
            "only rbac.authorization.k8s.io/v1 is supported: not {}",
            resource.version
        )));
    }
    let mut wanted = manifest.object.clone();
    if let Some(namespace) = namespace {
        wanted["metadata"]["namespace"] = namespace.as_str().into();
    }
    let connection = context.connection().await?;
    let path = resource.object(namespace.as_deref(), manifest.name());
    for _ in 0..ATTEMPTS {
        let existing = match connection.get(&path, JSON).await {
            Ok(existing) => Some(existing),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let mut plan = Plan::new(existing.as_ref(), &wanted, removes);
        if plan.protected || dry_run != DryRun::None || plan.operation == Operation::None {
            return Ok(plan);
        }
        if plan.operation == Operation::Recreate {
            let uid = existing.as_ref().map(|existing| existing["metadata"]["uid"].clone());
            let options = json!({"preconditions": {"uid": uid}});
            match connection.request(Method::DELETE, &path, JSON, Some(&options)).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) if error.reason() == Some("Conflict") => continue,
                Err(error) => return Err(error),
            }
        }
        let sent = match plan.operation {
            Operation::Update => connection.request(Method::PUT, &path, JSON, Some(&plan.object)).await,
            _ => {
                if let Some(namespace) = namespace {
                    ensure_namespace(context, namespace).await?;
                }
                let collection = resource.collection(namespace.as_deref());
                connection.request(Method::POST, &collection, JSON, Some(&plan.object)).await
            }
        };
        match sent {
            Ok(object) => {
                plan.object = object;
                return Ok(plan);
            }
            Err(error) if error.is_not_found() || error.reason() == Some("AlreadyExists") => {}
            Err(error) => return Err(error),
        }
    }
    Err(message("exceeded maximum attempts"))
}

/// Makes a namespace that is not there; whoever may not, may find it there nevertheless.
async fn ensure_namespace(context: &Context, name: &str) -> Result<(), Error> {
    let connection = context.connection().await?;
    match connection.get(&format!("/api/v1/namespaces/{name}"), JSON).await {
        Err(error) if error.is_not_found() => {}
        _ => return Ok(()),
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    match connection.request(Method::POST, "/api/v1/namespaces", JSON, Some(&namespace)).await {
        Err(error) if error.reason() != Some("AlreadyExists") => Err(error),
        _ => Ok(()),
    }
}

/// What is to be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    None,
    Create,
    Update,
    Recreate,
}

/// What becomes of an object.
#[derive(Debug)]
struct Plan {
    operation: Operation,
    /// It wants to stay as it is.
    protected: bool,
    object: Value,
    /// Rules or subjects that it lacks, and those that nobody has asked for.
    missing: Vec<Value>,
    extra: Vec<Value>,
}

impl Plan {
    fn new(existing: Option<&Value>, wanted: &Value, removes: bool) -> Self {
        let field = if is_binding(wanted) { "subjects" } else { "rules" };
        let list = |object: &Value| object[field].as_array().cloned().unwrap_or_default();
        let Some(existing) = existing else {
            let missing = list(wanted);
            let operation = Operation::Create;
            return Self { operation, protected: false, object: wanted.clone(), missing, extra: Vec::new() };
        };
        let protected = existing["metadata"]["annotations"][OPTS_OUT] == "false";
        if is_binding(wanted) && reference(wanted) != reference(existing) {
            let (operation, object) = (Operation::Recreate, wanted.clone());
            return Self { operation, protected, object, missing: Vec::new(), extra: Vec::new() };
        }
        let mut object = existing.clone();
        for map in ["labels", "annotations"] {
            let mut merged = wanted["metadata"][map].as_object().cloned().unwrap_or_default();
            merged.extend(existing["metadata"][map].as_object().cloned().unwrap_or_default());
            if !merged.is_empty() {
                object["metadata"][map] = merged.into();
            }
        }
        let (there, asked) = (list(existing), list(wanted));
        let aggregated = [wanted, existing].map(|one| one["aggregationRule"].is_object());
        let (missing, extra) = match field {
            "subjects" => (without(&asked, &there), without(&there, &asked)),
            _ if aggregated == [true, true] => (rules::uncovered(&there, &asked), Vec::new()),
            _ => (rules::uncovered(&there, &asked), rules::uncovered(&asked, &there)),
        };
        if removes && !(missing.is_empty() && extra.is_empty()) {
            object[field] = asked.into();
        } else if !missing.is_empty() {
            object[field] = there.into_iter().chain(missing.clone()).collect();
        }
        aggregate(&mut object, wanted, existing, removes);
        let operation = if object == *existing { Operation::None } else { Operation::Update };
        Self { operation, protected, object, missing, extra }
    }

    /// What is said of it on standard error.
    fn told(&self, removes: bool) -> String {
        let operation = match self.operation {
            Operation::None => return String::new(),
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Recreate => "recreate",
        };
        let caveat = match self.protected {
            true => ", but object opted out (rbac.authorization.kubernetes.io/autoupdate: false)",
            false => "",
        };
        let mut out = format!("\treconciliation required {operation}{caveat}\n");
        let (what, show): (_, fn(&Value) -> String) = match is_binding(&self.object) {
            true => ("subjects", subject),
            false => ("rules", rules::shown),
        };
        for (items, done) in [(&self.missing, "missing"), (&self.extra, "extra")] {
            if items.is_empty() || (done == "extra" && !removes) {
                continue;
            }
            out += &format!("\t{done} {what} {}:\n", if done == "extra" { "removed" } else { "added" });
            items.iter().for_each(|item| out += &format!("\t\t{}\n", show(item)));
        }
        out
    }
}

fn is_binding(object: &Value) -> bool {
    object["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding"))
}

/// A binding's role, whose group may be left out.
fn reference(binding: &Value) -> [String; 3] {
    let role = &binding["roleRef"];
    let text = |field: &str, default: &str| role[field].as_str().unwrap_or(default).to_owned();
    [text("apiGroup", GROUP), text("kind", ""), text("name", "")]
}

/// The selectors of a role that is put together from others.
fn aggregate(object: &mut Value, wanted: &Value, existing: &Value, removes: bool) {
    let selectors = |role: &Value| -> Vec<Value> {
        role["aggregationRule"]["clusterRoleSelectors"].as_array().cloned().unwrap_or_default()
    };
    let (asked, there) = (selectors(wanted), selectors(existing));
    let not_in = |some: &[Value], others: &[Value]| -> Vec<Value> {
        some.iter().filter(|one| !others.contains(one)).cloned().collect()
    };
    let (missing, extra) = (not_in(&asked, &there), not_in(&there, &asked));
    let has_rule = |role: &Value| role["aggregationRule"].is_object();
    if !has_rule(wanted) {
        if let Some(fields) = object.as_object_mut().filter(|_| has_rule(existing)) {
            fields.shift_remove("aggregationRule");
        }
    } else if removes && !(missing.is_empty() && extra.is_empty()) {
        object["aggregationRule"] = wanted["aggregationRule"].clone();
    } else if !missing.is_empty() {
        let all: Vec<Value> = there.into_iter().chain(missing).collect();
        object["aggregationRule"]["clusterRoleSelectors"] = all.into();
    }
}

/// A subject's fields, in the order of upstream's type.
const SUBJECT: [(&str, &str); 4] =
    [("Kind", "kind"), ("APIGroup", "apiGroup"), ("Name", "name"), ("Namespace", "namespace")];

fn subject(subject: &Value) -> String {
    let fields = SUBJECT.map(|(shown, field)| format!("{shown}:{}", subject[field].as_str().unwrap_or("")));
    format!("{{{}}}", fields.join(" "))
}

/// The subjects of a list that are not in another, each once.
fn without(some: &[Value], others: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    let has = |list: &[Value], one: &Value| list.iter().any(|other| subject(other) == subject(one));
    for one in some {
        if !has(others, one) && !has(&out, one) {
            out.push(one.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(verbs: &[&str], aggregated: Option<&str>) -> Value {
        let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs});
        let mut role = json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [rule]});
        if let Some(label) = aggregated {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        role
    }

    fn binding(role: &str, users: &[&str]) -> Value {
        let users = users.iter().map(|name| json!({"kind": "User", "name": name}));
        let reference = json!({"kind": "Role", "name": role});
        json!({"kind": "RoleBinding", "metadata": {"name": "b"}, "roleRef": reference,
            "subjects": users.collect::<Vec<_>>()})
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_extra_goes_if_asked() {
        use Operation::{Create, None as Nothing, Recreate, Update};
        let mut away = role(&["get"], None);
        away["metadata"]["annotations"] = json!({OPTS_OUT: "false"});
        let mut labelled = role(&["get"], None);
        labelled["metadata"]["labels"] = json!({"a": "b"});
        for (existing, wanted, removes, operation, counts) in [
            (None, role(&["get"], None), false, Create, (1, 0)),
            (Some(role(&["get"], None)), role(&["get"], None), true, Nothing, (0, 0)),
            (Some(role(&["get", "list"], None)), role(&["get"], None), false, Nothing, (0, 1)),
            (Some(role(&["get", "list"], None)), role(&["get"], None), true, Update, (0, 1)),
            (Some(role(&["get"], None)), role(&["list", "get"], None), false, Update, (1, 0)),
            (Some(role(&["get"], None)), labelled.clone(), false, Update, (0, 0)),
            (Some(labelled), role(&["get"], None), true, Nothing, (0, 0)),
            (Some(role(&["get"], Some("x"))), role(&["get"], None), false, Update, (0, 0)),
            (Some(role(&["get"], Some("x"))), role(&["get"], Some("y")), false, Update, (0, 0)),
            (Some(binding("r", &["a"])), binding("r", &["a", "b", "b"]), false, Update, (1, 0)),
            (Some(binding("r", &["a", "b"])), binding("r", &["a"]), false, Nothing, (0, 1)),
            (Some(binding("r", &["a"])), binding("s", &["a"]), false, Recreate, (0, 0)),
        ] {
            let plan = Plan::new(existing.as_ref(), &wanted, removes);
            assert_eq!(plan.operation, operation, "{existing:?} {wanted}");
            assert_eq!((plan.missing.len(), plan.extra.len()), counts, "{existing:?} {wanted}");
        }
        let plan = Plan::new(Some(&away), &role(&["list"], None), true);
        assert!(plan.protected);
        assert_eq!(
            plan.told(true),
            "\treconciliation required update, but object opted out (rbac.authorization.kubernetes.io/autoupdate: false)\n\
             \tmissing rules added:\n\
             \t\t{Verbs:[list] APIGroups:[] Resources:[pods] ResourceNames:[] NonResourceURLs:[]}\n\
             \textra rules removed:\n\
             \t\t{Verbs:[get] APIGroups:[] Resources:[pods] ResourceNames:[] NonResourceURLs:[]}\n"
        );
        let plan = Plan::new(Some(&binding("r", &["a"])), &binding("r", &["b"]), false);
        assert_eq!(plan.object["subjects"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            plan.told(false),
            "\treconciliation required update\n\tmissing subjects added:\n\t\t{Kind:User APIGroup: Name:b Namespace:}\n"
        );
        let both = Plan::new(Some(&role(&["get"], Some("x"))), &role(&["get"], Some("y")), false);
        assert_eq!(both.object["aggregationRule"]["clusterRoleSelectors"].as_array().map(Vec::len), Some(2));
    }
}
