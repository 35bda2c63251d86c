//! Names in other objects' fields, after the objects that they mean were renamed.
//!
//! **Contract.** Runs once, at the end, over everything. A name that could mean several objects which now have different
//! names is an error.
//! **Upstream.** `kustomize/api/filters/nameref` (behaviour).

use serde_json::Value;

use crate::config::{Config, FieldSpec, NameReference};
use crate::fields::{Make, change};
use crate::resource::{Id, Resource, Set};
use crate::{Error, invalid};

/// What an object is and was called.
struct Candidate {
    now: Id,
    previous: Vec<Id>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

impl Candidate {
    fn of(one: &Resource) -> Self {
        Self {
            now: one.id(),
            previous: one.previous.clone(),
            prefixes: one.prefixes.clone(),
            suffixes: one.suffixes.clone(),
        }
    }

    fn original_namespace(&self) -> &str {
        self.previous.first().unwrap_or(&self.now).effective_namespace()
    }
}

/// Mends every reference.
pub(crate) fn mend(set: &mut Set, config: &Config) -> Result<(), Error> {
    let candidates: Vec<Candidate> = set.0.iter().map(Candidate::of).collect();
    for (place, referrer) in set.0.iter_mut().enumerate() {
        let (me, original) = (&candidates[place], referrer.original().gvk);
        let reachable = reachable(&candidates, me, referrer);
        for reference in &config.name_reference {
            for spec in &reference.field_specs {
                if !original.is_selected(&spec.group, &spec.version, &spec.kind) {
                    continue;
                }
                let role = role_of(referrer, spec);
                let search = Search { me, reference, role, candidates: &reachable };
                let any = FieldSpec { path: spec.path.clone(), ..FieldSpec::default() };
                change(referrer, &any, Make::Nothing, &mut |field| search.mend(field)).map_err(|error| {
                    error.within(format!("updating name reference in '{}' field of '{}'", spec.path, me.now))
                })?;
            }
        }
    }
    Ok(())
}

/// What an object may refer to: anything without a namespace or in the same one; accounts in the namespaces that a
/// binding names. What has no namespace itself may refer to anything.
fn reachable<'a>(all: &'a [Candidate], me: &Candidate, referrer: &Resource) -> Vec<&'a Candidate> {
    if me.now.gvk.is_cluster_scoped() {
        return all.iter().collect();
    }
    let accounts: Vec<&str> = match referrer.kind() {
        "RoleBinding" => referrer.object["subjects"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|subject| subject["kind"] == "ServiceAccount")
            .filter_map(|subject| subject["namespace"].as_str())
            .collect(),
        _ => Vec::new(),
    };
    all.iter()
        .filter(|one| {
            one.now.gvk.is_cluster_scoped()
                || one.now.effective_namespace() == me.now.effective_namespace()
                || accounts.contains(&one.now.namespace.as_str())
        })
        .collect()
}

/// Group and kind that a `roleRef` names beside the name.
fn role_of(referrer: &Resource, spec: &FieldSpec) -> Option<(String, String)> {
    let role = &referrer.object["roleRef"];
    let text = |field: &str| Some(role[field].as_str()?.to_owned());
    if !spec.path.ends_with("roleRef/name") {
        return None;
    }
    Some((text("apiGroup")?, text("kind")?))
}

struct Search<'a> {
    me: &'a Candidate,
    reference: &'a NameReference,
    role: Option<(String, String)>,
    candidates: &'a [&'a Candidate],
}

/// Whether objects of one name may be in different namespaces, too.
#[derive(Clone, Copy, PartialEq)]
enum Same {
    Names,
    NamesAndNamespaces,
}

impl Search<'_> {
    fn mend(&self, field: &mut Value) -> Result<(), Error> {
        match field {
            Value::Null => Ok(()),
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.mend(item)),
            Value::Object(_) => self.mend_map(field),
            _ => {
                let Some(name) = field.as_str().map(str::to_owned) else { return Ok(()) };
                if let Some(found) = self.find(&name, self.candidates.iter().copied(), Same::Names)? {
                    *field = found.now.name.as_str().into();
                }
                Ok(())
            }
        }
    }

    /// A map with a name, and maybe a namespace.
    fn mend_map(&self, field: &mut Value) -> Result<(), Error> {
        let Some(name) = field["name"].as_str().map(str::to_owned) else {
            return invalid("path config error; no 'name' field in node");
        };
        let namespace = field["namespace"].as_str().map(str::to_owned);
        let within: Vec<&Candidate> = match &namespace {
            None => self.candidates.to_vec(),
            Some(namespace) => {
                let of = |get: fn(&Candidate) -> &str| {
                    let all = self.candidates.iter().copied().filter(move |one| get(one) == namespace);
                    all.collect::<Vec<_>>()
                };
                match of(Candidate::original_namespace) {
                    found if found.is_empty() => of(|one| one.now.effective_namespace()),
                    found => found,
                }
            }
        };
        let Some(found) = self.find(&name, within.into_iter(), Same::NamesAndNamespaces)? else {
            return Ok(());
        };
        field["name"] = found.now.name.as_str().into();
        if !found.now.namespace.is_empty() {
            field["namespace"] = found.now.namespace.as_str().into();
        }
        Ok(())
    }

    /// The object that is meant by a name that it had.
    fn find<'c>(
        &self,
        name: &str,
        candidates: impl Iterator<Item = &'c Candidate>,
        same: Same,
    ) -> Result<Option<&'c Candidate>, Error> {
        let NameReference { group, version, kind, .. } = self.reference;
        let free = self.me.now.gvk.is_cluster_scoped();
        let mut found: Vec<&Candidate> = candidates
            .filter(|one| one.previous.iter().any(|id| id.name == name))
            .filter(|one| one.previous.iter().any(|id| id.gvk.is_selected(group, version, kind)))
            .filter(|one| match &self.role {
                Some((group, kind)) => one.previous.iter().any(|id| id.gvk.is_selected(group, "", kind)),
                None => true,
            })
            .filter(|one| {
                free || one.now.gvk.is_cluster_scoped()
                    || one.now.gvk.kind == "ServiceAccount"
                    || one.now.effective_namespace() == self.me.now.effective_namespace()
            })
            .collect();
        if found.len() > 1 {
            found.retain(|one| {
                same_end(&one.prefixes, &self.me.prefixes, true)
                    && same_end(&one.suffixes, &self.me.suffixes, true)
            });
        }
        if found.len() > 1 {
            found.retain(|one| {
                same_end(&one.prefixes, &self.me.prefixes, false)
                    && same_end(&one.suffixes, &self.me.suffixes, false)
            });
        }
        let Some(first) = found.first().copied() else { return Ok(None) };
        let alike = found.iter().all(|one| {
            one.now.name == first.now.name
                && (same == Same::Names || one.now.namespace == first.now.namespace)
        });
        if alike {
            return Ok(Some(first));
        }
        let ids: Vec<String> = found.iter().map(|one| one.now.to_string()).collect();
        invalid(format!("found multiple possible referrals: {}", ids.join(", ")))
    }
}

/// Whether the shorter list is the end of the longer one.
fn same_end(one: &[String], other: &[String], empty_fits: bool) -> bool {
    if one.is_empty() || other.is_empty() {
        return empty_fits || one.len() == other.len();
    }
    one.iter().rev().zip(other.iter().rev()).all(|(one, other)| one == other)
}
