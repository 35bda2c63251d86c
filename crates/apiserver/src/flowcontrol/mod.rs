//! Priority and fairness: who is served when more is asked than the server does at a time.
//!
//! **Contract**: every request but streams (exec, logs, proxies) belongs to one FlowSchema and so to one priority level.
//! It holds seats of the level from before authorization to the head of its response; a watch, until its first events.
//! Without contention that costs a look at the schemas and two short locks.
//! **Not here**: keeping the objects (`keeper`); the plain limits for those who turn this off (`limits`).
//! **Upstream**: `k8s.io/apiserver/pkg/util/flowcontrol`, `pkg/server/filters/priority-and-fairness.go`.

pub(crate) mod bootstrap;
mod dump;
pub(crate) mod keeper;
mod level;
mod schema;
mod shares;
#[cfg(test)]
mod tests;

use crate::admission::Lookup;
use crate::auth::{Action, UserInfo};
use crate::registry::Registry;
use crate::request::RequestInfo;
use api::k8s_openapi::api::flowcontrol::v1 as flow;
use api::status::Status;
use arc_swap::ArcSwap;
use component_base::{Clock, Metrics};
use http::HeaderValue;
pub(crate) use level::Seat;
use level::{Asked, Counts, Level, Queuing, Treatment};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use schema::Schema;
use shares::{Bounds, Need, Shares};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The API group of FlowSchemas and PriorityLevelConfigurations.
pub(crate) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
const CATCH_ALL: &str = "catch-all";
/// Objects of a list that cost one seat, and the most seats that a list costs. **Upstream**: `defaultObjectsPerSeat`,
/// `defaultMaximumSeatsLimit`.
const OBJECTS_PER_SEAT: usize = 100;
const MOST_SEATS: usize = 10;

/// `priority_level`
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LevelLabels {
    priority_level: String,
}

/// `flow_schema`, `priority_level`, `reason`
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RejectedLabels {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

/// Names are upstream's.
struct FlowMetrics {
    dispatched: Family<LevelLabels, Counter>,
    rejected: Family<RejectedLabels, Counter>,
    executing: Family<LevelLabels, Gauge>,
    waiting: Family<LevelLabels, Gauge>,
    limit: Family<LevelLabels, Gauge>,
    nominal: Family<LevelLabels, Gauge>,
}

impl FlowMetrics {
    fn register(metrics: &Metrics) -> Self {
        let name = |name: &str| format!("apiserver_flowcontrol_{name}");
        let gauge = |short: &str, help: &str| metrics.register(&name(short), help, Family::default());
        Self {
            dispatched: metrics.register(
                &name("dispatched_requests"),
                "Requests that got seats",
                Family::default(),
            ),
            rejected: metrics.register(
                &name("rejected_requests"),
                "Requests that were refused",
                Family::default(),
            ),
            executing: gauge("current_executing_seats", "Seats that are taken"),
            waiting: gauge("current_inqueue_requests", "Requests that wait in queues"),
            limit: gauge("current_limit_seats", "Seats of a level at the moment"),
            nominal: gauge("nominal_limit_seats", "Seats of a level by its shares"),
        }
    }
}

/// A level and its part of the server.
struct Share {
    level: Arc<Level>,
    bounds: Bounds,
    smoothed: f64,
}

/// Everything that requests are matched with.
#[derive(Default)]
struct Table {
    schemas: Vec<Schema>,
}

/// Which flow a request belongs to; what its response tells of that.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// `X-Kubernetes-PF-FlowSchema-UID`
    pub(crate) schema: HeaderValue,
    /// `X-Kubernetes-PF-PriorityLevel-UID`
    pub(crate) level: HeaderValue,
}

/// The priority levels of one server.
pub(crate) struct FlowControl {
    clock: Clock,
    metrics: FlowMetrics,
    /// `--max-requests-inflight` and `--max-mutating-requests-inflight` together.
    total: u32,
    /// How long a request may wait. **Upstream**: a quarter of the request's time.
    patience: Duration,
    table: ArcSwap<Table>,
    shares: Mutex<BTreeMap<String, Share>>,
}

