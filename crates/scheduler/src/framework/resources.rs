//! Amounts as the scheduler reckons with them.
//!
//! **Contract**: CPU in thousandths, everything else in whole units (bytes, pods, devices).
//! **Upstream**: `framework.Resource`.

use api::pod::ResourceList;
use std::collections::BTreeMap;

/// CPU in thousandths, bytes, and counts of anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a processor.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Pods.
    pub pods: i64,
    /// Everything else, by name.
    pub other: BTreeMap<String, i64>,
}

impl Resources {
    /// From amounts by name.
    pub fn from_list(list: &ResourceList) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => resources.milli_cpu = quantity.millis(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => resources.pods = quantity.value(),
                _ => {
                    resources.other.insert(name.clone(), quantity.value());
                }
            }
        }
        resources
    }

    /// The amount of one resource.
    pub fn amount(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            "pods" => self.pods,
            name => self.other.get(name).copied().unwrap_or(0),
        }
    }

    /// Adds another's amounts.
    pub fn add(&mut self, more: &Self) {
        self.combine(more, 1);
    }

    /// Takes another's amounts off.
    pub fn remove(&mut self, less: &Self) {
        self.combine(less, -1);
    }

    fn combine(&mut self, other: &Self, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        self.pods += sign * other.pods;
        for (name, amount) in &other.other {
            *self.other.entry(name.clone()).or_default() += sign * amount;
        }
    }
}
