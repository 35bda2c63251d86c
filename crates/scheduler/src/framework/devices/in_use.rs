//! Which devices claims have, and how much of those that several may have at a time.
//!
//! **Contract**: one that was given for administration (`adminAccess`) is not in use.

use api::k8s_openapi::api::resource::v1::{AllocationResult, DeviceRequestAllocationResult};
use api::pod::parse_quantity;
use api::quantity::Quantity;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// Driver, pool and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    /// Whose it is.
    pub driver: Arc<str>,
    /// Where it is.
    pub pool: Arc<str>,
    /// Its name there.
    pub device: Arc<str>,
}

impl DeviceId {
    /// Of these names.
    pub fn new(driver: &str, pool: &str, device: &str) -> Self {
        Self { driver: driver.into(), pool: pool.into(), device: device.into() }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.driver, self.pool, self.device)
    }
}

/// Amounts of capacities, by name.
pub type Capacities = BTreeMap<String, Quantity>;

/// What is taken of one device.
#[derive(Clone, Debug, Default)]
struct Taken {
    /// By those who have it for themselves.
    whole: usize,
    /// By those who share it.
    shares: usize,
    consumed: Capacities,
}

/// All that claims have.
#[derive(Debug, Default)]
pub struct InUse {
    devices: HashMap<DeviceId, Taken>,
    /// By the claim's UID.
    by_claim: HashMap<String, Vec<DeviceRequestAllocationResult>>,
}

fn id(result: &DeviceRequestAllocationResult) -> DeviceId {
    DeviceId::new(&result.driver, &result.pool, &result.device)
}

fn consumed(result: &DeviceRequestAllocationResult) -> impl Iterator<Item = (&String, Quantity)> {
    result.consumed_capacity.iter().flatten().map(|(name, amount)| (name, parse_quantity(amount)))
}

impl InUse {
    /// Whether somebody has it for itself.
    pub fn is_taken(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|taken| taken.whole > 0)
    }

    /// Whether somebody has some of it.
    pub fn is_shared(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|taken| taken.shares > 0)
    }

    /// How much of a capacity those have who share it.
    pub fn consumed(&self, device: &DeviceId, capacity: &str) -> Quantity {
        let taken = self.devices.get(device).and_then(|taken| taken.consumed.get(capacity));
        taken.copied().unwrap_or_default()
    }

    /// What a claim has from now on.
    pub(super) fn set(&mut self, claim: &str, allocation: Option<&AllocationResult>) {
        for result in self.by_claim.remove(claim).into_iter().flatten() {
            self.release(&result);
        }
        let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
        let results = devices.and_then(|devices| devices.results.as_deref()).unwrap_or_default();
        let results: Vec<_> =
            results.iter().filter(|result| result.admin_access != Some(true)).cloned().collect();
        if results.is_empty() {
            return;
        }
        for result in &results {
            let taken = self.devices.entry(id(result)).or_default();
            if result.share_id.is_none() {
                taken.whole += 1;
                continue;
            }
            taken.shares += 1;
            for (name, amount) in consumed(result) {
                *taken.consumed.entry(name.clone()).or_default() += amount;
            }
        }
        self.by_claim.insert(claim.to_owned(), results);
    }

    fn release(&mut self, result: &DeviceRequestAllocationResult) {
        let id = id(result);
        let Some(taken) = self.devices.get_mut(&id) else { return };
        if result.share_id.is_none() {
            taken.whole = taken.whole.saturating_sub(1);
        } else {
            taken.shares = taken.shares.saturating_sub(1);
            for (name, amount) in consumed(result) {
                if let Some(known) = taken.consumed.get_mut(name) {
                    *known -= amount;
                }
            }
        }
        if taken.whole == 0 && taken.shares == 0 {
            self.devices.remove(&id);
        }
    }
}