impl FlowControl {
    pub(crate) fn new(clock: Clock, metrics: &Metrics, total: u32, request_timeout: Duration) -> Self {
        Self {
            clock,
            metrics: FlowMetrics::register(metrics),
            total,
            patience: request_timeout / 4,
            table: ArcSwap::default(),
            shares: Mutex::default(),
        }
    }

    /// Waits for the seats of a request, in its turn. Tells its flow as soon as that is known.
    pub(crate) async fn take(
        &self,
        action: &Action<'_>,
        (user, info): (&Arc<UserInfo>, &Arc<RequestInfo>),
        seats: u32,
        told: &mut Option<Flow>,
    ) -> Result<Option<Seat>, Status> {
        let (level, asked) = {
            let table = self.table.load();
            let found = table.schemas.iter().find(|schema| schema.matches(action));
            let found = found.or_else(|| table.schemas.iter().find(|schema| &*schema.name == CATCH_ALL));
            // Only before the first objects are read.
            let Some(schema) = found else { return Ok(None) };
            *told = Some(Flow { schema: schema.uid.clone(), level: schema.level.uid.clone() });
            let asked = Asked {
                flow: schema.flow(action),
                seats,
                schema: Arc::clone(&schema.name),
                distinguisher: schema.distinguisher,
                user: Arc::clone(user),
                info: Arc::clone(info),
            };
            (Arc::clone(&schema.level), asked)
        };
        let name = Arc::clone(&asked.schema);
        level.take(asked, self.patience).await.map(Some).map_err(|refusal| {
            let labels = RejectedLabels {
                flow_schema: name.to_string(),
                priority_level: level.name.clone(),
                reason: refusal.label(),
            };
            self.metrics.rejected.get_or_create(&labels).inc();
            Status::too_many_requests("Too many requests, please try again later.", 1)
        })
    }

    /// A page for whoever looks for what is slow; `None`: there is no page of this name.
    pub(crate) fn debug_page(&self, name: &str, with_details: bool) -> Option<String> {
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let levels: Vec<(String, level::Dump)> =
            shares.iter().map(|(name, share)| (name.clone(), share.level.dump())).collect();
        drop(shares);
        dump::page(name, &levels, with_details)
    }

    /// Reads the objects anew.
    pub(crate) fn reload(&self, lookup: &dyn Lookup) {
        let objects = |plural: &str| lookup.list(GROUP, plural, "");
        let levels: Vec<flow::PriorityLevelConfiguration> = parsed(&objects(LEVELS));
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let configured: Vec<Shares> = levels.iter().map(shares_of).collect();
        let bounds = shares::bounds(&configured, self.total);
        let mut now = BTreeMap::new();
        for (object, bounds) in levels.iter().zip(bounds) {
            let name = object.metadata.name.clone().unwrap_or_default();
            let uid = header(object.metadata.uid.as_deref());
            let before = shares.remove(&name).filter(|share| share.level.uid == uid);
            let share = match before {
                Some(share) if share.bounds == bounds => share,
                Some(share) => {
                    share.level.resize(bounds.nominal);
                    Share { bounds, ..share }
                }
                None => {
                    let level = Arc::new(Level::new(&name, uid, self.clock.clone(), self.counts(&name)));
                    level.resize(bounds.nominal);
                    Share { level, bounds, smoothed: 0.0 }
                }
            };
            share.level.configure(treatment(object));
            let labels = LevelLabels { priority_level: name.clone() };
            self.metrics.nominal.get_or_create(&labels).set(i64::from(bounds.nominal));
            now.insert(name, share);
        }
        let mut schemas: Vec<Schema> = parsed::<flow::FlowSchema>(&objects(SCHEMAS))
            .into_iter()
            .filter_map(|object| {
                let level = &object.spec.as_ref()?.priority_level_configuration.name;
                let level = Arc::clone(&now.get(level)?.level);
                Schema::new(object, level)
            })
            .collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        self.table.store(Arc::new(Table { schemas }));
        *shares = now;
    }

