//! ServiceCIDR: a block of addresses for Services.
//!
//! **Not here**: allocation, which uses the block of the configuration whatever is stored here.
//! **Upstream**: `pkg/registry/networking/servicecidr`, `ValidateServiceCIDR`.

use crate::registry::{Cell, Column, Strategy, WriteContext};
use crate::resources::edit::items;
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::names;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of ServiceCIDRs.
pub(crate) struct ServiceCidr(Resource);

impl ServiceCidr {
    pub(crate) fn new() -> Self {
        let scope = Scope::Cluster;
        Self(Resource::new(super::GROUP, "v1", "ServiceCIDR", "servicecidrs", "servicecidr", scope))
    }
}

impl Strategy for ServiceCidr {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, object: &mut Value) {
        edit::set(object, "status", json!({}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (blocks, path) = (items(&object["spec"], "cidrs"), Path::new("spec").child("cidrs"));
        let shown = object["spec"]["cidrs"].clone();
        if blocks.is_empty() {
            errors.push(Error::required(&path, "at least one CIDR required"));
        }
        if blocks.len() > 2 {
            errors.push(Error::invalid(&path, shown.clone(), "may only hold up to 2 values"));
        }
        for (i, block) in blocks.iter().enumerate() {
            let messages = names::cidr(block.as_str().unwrap_or(""));
            check::invalid(&mut errors, &path.index(i), block, messages);
        }
        let is_v6 = |block: &Value| block.as_str().is_some_and(|text| text.contains(':'));
        if blocks.len() == 2 && is_v6(&blocks[0]) == is_v6(&blocks[1]) {
            let detail =
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.push(Error::invalid(&path, shown, detail));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (new, before) = (items(&object["spec"], "cidrs"), items(&old["spec"], "cidrs"));
        // A second family may be added, and nothing else changed.
        if !new.starts_with(before) {
            let path = Path::new("spec").child("cidrs");
            errors.push(Error::invalid(&path, object["spec"]["cidrs"].clone(), check::IMMUTABLE));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::new("CIDRs", "string").field("spec.cidrs"), cells::AGE] }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let blocks: Vec<&str> = items(&object["spec"], "cidrs").iter().filter_map(Value::as_str).collect();
        vec![cells::name(object), blocks.join(",").into(), cells::age(object, now)]
    }
}
