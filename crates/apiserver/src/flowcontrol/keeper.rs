//! Follows FlowSchemas and priority levels: acts on their changes, keeps the server's own as they must be, tells in a
//! schema's status whether its level exists, and divides the seats anew every few seconds.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go`,
//! `pkg/registry/flowcontrol/rest/storage_flowcontrol.go`.

use super::{FlowControl, GROUP, LEVELS, SCHEMAS, bootstrap};
use crate::admission::Lookup;
use crate::registry::{Registry, UpdateOptions};
use crate::upkeep::{At, Followed, RETRY_PAUSE, amend};
use crate::watch_cache::Selection;
use api::status::Status;
use component_base::{Clock, Context};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// **Upstream**: `borrowingAdjustmentPeriod`.
const DIVISION_PERIOD: Duration = Duration::from_secs(10);
const DANGLING: &str = "Dangling";

/// Begins to follow the objects, which exist already.
pub(crate) fn start(flow: &Arc<FlowControl>, registry: &Arc<Registry>, context: &Context) {
    let all = |plural: &str| (GROUP.to_owned(), plural.to_owned(), Selection::namespace(""));
    let followed = Followed::new(registry, vec![all(SCHEMAS), all(LEVELS)]);
    flow.reload(&**registry);
    let (flow, registry, clock) = (Arc::clone(flow), Arc::clone(registry), context.clock.clone());
    context.shutdown.spawn({
        let (flow, clock) = (Arc::clone(&flow), clock.clone());
        async move {
            loop {
                clock.sleep(DIVISION_PERIOD).await;
                flow.divide();
            }
        }
    });
    context.shutdown.spawn(async move { follow(&flow, &registry, &clock, followed).await });
}

async fn follow(flow: &FlowControl, registry: &Registry, clock: &Clock, mut followed: Followed) {
    loop {
        while let Err(status) = keep(registry, clock).await {
            tracing::warn!(message = status.message, "cannot keep the flow control objects");
            clock.sleep(RETRY_PAUSE).await;
        }
        followed.changed(clock).await;
        flow.reload(registry);
    }
}

/// Makes and repairs the server's own objects, and tells which schemas have no level.
async fn keep(registry: &Registry, clock: &Clock) -> Result<(), Status> {
    let own = bootstrap::objects();
    registry.ensure(own.iter().map(|(plural, object)| (GROUP, *plural, object.clone())).collect()).await?;
    for (plural, expected) in &own {
        let change = |existing: &Value| bootstrap::reconciled(existing, expected);
        amend(registry, At::of(GROUP, plural, expected), UpdateOptions::Object, &change).await?;
    }
    for schema in registry.list(GROUP, SCHEMAS, "") {
        let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let exists = registry.get(GROUP, LEVELS, "", level).is_some();
        let change = |existing: &Value| told(existing, level, exists, clock);
        amend(registry, At::of(GROUP, SCHEMAS, &schema), UpdateOptions::Status, &change).await?;
    }
    Ok(())
}

/// The schema with a condition that says whether its level exists; `None` if it has it.
fn told(schema: &Value, level: &str, exists: bool, clock: &Clock) -> Option<Value> {
    let (status, reason, end) = if exists {
        ("False", "Found", "it exists")
    } else {
        ("True", "NotFound", "there is no such object")
    };
    let joined = if exists { "and" } else { "but" };
    let mut conditions = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let old = conditions.iter().position(|condition| condition["type"] == DANGLING);
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {joined} {end}"
    );
    if old.is_some_and(|at| conditions[at]["status"] == status && conditions[at]["message"] == *message) {
        return None;
    }
    let same = old.filter(|at| conditions[*at]["status"] == status);
    let since = match same {
        Some(at) => conditions[at]["lastTransitionTime"].clone(),
        None => json!(api::time::format(clock.now())),
    };
    let condition = json!({
        "type": DANGLING, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    match old {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    let mut schema = schema.clone();
    schema["status"]["conditions"] = Value::Array(conditions);
    Some(schema)
}