    /// Divides the seats anew, by what was needed lately.
    fn divide(&self) {
        /// How much of the last need counts at the next division. **Upstream**: `seatDemandSmoothingCoefficient`.
        const SMOOTHING: f64 = 0.977;
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let needs: Vec<Need> = shares
            .values_mut()
            .map(|share| {
                let peak = share.level.take_peak();
                let now = f64::from(peak);
                share.smoothed = now.max(SMOOTHING * share.smoothed + (1.0 - SMOOTHING) * now);
                Need { bounds: share.bounds, peak, smoothed: share.smoothed }
            })
            .collect();
        for (share, limit) in shares.values().zip(shares::divide(&needs, self.total)) {
            if !share.level.is_exempt() {
                share.level.resize(limit);
            }
        }
    }

    fn counts(&self, name: &str) -> Counts {
        let labels = LevelLabels { priority_level: name.to_owned() };
        Counts {
            dispatched: self.metrics.dispatched.get_or_create(&labels).clone(),
            executing: self.metrics.executing.get_or_create(&labels).clone(),
            waiting: self.metrics.waiting.get_or_create(&labels).clone(),
            limit: self.metrics.limit.get_or_create(&labels).clone(),
        }
    }
}

/// The seats that a request takes: more for a list, by the number of objects that it may have to look at.
pub(crate) fn seats(registry: &Registry, info: &RequestInfo) -> u32 {
    if !info.is_resource || info.verb != "list" || !info.name.is_empty() {
        return 1;
    }
    let objects = registry.store(&info.group, &info.resource).map_or(0, |store| store.snapshot().len());
    let limit = info.query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let seats = objects.min(limit.unwrap_or(usize::MAX)).div_ceil(OBJECTS_PER_SEAT);
    u32::try_from(seats.clamp(1, MOST_SEATS)).unwrap_or(1)
}

fn parsed<T: serde::de::DeserializeOwned>(objects: &[Arc<serde_json::Value>]) -> Vec<T> {
    objects.iter().filter_map(|object| T::deserialize(&**object).ok()).collect()
}

fn header(uid: Option<&str>) -> HeaderValue {
    let value = uid.and_then(|uid| HeaderValue::from_str(uid).ok());
    value.unwrap_or(HeaderValue::from_static(""))
}

fn number(value: Option<i32>, default: u32) -> u32 {
    value.map_or(default, |value| u32::try_from(value).unwrap_or(0))
}

fn shares_of(object: &flow::PriorityLevelConfiguration) -> Shares {
    let Some(spec) = &object.spec else { return Shares::default() };
    if let Some(limited) = &spec.limited {
        return Shares {
            nominal: number(limited.nominal_concurrency_shares, 30),
            lendable: number(limited.lendable_percent, 0),
            borrowing: limited.borrowing_limit_percent.map(|limit| number(Some(limit), 0)),
        };
    }
    let exempt = spec.exempt.as_ref();
    Shares {
        nominal: number(exempt.and_then(|exempt| exempt.nominal_concurrency_shares), 0),
        lendable: number(exempt.and_then(|exempt| exempt.lendable_percent), 0),
        borrowing: None,
    }
}

fn treatment(object: &flow::PriorityLevelConfiguration) -> Treatment {
    let Some(limited) = object.spec.as_ref().and_then(|spec| spec.limited.as_ref()) else {
        return Treatment::Exempt;
    };
    let queuing = limited.limit_response.as_ref().and_then(|response| response.queuing.as_ref());
    Treatment::Limited(queuing.map(|queuing| Queuing {
        queues: number(queuing.queues, 64) as usize,
        hand_size: number(queuing.hand_size, 8) as usize,
        length_limit: number(queuing.queue_length_limit, 50) as usize,
    }))
}
