//! Pools: the slices of one driver that belong together, and what they offer a node.
//!
//! **Contract**: only the newest generation counts. A pool of which slices are missing, or whose slices contradict each
//! other, says so; nothing of it may be given away.
//! **Upstream**: `GatherPools` of `k8s.io/dynamic-resource-allocation/structured`.

use super::in_use::DeviceId;
use super::selector::{self, Selector};
use api::k8s_openapi::api::core::v1::{Node, NodeSelector};
use api::k8s_openapi::api::resource::v1::{Device, ResourceSlice};
use api::pod::parse_quantity;
use api::quantity::Quantity;
use api::scheduling::node_selector_matches;
use expressions::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Answers that are kept for each device.
const MOST_ANSWERS: usize = 64;

/// Driver and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId {
    /// Whose it is.
    pub driver: Arc<str>,
    /// Its name there.
    pub pool: Arc<str>,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.driver, self.pool)
    }
}

/// What a selector has said.
type Answer = Result<bool, Arc<str>>;

/// A device of a slice, with what selectors have said of it.
#[derive(Debug)]
struct DeviceInfo {
    id: DeviceId,
    value: OnceLock<Result<Value, String>>,
    answers: RwLock<HashMap<Arc<str>, Answer>>,
}

/// A slice, with what was found out about it as long as it is as it is.
#[derive(Debug)]
pub struct SliceInfo {
    /// The slice.
    pub slice: Arc<ResourceSlice>,
    pub(super) pool: PoolId,
    devices: Vec<DeviceInfo>,
}

impl SliceInfo {
    pub(super) fn new(slice: Arc<ResourceSlice>) -> Self {
        let pool =
            PoolId { driver: slice.spec.driver.as_str().into(), pool: slice.spec.pool.name.as_str().into() };
        let info = |device: &Device| {
            let id = DeviceId {
                driver: pool.driver.clone(),
                pool: pool.pool.clone(),
                device: device.name.as_str().into(),
            };
            DeviceInfo { id, value: OnceLock::new(), answers: RwLock::default() }
        };
        let devices = slice.spec.devices.iter().flatten().map(info).collect();
        Self { pool, devices, slice }
    }

    fn generation(&self) -> i64 {
        self.slice.spec.pool.generation
    }

    fn is_per_device(&self) -> bool {
        self.slice.spec.per_device_node_selection == Some(true)
    }

    /// Whether a node has something of it.
    fn reaches(&self, node: &Node) -> bool {
        let spec = &self.slice.spec;
        if !self.is_per_device() {
            return suits(node, spec.node_name.as_deref(), spec.all_nodes, spec.node_selector.as_ref());
        }
        spec.devices.iter().flatten().any(|device| is_on(device, node))
    }
}

fn suits(node: &Node, name: Option<&str>, all: Option<bool>, selector: Option<&NodeSelector>) -> bool {
    match (name.unwrap_or_default(), all, selector) {
        ("", Some(true), _) => true,
        ("", _, Some(selector)) => node_selector_matches(selector, node),
        ("", ..) => false,
        (name, ..) => node.metadata.name.as_deref() == Some(name),
    }
}

fn is_on(device: &Device, node: &Node) -> bool {
    suits(node, device.node_name.as_deref(), device.all_nodes, device.node_selector.as_ref())
}

/// A device that a node can have.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Where it is.
    pub pool: &'a Pool,
    /// The slice that it is in.
    pub slice: &'a SliceInfo,
    place: usize,
}

impl<'a> Offer<'a> {
    /// Its names.
    pub fn id(&self) -> &'a DeviceId {
        &self.slice.devices[self.place].id
    }

    /// The device.
    pub fn device(&self) -> &'a Device {
        let devices = self.slice.slice.spec.devices.as_deref().unwrap_or_default();
        &devices[self.place]
    }

    /// Whether its driver must say that it is ready before a pod is bound.
    pub fn has_conditions(&self) -> bool {
        self.device().binding_conditions.as_ref().is_some_and(|conditions| !conditions.is_empty())
    }

    /// Whether several may have it at a time.
    pub fn is_shareable(&self) -> bool {
        self.device().allow_multiple_allocations == Some(true)
    }

    /// The node, or the nodes, that can use it; none of both: every node can.
    pub fn place(&self) -> (Option<&'a str>, Option<&'a NodeSelector>) {
        let spec = &self.slice.slice.spec;
        if self.slice.is_per_device() {
            let device = self.device();
            return (device.node_name.as_deref(), device.node_selector.as_ref());
        }
        (spec.node_name.as_deref(), spec.node_selector.as_ref())
    }

    /// Whether a selector selects it.
    ///
    /// # Errors
    /// If that cannot be told: what follows the selector's name.
    pub fn is_selected(&self, selector: &Selector) -> Result<bool, String> {
        let info = &self.slice.devices[self.place];
        let known =
            info.answers.read().unwrap_or_else(PoisonError::into_inner).get(&selector.source).cloned();
        let answer = known.unwrap_or_else(|| {
            let value = info.value.get_or_init(|| selector::value(&info.id.driver, self.device()));
            let answer: Answer = match value {
                Ok(value) => selector.selects(value).map_err(Arc::from),
                Err(why) => Err(why.as_str().into()),
            };
            let mut answers = info.answers.write().unwrap_or_else(PoisonError::into_inner);
            if answers.len() >= MOST_ANSWERS {
                answers.clear();
            }
            answers.insert(selector.source.clone(), answer.clone());
            answer
        });
        answer.map_err(|why| match selector.is_compiled() {
            true => format!(" on device {}: {why}", info.id),
            false => format!(": {why}"),
        })
    }
}

