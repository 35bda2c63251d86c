//! What claims ask for: their requests, with classes and selectors looked up.
//!
//! **Contract**: pure; a claim that cannot be satisfied anywhere is told in upstream's words.
//! **Upstream**: `PreFilter` of the plugin; `validateDeviceRequest` of `structured`.

use crate::framework::{Capacities, Devices, Selector};
use api::k8s_openapi::api::resource::v1::{
    CapacityRequirements, DeviceClass, DeviceRequest, DeviceSelector, DeviceToleration, ResourceClaim,
};
use api::pod::parse_quantity;
use std::sync::Arc;

/// The claims of a pod that have no devices yet.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) claims: Vec<ClaimWanted>,
}

#[derive(Clone)]
pub(super) struct ClaimWanted {
    pub(super) claim: Arc<ResourceClaim>,
    pub(super) requests: Vec<RequestWanted>,
}

#[derive(Clone)]
pub(super) struct RequestWanted {
    pub(super) name: String,
    /// In the order of preference; one, unless the request is a list (`firstAvailable`).
    pub(super) alternatives: Vec<Alternative>,
}

/// What would satisfy a request.
#[derive(Clone)]
pub(super) struct Alternative {
    /// Its name within a list.
    pub(super) name: Option<String>,
    pub(super) class: Arc<DeviceClass>,
    /// With how a failure of each is told.
    pub(super) selectors: Vec<(String, Arc<Selector>)>,
    pub(super) amount: Amount,
    pub(super) admin_access: bool,
    pub(super) tolerations: Vec<DeviceToleration>,
    pub(super) capacity: Capacities,
}

/// How many devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Exactly(usize),
    All,
}

impl RequestWanted {
    /// How results name one of its alternatives.
    pub(super) fn full_name(&self, alternative: usize) -> String {
        match &self.alternatives[alternative].name {
            None => self.name.clone(),
            Some(name) => format!("{}/{name}", self.name),
        }
    }

    /// Whether a list of requests means one of its alternatives; an empty list means all.
    pub(super) fn is_meant(&self, alternative: usize, requests: &[String]) -> bool {
        let full = self.full_name(alternative);
        requests.is_empty() || requests.iter().any(|name| *name == self.name || *name == full)
    }
}

/// `namespace/name`.
pub(super) fn named(claim: &ResourceClaim) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&claim.metadata.namespace), text(&claim.metadata.name))
}

/// The fields that requests and the alternatives of lists have in common.
struct Asked<'a> {
    name: Option<&'a str>,
    class: &'a str,
    mode: Option<&'a str>,
    count: Option<i64>,
    admin_access: bool,
    selectors: Option<&'a [DeviceSelector]>,
    tolerations: Option<&'a [DeviceToleration]>,
    capacity: Option<&'a CapacityRequirements>,
}

fn asked(request: &DeviceRequest) -> Vec<Asked<'_>> {
    let exactly = request.exactly.iter().map(|exactly| Asked {
        name: None,
        class: &exactly.device_class_name,
        mode: exactly.allocation_mode.as_deref(),
        count: exactly.count,
        admin_access: exactly.admin_access == Some(true),
        selectors: exactly.selectors.as_deref(),
        tolerations: exactly.tolerations.as_deref(),
        capacity: exactly.capacity.as_ref(),
    });
    let list = request.first_available.iter().flatten().map(|sub| Asked {
        name: Some(&sub.name),
        class: &sub.device_class_name,
        mode: sub.allocation_mode.as_deref(),
        count: sub.count,
        admin_access: false,
        selectors: sub.selectors.as_deref(),
        tolerations: sub.tolerations.as_deref(),
        capacity: sub.capacity.as_ref(),
    });
    exactly.chain(list).collect()
}

/// What a claim asks for.
///
/// # Errors
/// If no node can ever satisfy it as things are.
pub(super) fn of_claim(claim: &Arc<ResourceClaim>, devices: &Devices) -> Result<ClaimWanted, String> {
    let asks = claim.spec.devices.as_ref().and_then(|devices| devices.requests.as_deref());
    let requests = asks.unwrap_or_default().iter().map(|request| of_request(claim, request, devices));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    Ok(ClaimWanted { claim: claim.clone(), requests })
}

fn of_request(
    claim: &ResourceClaim,
    request: &DeviceRequest,
    devices: &Devices,
) -> Result<RequestWanted, String> {
    let mut wanted = RequestWanted { name: request.name.clone(), alternatives: Vec::new() };
    for asked in asked(request) {
        let name = asked.name.map_or_else(|| request.name.clone(), |sub| format!("{}/{sub}", request.name));
        wanted.alternatives.push(alternative(claim, &name, &asked, devices)?);
    }
    if wanted.alternatives.is_empty() {
        return Err(format!("request {}: unsupported request type", request.name));
    }
    Ok(wanted)
}

fn alternative(
    claim: &ResourceClaim,
    name: &str,
    asked: &Asked<'_>,
    devices: &Devices,
) -> Result<Alternative, String> {
    if asked.class.is_empty() {
        return Err(format!("request {name}: unsupported request type"));
    }
    let class = devices
        .class(asked.class)
        .ok_or_else(|| format!("request {name}: device class {} does not exist", asked.class))?;
    let mut selectors = Vec::new();
    let of_class = class.spec.selectors.as_deref().unwrap_or_default();
    let holders = [
        (format!("class {}", asked.class), of_class),
        (format!("claim {}", named(claim)), asked.selectors.unwrap_or_default()),
    ];
    for (holder, list) in holders {
        for (i, selector) in list.iter().enumerate() {
            let told = format!("{holder}: selector #{i}");
            let cel = selector
                .cel
                .as_ref()
                .ok_or_else(|| format!("{told}: CEL expression empty (unsupported selector type?)"))?;
            selectors.push((told, devices.selector(&cel.expression)));
        }
    }
    let amount = match asked.mode {
        None | Some("ExactCount") => Amount::Exactly(usize::try_from(asked.count.unwrap_or(1)).unwrap_or(0)),
        Some("All") => Amount::All,
        Some(mode) => {
            return Err(format!("claim {}, request {name}: unsupported count mode {mode}", named(claim)));
        }
    };
    let capacity = asked.capacity.and_then(|capacity| capacity.requests.as_ref());
    Ok(Alternative {
        name: asked.name.map(str::to_owned),
        class: class.clone(),
        selectors,
        amount,
        admin_access: asked.admin_access,
        tolerations: asked.tolerations.unwrap_or_default().to_vec(),
        capacity: capacity.into_iter().flatten().map(|(k, v)| (k.clone(), parse_quantity(v))).collect(),
    })
}
