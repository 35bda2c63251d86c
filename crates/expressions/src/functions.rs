//! Functions: the standard's, Kubernetes', and those of the interpreter that are put right.

use super::two_variables;
use kube_cel::KubeCelExt;
use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::{Opaque, OptionalValue};
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that meters an evaluation, and the function that does so in each turn of a loop.
pub(super) const BUDGET: &str = "@budget";
pub(super) const TICK: &str = "@tick";

/// Names of types, which are values as well.
pub(super) const TYPES: [&str; 12] = [
    "bool",
    "bytes",
    "double",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// Functions that are called as `prefix.name`.
const QUALIFIED: [&str; 29] = [
    "base64.decode",
    "base64.encode",
    "format.byte",
    "format.date",
    "format.datetime",
    "format.dns1035Label",
    "format.dns1035LabelPrefix",
    "format.dns1123Label",
    "format.dns1123LabelPrefix",
    "format.dns1123Subdomain",
    "format.dns1123SubdomainPrefix",
    "format.labelValue",
    "format.named",
    "format.qualifiedName",
    "format.uri",
    "format.uuid",
    "ip.isCanonical",
    "jsonpatch.escapeKey",
    "lists.range",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "strings.quote",
    "cidr.isCanonical",
    "url.parse",
    "semver.parse",
];

/// Functions and methods.
const KNOWN: [&str; 114] = [
    // operators
    "_?_:_",
    "_&&_",
    "_||_",
    "!_",
    "_-_",
    "_+_",
    "_*_",
    "_/_",
    "_%_",
    "_==_",
    "_!=_",
    "_>=_",
    "_<=_",
    "_>_",
    "_<_",
    "-_",
    "_[_]",
    "_[?_]",
    "_?._",
    "@not_strictly_false",
    "@in",
    two_variables::INSERT,
    // the standard's
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    // optional values
    "hasValue",
    "or",
    "orValue",
    "value",
    // lists and strings
    "charAt",
    "distinct",
    "find",
    "findAll",
    "first",
    "flatten",
    "format",
    "indexOf",
    "isSorted",
    "join",
    "last",
    "lastIndexOf",
    "lowerAscii",
    "max",
    "min",
    "replace",
    "reverse",
    "slice",
    "sort",
    "split",
    "substring",
    "sum",
    "trim",
    "upperAscii",
    // Kubernetes' types
    "add",
    "asApproximateFloat",
    "asInteger",
    "cidr",
    "compareTo",
    "containsCIDR",
    "containsIP",
    "family",
    "getEscapedPath",
    "getHost",
    "getHostname",
    "getPort",
    "getQuery",
    "getScheme",
    "ip",
    "isCIDR",
    "isGlobalUnicast",
    "isGreaterThan",
    "isIP",
    "isInteger",
    "isLessThan",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isQuantity",
    "isSemver",
    "isURL",
    "isUnspecified",
    "major",
    "masked",
    "minor",
    "patch",
    "prefixLength",
    "quantity",
    "semver",
    "sign",
    "sub",
    "url",
    "validate",
];

/// Of the authorizer, where there is one; who has it registers them.
const AUTHORIZER: [&str; 14] = [
    "allowed",
    "check",
    "error",
    "errored",
    "fieldSelector",
    "group",
    "labelSelector",
    "name",
    "namespace",
    "path",
    "reason",
    "resource",
    "serviceAccount",
    "subresource",
];

pub(super) fn is_qualified(name: &str) -> bool {
    QUALIFIED.contains(&name)
}

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || AUTHORIZER.contains(&name)
}

/// All functions but those that ask an authorizer. A context of which others are made: a child takes no functions.
pub fn all() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function(TICK, tick);
    context.add_function(two_variables::PAIRS, two_variables::pairs);
    context.add_function(two_variables::INSERT, two_variables::insert);
    context.add_function("dyn", |value: Value| -> ResolveResult { Ok(value) });
    context.add_function("bool", to_bool);
    context.add_function("size", size);
    context.add_function("type", |value: Value| -> ResolveResult { Ok(type_value(type_name(&value))) });
    for name in TYPES {
        context.add_variable_from_value(name, type_value(name));
    }
    context
}

/// A type as a value.
#[derive(Debug, PartialEq, Eq)]
struct TypeValue(&'static str);

impl Opaque for TypeValue {
    fn runtime_type_name(&self) -> &str {
        "type"
    }
}

fn type_value(name: &'static str) -> Value {
    Value::Opaque(Arc::new(TypeValue(name)))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Int(_) => "int",
        Value::UInt(_) => "uint",
        Value::Float(_) => "double",
        Value::String(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::Bool(_) => "bool",
        Value::Duration(_) => "google.protobuf.Duration",
        Value::Timestamp(_) => "google.protobuf.Timestamp",
        Value::Null => "null_type",
        Value::Opaque(_) | Value::Function(..) => "type",
    }
}

fn to_bool(value: Value) -> ResolveResult {
    match &value {
        Value::Bool(_) => Ok(value),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false.into()),
            _ => Err(ExecutionError::function_error("bool", "type conversion error from string to bool")),
        },
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

/// Of a text, its letters and not its bytes.
fn size(This(this): This<Value>) -> ResolveResult {
    let size = match &this {
        Value::String(text) => text.chars().count(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.map.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Opaque(opaque) if opaque.downcast_ref::<OptionalValue>().is_some() => {
            return Err(ExecutionError::NoSuchOverload);
        }
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

/// Counts the steps of one evaluation.
#[derive(Debug)]
pub(super) struct Meter {
    /// What is left for this and others.
    shared: Arc<AtomicU64>,
    /// What is left for this one.
    own: AtomicU64,
    /// Turns of loops that copy what they build.
    copies: AtomicU64,
}

/// Turns after which copying counts as a step more.
const COPIED_PER_STEP: u64 = 64;

impl Meter {
    pub(super) fn new(shared: Arc<AtomicU64>, own: u64) -> Self {
        Self { shared, own: own.into(), copies: 0.into() }
    }

    fn spend(&self, steps: u64, copies: bool) -> bool {
        let copied = if copies { self.copies.fetch_add(1, Ordering::Relaxed) / COPIED_PER_STEP } else { 0 };
        let steps = steps + copied;
        let take = |left: &AtomicU64| {
            let taken =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(steps));
            taken.is_ok()
        };
        take(&self.own) && take(&self.shared)
    }
}

impl PartialEq for Meter {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Meter {}

impl Opaque for Meter {
    fn runtime_type_name(&self) -> &str {
        "minik.Meter"
    }
}

fn tick(meter: Value, steps: i64, copies: i64) -> ResolveResult {
    let Value::Opaque(opaque) = &meter else { return Err(ExecutionError::NoSuchOverload) };
    let Some(meter) = opaque.downcast_ref::<Meter>() else { return Err(ExecutionError::NoSuchOverload) };
    if meter.spend(u64::try_from(steps).unwrap_or(1), copies != 0) {
        return Ok(true.into());
    }
    Err(ExecutionError::function_error(TICK, "operation cancelled: actual cost limit exceeded"))
}
