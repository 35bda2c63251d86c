//! The matrix with a stock kubectl: many objects per call, several calls at once.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tests::DEADLINE;
use tests::kinds::{Kind, question};
use tests::kubectl::Kubectl;
use tests::profile::Said;
use tests::served::Served;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::matrix::{Matrix, Outcome};
use super::prepare;

/// Calls at a time.
const AT_ONCE: usize = 6;

/// A kind and its object.
pub(crate) struct Tried<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) object: Value,
}

impl Tried<'_> {
    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }

    /// `deployment.apps/name`
    fn printed(&self) -> String {
        format!("{}/{}", self.kind.printed(), self.name())
    }
}

/// One kubectl at work.
pub(crate) struct Driver<'a> {
    pub(crate) served: &'a Served,
    pub(crate) kubectl: &'a Kubectl,
    /// `1.36`
    pub(crate) client: String,
}

impl Driver<'_> {
    /// Tries every verb on every kind.
    pub(crate) async fn run(&self, kinds: &[Kind], matrix: &mut Matrix) {
        let tag = format!("v{}", self.kubectl.minor);
        let stored: Vec<&Kind> = kinds.iter().filter(|kind| kind.has("create") && kind.has("get")).collect();
        let [first, second] = ["a", "b"].map(|set| prepare::objects(&stored, &tag, set));
        prepare::namespaces(self.served, &tag).await;
        for kind in kinds {
            for verb in super::matrix::VERBS {
                if !prepare::serves(kind, verb) {
                    matrix.note(&self.client, &kind.label(), verb, Outcome::NotServed);
                }
            }
        }
        self.questions(kinds, &tag, matrix).await;
        self.readonly(kinds, matrix).await;
        self.binding(kinds, &tag, matrix).await;

        self.batch("create", &["create", "-o", "name"], &first, matrix).await;
        self.watch(&first, matrix).await;
        let json = r#"[{"op":"add","path":"/metadata/labels/json","value":"yes"}]"#;
        self.batch("json", &["patch", "--type=json", "-p", json, "-o", "name"], &first, matrix).await;
        let merge = r#"{"metadata":{"labels":{"merge":"yes"}}}"#;
        self.batch("merge", &["patch", "--type=merge", "-p", merge, "-o", "name"], &first, matrix).await;
        let strategic = r#"{"metadata":{"labels":{"strategic":"yes"}}}"#;
        self.batch("strategic", &["patch", "-p", strategic, "-o", "name"], &first, matrix).await;
        let got = self.get(&first, matrix).await;
        self.update(&first, &got, matrix).await;
        self.list(&first, &tag, matrix).await;
        self.apply(&first, matrix).await;
        self.apply_again(&first, matrix).await;
        self.status(&first, matrix).await;
        self.batch("delete", &["delete", "--wait=false", "-o", "name"], &first, matrix).await;

        self.batch("ssa", &["apply", "--server-side", "-o", "name"], &second, matrix).await;
        self.collection(&second, &tag, matrix).await;
    }

    async fn kubectl(&self, arguments: &[&str]) -> Said {
        self.served.run(&self.kubectl.path, arguments).await
    }

    /// Writes objects into a file.
    fn manifest<'v>(&self, name: &str, objects: impl Iterator<Item = &'v Value>) -> String {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()});
        self.served.file(&format!("{name}-{}.json", self.kubectl.minor), &list.to_string())
    }

    /// One call for all objects. What it does not name in its output is tried alone, for the message.
    async fn batch(&self, verb: &str, arguments: &[&str], tried: &[Tried<'_>], matrix: &mut Matrix) {
        let objects: Vec<(&Tried<'_>, &Value)> = tried.iter().map(|one| (one, &one.object)).collect();
        let serves: Vec<_> = objects.into_iter().filter(|(one, _)| prepare::serves(one.kind, verb)).collect();
        self.batch_of(verb, arguments, &serves, matrix).await;
    }

    async fn batch_of(
        &self,
        verb: &str,
        arguments: &[&str],
        objects: &[(&Tried<'_>, &Value)],
        matrix: &mut Matrix,
    ) {
        let file = self.manifest(verb, objects.iter().map(|(_, object)| *object));
        let said = self.kubectl(&[arguments, &["-f", &file]].concat()).await;
        let named: BTreeSet<&str> =
            said.stdout.lines().map(|line| line.split(' ').next().unwrap_or(line)).collect();
        for (index, (one, object)) in objects.iter().enumerate() {
            let outcome = if named.contains(one.printed().as_str()) {
                Outcome::Passed
            } else {
                let file = self.manifest(&format!("{verb}-{index}"), std::iter::once(*object));
                let alone = self.kubectl(&[arguments, &["-f", &file]].concat()).await;
                Outcome::Failed(format!("{}{}", alone.stdout.trim_end(), alone.stderr.trim_end()))
            };
            matrix.note(&self.client, &one.kind.label(), verb, outcome);
        }
    }

    async fn questions(&self, kinds: &[Kind], tag: &str, matrix: &mut Matrix) {
        for kind in kinds {
            let Some(mut body) = question(&kind.kind, &prepare::namespace(tag)) else { continue };
            body["apiVersion"] = kind.api_version().into();
            body["kind"] = kind.kind.as_str().into();
            if kind.namespaced {
                body["metadata"]["namespace"] = prepare::namespace(tag).into();
            }
            let file = self.manifest(&kind.kind, std::iter::once(&body));
            let said = self.kubectl(&["create", "-f", &file, "-o", "json"]).await;
            let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
            let outcome =
                if answer["status"].is_object() { Outcome::Passed } else { Outcome::Failed(said.stderr) };
            matrix.note(&self.client, &kind.label(), "create", outcome);
        }
    }

    /// The kind that is only written: it gives a pod to a node.
    async fn binding(&self, kinds: &[Kind], tag: &str, matrix: &mut Matrix) {
        let Some(kind) = kinds.iter().find(|kind| kind.kind == "Binding") else { return };
        let namespace = prepare::namespace(tag);
        let (pod, binding) = prepare::bound(&namespace);
        let file = self.manifest("bound-pod", std::iter::once(&pod));
        let made = self.kubectl(&["create", "-f", &file]).await;
        let file = self.manifest("binding", std::iter::once(&binding));
        let said = self.kubectl(&["create", "-f", &file]).await;
        let node =
            self.kubectl(&["get", "pod", "bound", "-n", &namespace, "-o", "jsonpath={.spec.nodeName}"]).await;
        let done = node.stdout == prepare::NODE;
        let outcome =
            if done { Outcome::Passed } else { Outcome::Failed(format!("{}{}", made.stderr, said.stderr)) };
        matrix.note(&self.client, &kind.label(), "create", outcome);
    }

    /// Kinds that the server makes up.
    async fn readonly(&self, kinds: &[Kind], matrix: &mut Matrix) {
        for kind in kinds.iter().filter(|kind| !kind.has("create") && kind.has("list")) {
            let said = self.kubectl(&["get", &kind.argument(), "-o", "name"]).await;
            let first = said.stdout.lines().next().unwrap_or_default().to_owned();
            let failed = || Outcome::Failed(said.stderr.clone());
            matrix.note(
                &self.client,
                &kind.label(),
                "list",
                if first.is_empty() { failed() } else { Outcome::Passed },
            );
            let said = self.kubectl(&["get", &first, "-o", "name"]).await;
            matrix.note(
                &self.client,
                &kind.label(),
                "get",
                if said.code == 0 { Outcome::Passed } else { failed() },
            );
        }
    }

    /// Everything by name, with the patches of before.
    async fn get(&self, tried: &[Tried<'_>], matrix: &mut Matrix) -> BTreeMap<String, Value> {
        let file = self.manifest("get", tried.iter().map(|one| &one.object));
        let said = self.kubectl(&["get", "-f", &file, "-o", "json"]).await;
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let found: BTreeMap<String, Value> = items.into_iter().map(|item| (key(&item), item)).collect();
        for one in tried {
            let outcome = match found.get(&key(&one.object)) {
                None => Outcome::Failed(said.stderr.clone()),
                Some(item) => {
                    let labels = &item["metadata"]["labels"];
                    let lost =
                        ["json", "merge", "strategic"].into_iter().find(|label| labels[label] != "yes");
                    lost.map_or(Outcome::Passed, |label| {
                        Outcome::Failed(format!("the {label} patch has left no label"))
                    })
                }
            };
            matrix.note(&self.client, &one.kind.label(), "get", outcome);
        }
        found
    }

    async fn update(&self, tried: &[Tried<'_>], got: &BTreeMap<String, Value>, matrix: &mut Matrix) {
        let changed: Vec<(&Tried<'_>, Value)> = tried
            .iter()
            .filter(|one| prepare::serves(one.kind, "update"))
            .filter_map(|one| {
                let mut object = got.get(&key(&one.object))?.clone();
                object["metadata"]["labels"]["replaced"] = "yes".into();
                let metadata = object["metadata"].as_object_mut()?;
                metadata.remove("resourceVersion");
                Some((one, object))
            })
            .collect();
        let objects: Vec<(&Tried<'_>, &Value)> = changed.iter().map(|(one, object)| (*one, object)).collect();
        self.batch_of("update", &["replace", "-o", "name"], &objects, matrix).await;
    }

    /// One call for all types: as JSON, and as tables.
    async fn list(&self, tried: &[Tried<'_>], tag: &str, matrix: &mut Matrix) {
        let (selector, types) = (format!("matrix={tag},set=a,replaced=yes"), types(tried.iter()));
        let said = self.kubectl(&["get", &types, "-A", "-l", &selector, "-o", "json"]).await;
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let found: BTreeSet<String> = list["items"].as_array().into_iter().flatten().map(key).collect();
        let tables =
            self.kubectl(&["get", &types, "-A", "-l", &selector, "--show-kind", "--no-headers"]).await;
        for one in tried {
            let outcome = if !found.contains(&key(&one.object)) {
                Outcome::Failed(format!("not in the list: {}", said.stderr))
            } else if one.kind.kind != "Event" && !tables.stdout.contains(&one.printed()) {
                // Events show their names with `-o wide` only.
                Outcome::Failed(format!("not in the table: {}", tables.stderr))
            } else {
                Outcome::Passed
            };
            matrix.note(&self.client, &one.kind.label(), "list", outcome);
        }
    }

    /// A watch a kind, until it shows a change.
    async fn watch(&self, tried: &[Tried<'_>], matrix: &mut Matrix) {
        let watched: Vec<&Tried<'_>> =
            tried.iter().filter(|one| prepare::serves(one.kind, "watch")).collect();
        let mut open = Vec::new();
        let mut watches = watched.iter();
        let file = self.manifest("watch", watched.iter().map(|one| &one.object));
        let until = tokio::time::Instant::now() + DEADLINE * 2;
        let mut step = 0_u32;
        loop {
            while open.len() < 4 * AT_ONCE
                && let Some(one) = watches.next()
            {
                open.push((*one, self.first_change(one)));
            }
            if open.is_empty() {
                break;
            }
            step += 1;
            self.kubectl(&["label", "--overwrite", "-f", &file, &format!("step=s{step}"), "-o", "name"])
                .await;
            let mut waiting = Vec::new();
            for (one, mut task) in open {
                // Long enough for what the label has set off; the loop tries again.
                match tokio::time::timeout(std::time::Duration::from_millis(20), &mut task).await {
                    Ok(line) => {
                        let line = line.expect("it does not panic");
                        let outcome = if line.starts_with(&one.printed()) {
                            Outcome::Passed
                        } else {
                            Outcome::Failed(line)
                        };
                        matrix.note(&self.client, &one.kind.label(), "watch", outcome);
                    }
                    Err(_) if tokio::time::Instant::now() > until => {
                        matrix.note(
                            &self.client,
                            &one.kind.label(),
                            "watch",
                            Outcome::Failed("silent".to_owned()),
                        );
                    }
                    Err(_) => waiting.push((one, task)),
                }
            }
            open = waiting;
        }
    }

    /// The first line of a watch that starts with the next change; what it says on standard error, if it ends.
    fn first_change(&self, one: &Tried<'_>) -> tokio::task::JoinHandle<String> {
        let mut command = self.served.command(&self.kubectl.path);
        command.args(["get", &one.kind.argument(), one.name(), "--watch-only", "-o", "name"]);
        command.args(one.namespace().map(|name| ["-n", name]).into_iter().flatten());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl runs");
        tokio::spawn(async move {
            let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
            if let Ok(Some(line)) = lines.next_line().await {
                return line;
            }
            let output = child.wait_with_output().await;
            output.map_or_else(
                |error| error.to_string(),
                |output| String::from_utf8_lossy(&output.stderr).into_owned(),
            )
        })
    }

    /// Applies both ways; from the server's side, twice the same writes once.
    async fn apply(&self, tried: &[Tried<'_>], matrix: &mut Matrix) {
        self.batch("apply", &["apply", "-o", "name"], tried, matrix).await;
        let server_side = ["apply", "--server-side", "--force-conflicts", "-o", "name"];
        self.batch("ssa", &server_side, tried, matrix).await;
        let file = self.manifest("again", tried.iter().map(|one| &one.object));
        for (column, arguments) in [("ssa", &server_side[..]), ("apply", &["apply", "-o", "name"])] {
            let mut changed: Vec<&Tried<'_>> = tried.iter().collect();
            // A controller may write in between; nobody does so each time.
            for _ in 0..5 {
                let before = self.versions(&file).await;
                self.kubectl(&[arguments, &["-f", &file]].concat()).await;
                let after = self.versions(&file).await;
                changed.retain(|one| before.get(&key(&one.object)) != after.get(&key(&one.object)));
                if changed.is_empty() {
                    break;
                }
            }
            for one in changed {
                let why = "applying the same writes the object again".to_owned();
                matrix.note(&self.client, &one.kind.label(), column, Outcome::Failed(why));
            }
        }
    }

    /// The objects as they are, without what the server alone sets.
    async fn live(&self, tried: &[Tried<'_>]) -> BTreeMap<String, Value> {
        let file = self.manifest("live", tried.iter().map(|one| &one.object));
        let said = self.kubectl(&["get", "-f", &file, "-o", "json"]).await;
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let items = list["items"].as_array().cloned().unwrap_or_default().into_iter().map(|mut item| {
            if let Some(object) = item.as_object_mut() {
                object.remove("status");
            }
            for field in
                ["annotations", "creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"]
            {
                if let Some(metadata) = item["metadata"].as_object_mut() {
                    metadata.remove(field);
                }
            }
            (key(&item), item)
        });
        items.collect()
    }

    /// With every default spelt out, `apply` has nothing to do the second time, and `diff` nothing to show.
    async fn apply_again(&self, tried: &[Tried<'_>], matrix: &mut Matrix) {
        let (mut file, mut changed) = (String::new(), tried.iter().collect::<Vec<_>>());
        // Controllers write too (the taints of a node that does not answer); nobody does so each time.
        for _ in 0..5 {
            file = self.manifest("spelt-out", self.live(tried).await.values());
            self.kubectl(&["apply", "-f", &file]).await;
            let again = self.kubectl(&["apply", "-f", &file]).await;
            let unchanged: BTreeSet<&str> =
                again.stdout.lines().filter_map(|line| line.strip_suffix(" unchanged")).collect();
            changed.retain(|one| !unchanged.contains(one.printed().as_str()));
            if changed.is_empty() {
                break;
            }
        }
        for one in changed {
            let why = "applied a second time it is not unchanged".to_owned();
            matrix.note(&self.client, &one.kind.label(), "apply", Outcome::Failed(why));
        }
        self.diff(tried, file).await;
    }

    /// Nothing differs from what was applied last.
    async fn diff(&self, tried: &[Tried<'_>], mut file: String) {
        let mut said = self.kubectl(&["diff", "-f", &file]).await;
        // What controllers have left is applied and compared.
        for _ in 0..5 {
            if said.code == 0 {
                break;
            }
            file = self.manifest("spelt-out", self.live(tried).await.values());
            self.kubectl(&["apply", "-f", &file]).await;
            said = self.kubectl(&["diff", "-f", &file]).await;
        }
        assert_eq!((said.code, said.stdout.as_str()), (0, ""), "{} diff: {}", self.client, said.stderr);
    }

    async fn versions(&self, file: &str) -> BTreeMap<String, String> {
        let said = self.kubectl(&["get", "-f", file, "-o", "json"]).await;
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let items = list["items"].as_array().into_iter().flatten();
        items.map(|item| (key(item), item["metadata"]["resourceVersion"].to_string())).collect()
    }

    /// `--subresource`, which kubectl has since 1.24; before that a raw PUT of the path.
    async fn status(&self, tried: &[Tried<'_>], matrix: &mut Matrix) {
        let calls = tried.iter().filter(|one| one.kind.has_status()).map(|one| async move {
            let said = if self.kubectl.minor >= 24 {
                let text = one.kind.status_patch().to_string();
                let resource = one.kind.argument();
                let mut arguments = vec![
                    "patch",
                    &resource,
                    one.name(),
                    "--subresource=status",
                    "--type=merge",
                    "-p",
                    &text,
                    "-o",
                    "json",
                ];
                arguments.extend(one.namespace().map(|name| ["-n", name]).into_iter().flatten());
                self.kubectl(&arguments).await
            } else {
                self.put_status(one).await
            };
            let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
            let wanted = one.kind.status_patch();
            let kept = wanted["status"]
                .as_object()
                .into_iter()
                .flatten()
                .all(|(field, value)| contains(&answer["status"][field], value));
            let outcome = if kept {
                Outcome::Passed
            } else {
                Outcome::Failed(format!("{}{}", said.stderr, answer["status"]))
            };
            (one.kind.label(), outcome)
        });
        let outcomes: Vec<(String, Outcome)> =
            futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect().await;
        for (kind, outcome) in outcomes {
            matrix.note(&self.client, &kind, "status", outcome);
        }
    }

    async fn put_status(&self, one: &Tried<'_>) -> Said {
        let path = format!("{}/{}/status", one.kind.path(one.namespace()), one.name());
        let mut patch = one.kind.status_patch();
        loop {
            let mut object: Value =
                serde_json::from_str(&self.kubectl(&["get", "--raw", &path]).await.stdout)
                    .unwrap_or_default();
            for (field, value) in patch["status"].as_object_mut().into_iter().flatten() {
                object["status"][field] = value.clone();
            }
            let file = self.served.file(&format!("status-{}.json", one.name()), &object.to_string());
            let said = self.kubectl(&["replace", "--raw", &path, "-f", &file]).await;
            // A controller was faster.
            if !said.stderr.contains("the object has been modified") {
                return said;
            }
        }
    }

    /// kubectl has no command for it but `--raw`.
    async fn collection(&self, tried: &[Tried<'_>], tag: &str, matrix: &mut Matrix) {
        let serves = tried.iter().filter(|one| prepare::serves(one.kind, "collection"));
        let calls = serves.map(|one| async move {
            let path = format!("{}?labelSelector=matrix%3D{tag}%2Cset%3Db", one.kind.path(one.namespace()));
            let said = self.kubectl(&["delete", "--raw", &path]).await;
            let outcome = if said.code == 0 { Outcome::Passed } else { Outcome::Failed(said.stderr) };
            (one, outcome)
        });
        let outcomes: Vec<(&Tried<'_>, Outcome)> =
            futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect().await;
        let selector = format!("matrix={tag},set=b");
        let types = types(outcomes.iter().map(|(one, _)| *one));
        let left = self.kubectl(&["get", &types, "-A", "-l", &selector, "-o", "json"]).await;
        let left: Value = serde_json::from_str(&left.stdout).unwrap_or_default();
        let items = left["items"].as_array().into_iter().flatten();
        let left: BTreeSet<String> =
            items.filter(|item| item["metadata"]["deletionTimestamp"].is_null()).map(key).collect();
        for (one, outcome) in outcomes {
            let outcome = if left.contains(&key(&one.object)) {
                Outcome::Failed("it is still there".to_owned())
            } else {
                outcome
            };
            matrix.note(&self.client, &one.kind.label(), "collection", outcome);
        }
    }
}

fn types<'a>(tried: impl Iterator<Item = &'a Tried<'a>>) -> String {
    tried.map(|one| one.kind.argument()).collect::<Vec<_>>().join(",")
}

/// What tells an object from all others.
fn key(object: &Value) -> String {
    format!(
        "{} {} {} {}",
        object["apiVersion"], object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]
    )
}

/// Whether a value has all that another has; lists, each item somewhere.
fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(all), Value::Object(some)) => {
            some.iter().all(|(key, part)| all.get(key).is_some_and(|value| contains(value, part)))
        }
        (Value::Array(all), Value::Array(some)) => {
            some.iter().all(|part| all.iter().any(|one| contains(one, part)))
        }
        _ => value == part,
    }
}
