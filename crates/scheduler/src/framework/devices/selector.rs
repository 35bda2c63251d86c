//! Selectors of devices: compiled once, and asked once about each device.
//!
//! **Upstream**: `k8s.io/dynamic-resource-allocation/cel`.

use api::k8s_openapi::api::resource::v1::{Device, DeviceAttribute};
use expressions::{Budget, Environment, Expression, Kind, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// Steps that a selector may take. **Upstream**: `CELSelectorExpressionMaxCost`.
const STEPS: u64 = 1_000_000;
/// Expressions that are kept; there are few in a cluster.
const MOST: usize = 512;

/// A selector as it was written, and compiled or not.
#[derive(Debug)]
pub struct Selector {
    /// As it was written.
    pub source: Arc<str>,
    expression: Result<Expression, String>,
}

impl Selector {
    fn new(source: &str) -> Self {
        let expression = Expression::compile(source, &Environment::of_devices(), Kind::Bool);
        Self { source: source.into(), expression }
    }

    /// Whether it selects a device, told as [`value`] does.
    ///
    /// # Errors
    /// If it cannot be compiled, or fails for this device.
    pub(super) fn selects(&self, device: &Value) -> Result<bool, String> {
        let expression = self.expression.as_ref().map_err(|why| format!("CEL compile error: {why}"))?;
        let mut context = expressions::context();
        context.add_variable_from_value("device", device.clone());
        match expression.evaluate(&context, &Budget::new(STEPS)) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(_) => Err("CEL runtime error: CEL result could not be converted to bool".to_owned()),
            Err(why) => Err(format!("CEL runtime error: {why}")),
        }
    }

    /// Whether it can be evaluated at all.
    pub(super) fn is_compiled(&self) -> bool {
        self.expression.is_ok()
    }
}

/// All that are in use.
#[derive(Debug, Default)]
pub(super) struct Selectors(RwLock<HashMap<String, Arc<Selector>>>);

impl Selectors {
    pub(super) fn get(&self, source: &str) -> Arc<Selector> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(source) {
            return known.clone();
        }
        let selector = Arc::new(Selector::new(source));
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(source.to_owned(), selector.clone());
        selector
    }
}

/// A device as selectors see it: names without a domain are of the driver's.
pub(super) fn value(driver: &str, device: &Device) -> Result<Value, String> {
    let mut attributes: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for (name, attribute) in device.attributes.iter().flatten() {
        let (domain, id) = qualified(driver, name);
        let value = attribute_value(attribute).map_err(|why| format!("attribute {name}: {why}"))?;
        attributes.entry(domain.to_owned()).or_default().push((id.to_owned(), value));
    }
    let mut capacity: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for (name, amount) in device.capacity.iter().flatten() {
        let (domain, id) = qualified(driver, name);
        let value =
            expressions::quantity(&amount.value.0).map_err(|why| format!("capacity {name}: {why}"))?;
        capacity.entry(domain.to_owned()).or_default().push((id.to_owned(), value));
    }
    let nested = |all: BTreeMap<String, Vec<(String, Value)>>| {
        expressions::map(all.into_iter().map(|(domain, entries)| (domain, expressions::map(entries))))
    };
    Ok(expressions::map([
        ("driver".to_owned(), driver.into()),
        ("allowMultipleAllocations".to_owned(), (device.allow_multiple_allocations == Some(true)).into()),
        ("attributes".to_owned(), nested(attributes)),
        ("capacity".to_owned(), nested(capacity)),
    ]))
}

fn qualified<'a>(driver: &'a str, name: &'a str) -> (&'a str, &'a str) {
    name.split_once('/').unwrap_or((driver, name))
}

fn attribute_value(attribute: &DeviceAttribute) -> Result<Value, String> {
    match attribute {
        DeviceAttribute { int: Some(int), .. } => Ok((*int).into()),
        DeviceAttribute { bool: Some(bool), .. } => Ok((*bool).into()),
        DeviceAttribute { string: Some(text), .. } => Ok(text.as_str().into()),
        DeviceAttribute { version: Some(version), .. } => {
            expressions::semver(version).map_err(|why| format!("parse semantic version: {why}"))
        }
        _ => Err("unsupported attribute value".to_owned()),
    }
}
