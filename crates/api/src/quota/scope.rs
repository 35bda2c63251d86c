//! Which objects a quota with scopes is about.
//!
//! **Upstream**: `podMatchesScopeFunc`, `pvcMatchesScopeFunc`, `getScopeSelectorsFromQuota`.

use crate::pod::{QosClass, qos_class};
use crate::quota::Kind;
use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;
use serde_json::Value;

/// One condition on the objects that a quota is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scope<'a> {
    /// `BestEffort`, `PriorityClass`, …
    pub name: &'a str,
    /// `Exists`, `DoesNotExist`, `In`, `NotIn`.
    pub operator: &'a str,
    /// What `In` and `NotIn` compare with.
    pub values: &'a [Value],
}

/// The conditions of a quota's spec.
pub fn scopes(spec: &Value) -> impl Iterator<Item = Scope<'_>> {
    let plain = spec["scopes"].as_array().into_iter().flatten();
    let plain = plain.filter_map(Value::as_str).map(|name| Scope { name, operator: "Exists", values: &[] });
    let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    plain.chain(selected.map(Scope::of))
}

/// Whether an object is one that a quota with this spec counts.
pub fn matches(kind: Kind<'_>, spec: &Value, object: &Value) -> bool {
    scopes(spec).all(|scope| scope.holds(kind, object))
}

impl<'a> Scope<'a> {
    /// The condition that a `ScopedResourceSelectorRequirement` says.
    pub fn of(expression: &'a Value) -> Self {
        Self {
            name: expression["scopeName"].as_str().unwrap_or_default(),
            operator: expression["operator"].as_str().unwrap_or_default(),
            values: expression["values"].as_array().map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

impl Scope<'_> {
    /// Whether it holds for an object.
    pub fn holds(&self, kind: Kind<'_>, object: &Value) -> bool {
        if kind.is_claims() {
            return self.name == "VolumeAttributesClass" && self.holds_for_claim(object);
        }
        kind.is_pods() && self.holds_for_pod(&object["spec"])
    }

    fn holds_for_pod(&self, spec: &Value) -> bool {
        let terminating = || spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
        let best_effort =
            || PodSpec::deserialize(spec).is_ok_and(|spec| qos_class(&spec) == QosClass::BestEffort);
        match self.name {
            "Terminating" => terminating(),
            "NotTerminating" => !terminating(),
            "BestEffort" => best_effort(),
            "NotBestEffort" => !best_effort(),
            "PriorityClass" => {
                let class = spec["priorityClassName"].as_str().filter(|class| !class.is_empty());
                self.selects(class.as_slice())
            }
            "CrossNamespacePodAffinity" => crosses_namespaces(&spec["affinity"]),
            _ => false,
        }
    }

    fn holds_for_claim(&self, claim: &Value) -> bool {
        let classes = [
            &claim["spec"]["volumeAttributesClassName"],
            &claim["status"]["currentVolumeAttributesClassName"],
            &claim["status"]["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
        ];
        let classes: Vec<&str> =
            classes.into_iter().filter_map(Value::as_str).filter(|class| !class.is_empty()).collect();
        self.selects(&classes)
    }

    /// Whether the operator holds for a property that has these values (several while it changes).
    fn selects(&self, present: &[&str]) -> bool {
        let listed = || present.iter().any(|class| self.values.iter().any(|value| value == class));
        match self.operator {
            "Exists" => !present.is_empty(),
            "DoesNotExist" => present.is_empty(),
            "In" => listed(),
            "NotIn" => !listed(),
            _ => false,
        }
    }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|namespaces| !namespaces.is_empty())
            || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].into_iter().any(|side| {
        let terms = |field: &str| affinity[side][field].as_array().into_iter().flatten();
        terms("requiredDuringSchedulingIgnoredDuringExecution").any(crosses)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .any(|term| crosses(&term["podAffinityTerm"]))
    })
}