/// Slices that belong together.
#[derive(Debug)]
pub struct Pool {
    /// Driver and name.
    pub id: PoolId,
    /// Whether all its slices are there.
    pub is_complete: bool,
    /// Whether its slices contradict each other.
    pub is_invalid: bool,
    slices: Vec<Arc<SliceInfo>>,
    counters: Counters,
}

/// Counters by set and name.
pub type Counters = BTreeMap<(String, String), Quantity>;

impl Pool {
    /// Of those slices that are of the newest generation; none without slices.
    pub(super) fn of(id: PoolId, slices: Vec<Arc<SliceInfo>>) -> Option<Self> {
        let newest = slices.iter().map(|slice| slice.generation()).max()?;
        let slices: Vec<_> = slices.into_iter().filter(|slice| slice.generation() == newest).collect();
        let expected = slices.first()?.slice.spec.pool.resource_slice_count;
        let mut names = BTreeSet::new();
        let mut is_invalid = false;
        let (mut sets, mut counters) = (BTreeSet::new(), Counters::new());
        for slice in &slices {
            for device in &slice.devices {
                is_invalid |= !names.insert(&device.id);
            }
            for set in slice.slice.spec.shared_counters.iter().flatten() {
                is_invalid |= !sets.insert(set.name.clone());
                let known = |(name, counter): (&String, &_)| {
                    ((set.name.clone(), String::clone(name)), amount(counter))
                };
                counters.extend(set.counters.iter().map(known));
            }
        }
        let is_complete = i64::try_from(slices.len()) == Ok(expected);
        let mut pool = Self { id, is_complete, is_invalid, slices, counters };
        let unknown =
            |device: &Device| consumption(device).any(|(counter, _)| !pool.counters.contains_key(&counter));
        pool.is_invalid |= is_complete && pool.all_devices().any(|(_, device)| unknown(device));
        Some(pool)
    }

    /// Whether its devices may be given away.
    pub fn is_usable(&self) -> bool {
        self.is_complete && !self.is_invalid
    }

    /// The nodes that single slices belong to.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        let names = self.slices.iter().filter_map(|slice| slice.slice.spec.node_name.as_deref());
        names.filter(|name| !name.is_empty())
    }

    /// Whether a slice may be of several nodes.
    pub(super) fn is_shared(&self) -> bool {
        self.slices.iter().any(|slice| slice.slice.spec.node_name.as_deref().unwrap_or_default().is_empty())
    }

    /// What a node can have, and whether it has any of its slices at all.
    pub fn offers<'a>(&'a self, node: &Node) -> (bool, Vec<Offer<'a>>) {
        let mut offers = Vec::new();
        let mut reaches = false;
        for slice in self.slices.iter().filter(|slice| slice.reaches(node)) {
            reaches = true;
            for (place, device) in slice.slice.spec.devices.iter().flatten().enumerate() {
                if !slice.is_per_device() || is_on(device, node) {
                    offers.push(Offer { pool: self, slice, place });
                }
            }
        }
        (reaches, offers)
    }

    /// Every device of the pool, wherever it is.
    pub fn all_devices(&self) -> impl Iterator<Item = (&DeviceId, &Device)> {
        self.slices.iter().flat_map(|slice| {
            slice.devices.iter().map(|info| &info.id).zip(slice.slice.spec.devices.iter().flatten())
        })
    }

    /// What there is of its counters, when nothing is given away.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn amount(counter: &api::k8s_openapi::api::resource::v1::Counter) -> Quantity {
    parse_quantity(&counter.value)
}

/// What a device takes of its pool's counters.
pub fn consumption(device: &Device) -> impl Iterator<Item = ((String, String), Quantity)> {
    device.consumes_counters.iter().flatten().flat_map(|consumed| {
        let one =
            |(name, counter): (&String, &_)| ((consumed.counter_set.clone(), name.clone()), amount(counter));
        consumed.counters.iter().map(one)
    })
}
