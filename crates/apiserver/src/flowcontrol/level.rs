//! One priority level: so many seats, and queues in which requests wait for them.
//!
//! **Contract**: a [`Seat`] is held until it is dropped; then the next request in line gets it. The queue that has been
//! served least is served next, so a flow that fills its queues delays only those that share them. A request whose
//! client goes away leaves its queue. The lock is held for some arithmetic only, never while anybody waits.
//! **Upstream**: `k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset`; the assumed length of a request and the
//! correction when it ends are upstream's, time is counted in seat-seconds a queue has had.

use super::schema::Distinguisher;
use crate::auth::UserInfo;
use crate::request::RequestInfo;
use component_base::Clock;
use http::HeaderValue;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What a request is assumed to take until it has ended. **Upstream**: `estimatedServiceDuration`.
pub(super) const ASSUMED: Duration = Duration::from_millis(3);

/// The queues of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queuing {
    pub(super) queues: usize,
    pub(super) hand_size: usize,
    pub(super) length_limit: usize,
}

/// How a level treats its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// All at once.
    Exempt,
    /// So many seats; what is beyond waits, or (without queues) is refused.
    Limited(Option<Queuing>),
}

/// Why a request is refused; the texts are labels of upstream's metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are no queues.
    Limit,
    /// Its queue is full.
    QueueFull,
    /// It has waited too long.
    TimeOut,
}

impl Refusal {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Limit => "concurrency-limit",
            Self::QueueFull => "queue-full",
            Self::TimeOut => "time-out",
        }
    }
}

/// A request that wants seats.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// What it has in common with others of its flow, and with no other flow's.
    pub(super) flow: u64,
    pub(super) seats: u32,
    /// The FlowSchema's name.
    pub(super) schema: Arc<str>,
    pub(super) distinguisher: Distinguisher,
    pub(super) user: Arc<UserInfo>,
    pub(super) info: Arc<RequestInfo>,
}

/// A request as the debugging pages show it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) asked: Asked,
    pub(super) arrived: Timestamp,
    /// `None`: it waits.
    pub(super) started: Option<Timestamp>,
    queue: Option<usize>,
}

/// How often what happened to requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) dispatched: u64,
    pub(super) rejected: u64,
    pub(super) timed_out: u64,
    pub(super) cancelled: u64,
}

/// A queue as the debugging pages show it.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueDump {
    pub(super) waiting: Vec<Shown>,
    pub(super) executing: Vec<Shown>,
    pub(super) seats_in_use: u32,
    /// Seat-seconds at which its next request begins.
    pub(super) next: f64,
}

/// A level as the debugging pages show it.
#[derive(Clone, Debug, Default)]
pub(super) struct Dump {
    pub(super) queues: Vec<QueueDump>,
    /// What is served without having been in a queue.
    pub(super) queueless: Vec<Shown>,
    pub(super) tally: Tally,
}

/// What a level counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) dispatched: Counter,
    pub(super) executing: Gauge,
    pub(super) waiting: Gauge,
    pub(super) limit: Gauge,
}

/// One priority level.
pub(super) struct Level {
    pub(super) name: String,
    /// For `X-Kubernetes-PF-PriorityLevel-UID`.
    pub(super) uid: HeaderValue,
    clock: Clock,
    counts: Counts,
    state: Mutex<State>,
}

struct State {
    treatment: Treatment,
    limit: u32,
    executing: u32,
    waiting: u32,
    peak: u32,
    queues: Vec<Queue>,
    /// What is served, in the order of arrival.
    running: BTreeMap<u64, Shown>,
    tally: Tally,
    /// The seat-seconds at which the last request was dispatched: where a queue that was idle begins.
    virtual_now: f64,
    last_id: u64,
    /// Where the search for the next queue begins, for fairness among equals.
    turn: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    executing: u32,
    /// Seat-seconds that it has had.
    served: f64,
}

struct Waiter {
    id: u64,
    seats: u32,
    shown: Shown,
    tell: oneshot::Sender<Seat>,
}

/// What a request holds while it is served.
pub(crate) struct Seat {
    level: Arc<Level>,
    id: u64,
    seats: u32,
    queue: Option<usize>,
    since: Instant,
    held: bool,
}

/// A place in a queue; who drops it leaves.
struct Place<'a> {
    level: &'a Level,
    queue: usize,
    id: u64,
    timed_out: bool,
}

impl Level {
    pub(super) fn new(name: &str, uid: HeaderValue, clock: Clock, counts: Counts) -> Self {
        let state = State {
            treatment: Treatment::Exempt,
            limit: 0,
            executing: 0,
            waiting: 0,
            peak: 0,
            queues: Vec::new(),
            running: BTreeMap::new(),
            tally: Tally::default(),
            virtual_now: 0.0,
            last_id: 0,
            turn: 0,
        };
        Self { name: name.to_owned(), uid, clock, counts, state: Mutex::new(state) }
    }

    /// Changes how it treats requests, those that wait included.
    pub(super) fn configure(self: &Arc<Self>, treatment: Treatment) {
        let mut state = self.lock();
        if state.treatment != treatment {
            let wanted = match treatment {
                Treatment::Limited(Some(queuing)) => queuing.queues.max(1),
                Treatment::Limited(None) | Treatment::Exempt => 1,
            };
            // Queues that are to go keep what waits in them until it is served.
            let used =
                state.queues.iter().rposition(|queue| !queue.waiting.is_empty() || queue.executing > 0);
            let length = wanted.max(used.map_or(0, |last| last + 1));
            state.queues.resize_with(length, Queue::default);
            state.treatment = treatment;
        }
        drop(state);
        self.dispatch();
    }

    /// Sets how many seats there are.
    pub(super) fn resize(self: &Arc<Self>, limit: u32) {
        self.lock().limit = limit;
        self.counts.limit.set(i64::from(limit));
        self.dispatch();
    }

    pub(super) fn is_exempt(&self) -> bool {
        self.lock().treatment == Treatment::Exempt
    }

    /// The most seats that were occupied or waited for since the last question.
    pub(super) fn take_peak(&self) -> u32 {
        let mut state = self.lock();
        let now = state.executing + state.waiting;
        std::mem::replace(&mut state.peak, now)
    }

    /// Waits for seats for a request, at most so long.
    pub(super) async fn take(self: &Arc<Self>, asked: Asked, patience: Duration) -> Result<Seat, Refusal> {
        let flow = asked.flow;
        let mut shown = Shown { asked, arrived: self.clock.now(), started: None, queue: None };
        let (receiver, mut place) = {
            let mut state = self.lock();
            let seats = shown.asked.seats.clamp(1, state.limit.max(1));
            shown.asked.seats = seats;
            state.last_id += 1;
            let id = state.last_id;
            state.peak = state.peak.max(state.executing + state.waiting + seats);
            let Treatment::Limited(queuing) = state.treatment else {
                return Ok(self.seat(&mut state, id, shown));
            };
            let Some(queuing) = queuing else {
                if !state.has_room(seats) {
                    state.tally.rejected += 1;
                    return Err(Refusal::Limit);
                }
                return Ok(self.seat(&mut state, id, shown));
            };
            let queue = state.choose(flow, queuing);
            shown.queue = Some(queue);
            if state.waiting == 0 && state.has_room(seats) {
                state.charge(queue, seats);
                return Ok(self.seat(&mut state, id, shown));
            }
            if state.queues[queue].waiting.len() >= queuing.length_limit {
                state.tally.rejected += 1;
                return Err(Refusal::QueueFull);
            }
            let (tell, receiver) = oneshot::channel();
            state.waiting += seats;
            self.counts.waiting.inc();
            state.queues[queue].waiting.push_back(Waiter { id, seats, shown, tell });
            (receiver, Place { level: self, queue, id, timed_out: false })
        };
        let seat = tokio::time::timeout(patience, receiver).await;
        place.timed_out = seat.is_err();
        drop(place);
        match seat {
            Ok(Ok(seat)) => Ok(seat),
            Ok(Err(_)) | Err(_) => Err(Refusal::TimeOut),
        }
    }

    /// Counts seats as taken. The caller has made sure that they are free.
    fn seat(self: &Arc<Self>, state: &mut State, id: u64, mut shown: Shown) -> Seat {
        let (seats, queue) = (shown.asked.seats, shown.queue);
        shown.started = Some(self.clock.now());
        state.running.insert(id, shown);
        state.tally.dispatched += 1;
        state.executing += seats;
        if let Some(queue) = queue {
            state.queues[queue].executing += seats;
        }
        self.counts.dispatched.inc();
        self.counts.executing.inc_by(i64::from(seats));
        Seat { level: Arc::clone(self), id, seats, queue, since: self.clock.instant(), held: true }
    }

    fn release(&self, seat: &Seat, took: Duration) {
        let (seats, queue) = (seat.seats, seat.queue);
        self.counts.executing.dec_by(i64::from(seats));
        let mut state = self.lock();
        state.running.remove(&seat.id);
        state.executing -= seats;
        if let Some(queue) = queue {
            let queue = &mut state.queues[queue];
            queue.executing -= seats;
            queue.served += f64::from(seats) * (took.as_secs_f64() - ASSUMED.as_secs_f64());
        }
    }

    /// Gives free seats to whoever is next in line.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let Some(queue) = state.next() else { return };
            let Some(waiter) = state.queues[queue].waiting.pop_front() else { return };
            state.waiting -= waiter.seats;
            self.counts.waiting.dec();
            state.charge(queue, waiter.seats);
            let seat = self.seat(&mut state, waiter.id, waiter.shown);
            drop(state);
            if let Err(mut seat) = waiter.tell.send(seat) {
                // It went away at this very moment.
                seat.held = false;
                self.release(&seat, Duration::ZERO);
            }
        }
    }

    /// What there is at the moment.
    pub(super) fn dump(&self) -> Dump {
        let state = self.lock();
        let mut dump = Dump { tally: state.tally, ..Dump::default() };
        if matches!(state.treatment, Treatment::Limited(Some(_))) {
            dump.queues.extend(state.queues.iter().map(|queue| QueueDump {
                waiting: queue.waiting.iter().map(|waiter| waiter.shown.clone()).collect(),
                executing: Vec::new(),
                seats_in_use: queue.executing,
                next: queue.served,
            }));
        }
        for shown in state.running.values() {
            match shown.queue.and_then(|queue| dump.queues.get_mut(queue)) {
                Some(queue) => queue.executing.push(shown.clone()),
                None => dump.queueless.push(shown.clone()),
            }
        }
        dump
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a request of this width can be served now. One that is wider than the level is served alone.
    fn has_room(&self, seats: u32) -> bool {
        self.executing == 0 || self.executing + seats <= self.limit
    }

    /// The queue of a flow: of the hand that the flow is dealt, the one with the least in it.
    fn choose(&self, flow: u64, queuing: Queuing) -> usize {
        let load = |queue: usize| {
            let queue = &self.queues[queue];
            queue.executing as usize + queue.waiting.iter().map(|waiter| waiter.seats as usize).sum::<usize>()
        };
        let mut best: Option<(usize, usize)> = None;
        deal(flow, queuing.queues, queuing.hand_size, |queue| {
            let load = load(queue);
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((queue, load));
            }
        });
        best.map_or(0, |(queue, _)| queue)
    }

    /// Books a request on a queue, in advance.
    fn charge(&mut self, queue: usize, seats: u32) {
        let now = self.virtual_now;
        let queue = &mut self.queues[queue];
        if queue.executing == 0 {
            // Idleness earns no credit.
            queue.served = queue.served.max(now);
        }
        let start = queue.served;
        queue.served += f64::from(seats) * ASSUMED.as_secs_f64();
        self.virtual_now = now.max(start);
    }

    /// The queue to be served next, if there is room for its first request.
    fn next(&mut self) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        let length = self.queues.len();
        let candidates = (0..length).map(|i| (self.turn + i) % length).filter_map(|index| {
            let queue = &self.queues[index];
            let first = queue.waiting.front()?;
            let start = if queue.executing == 0 { queue.served.max(self.virtual_now) } else { queue.served };
            Some((index, start + f64::from(first.seats) * ASSUMED.as_secs_f64(), first.seats))
        });
        let (index, _, seats) = candidates.min_by(|a, b| a.1.total_cmp(&b.1))?;
        if !self.has_room(seats) {
            return None;
        }
        self.turn = (index + 1) % length;
        Some(index)
    }
}

/// Deals a hand of different queues by a hash. **Upstream**: `util/shufflesharding`.
fn deal(mut hash: u64, queues: usize, hand: usize, mut pick: impl FnMut(usize)) {
    const MOST: usize = 16;
    let mut dealt = [usize::MAX; MOST];
    let hand = hand.min(queues).min(MOST);
    for round in 0..hand {
        let rest = (queues - round) as u64;
        #[expect(clippy::cast_possible_truncation, reason = "less than the number of queues")]
        let mut card = (hash % rest) as usize;
        hash /= rest;
        // The card counts among those that are not dealt yet.
        for other in &dealt[..round] {
            if card >= *other {
                card += 1;
            }
        }
        pick(card);
        let at = dealt[..round].partition_point(|other| *other < card);
        dealt[at..=round].rotate_right(1);
        dealt[at] = card;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let took = self.level.clock.instant() - self.since;
        self.level.release(self, took);
        self.level.dispatch();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.level.lock();
        let queue = &mut state.queues[self.queue].waiting;
        if let Some(at) = queue.iter().position(|waiter| waiter.id == self.id) {
            let left = queue.remove(at);
            state.waiting -= left.map_or(0, |waiter| waiter.seats);
            if self.timed_out {
                state.tally.timed_out += 1;
            } else {
                state.tally.cancelled += 1;
            }
            self.level.counts.waiting.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const QUEUING: Queuing = Queuing { queues: 16, hand_size: 2, length_limit: 10 };

    fn level(limit: u32, treatment: Treatment) -> Arc<Level> {
        let uid = HeaderValue::from_static("u");
        let level = Arc::new(Level::new("l", uid, Clock::simulated(), Counts::default()));
        level.configure(treatment);
        level.resize(limit);
        level
    }

    fn asked(flow: u64, seats: u32) -> Asked {
        Asked { flow, seats, ..Asked::default() }
    }

    const PATIENCE: Duration = Duration::from_secs(15);

    #[test]
    fn a_hand_has_no_card_twice() {
        for hash in [0, 1, 12_345, u64::MAX, 9_876_543_210] {
            let mut hand = Vec::new();
            deal(hash, 8, 6, |card| hand.push(card));
            assert_eq!(hand.len(), 6);
            assert_eq!(hand.iter().collect::<HashSet<_>>().len(), 6, "{hand:?}");
            assert!(hand.iter().all(|card| *card < 8), "{hand:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_queues_what_is_beyond_the_limit_is_refused() {
        let level = level(1, Treatment::Limited(None));
        let seat = level.take(asked(1, 1), PATIENCE).await.unwrap_or_else(|_| panic!("a seat"));
        assert_eq!(level.take(asked(1, 1), PATIENCE).await.err(), Some(Refusal::Limit));
        drop(seat);
        assert!(level.take(asked(1, 1), PATIENCE).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_seat_and_who_waits_too_long_none() {
        let level = level(1, Treatment::Limited(Some(QUEUING)));
        let seat = level.take(asked(1, 1), PATIENCE).await.ok();
        let waiting = tokio::spawn({
            let level = Arc::clone(&level);
            async move { level.take(asked(1, 1), PATIENCE).await.map(|_| ()) }
        });
        tokio::task::yield_now().await;
        drop(seat);
        assert_eq!(waiting.await.unwrap(), Ok(()));

        let seat = level.take(asked(1, 1), PATIENCE).await.ok();
        assert_eq!(level.take(asked(1, 1), PATIENCE).await.err(), Some(Refusal::TimeOut));
        assert_eq!(level.lock().waiting, 0);
        let tally = level.dump().tally;
        assert_eq!(tally, Tally { dispatched: 3, timed_out: 1, ..Tally::default() });
        drop(seat);
        assert_eq!(level.lock().executing, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_flow_fills_its_own_queues_and_delays_no_other() {
        let level = level(2, Treatment::Limited(Some(QUEUING)));
        let held =
            [level.take(asked(1, 1), PATIENCE).await.ok(), level.take(asked(1, 1), PATIENCE).await.ok()];
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        let ask = |flow: u64| {
            let (level, served) = (Arc::clone(&level), served.clone());
            tokio::spawn(async move {
                let seat = level.take(asked(flow, 1), PATIENCE).await;
                if seat.is_ok() {
                    let _ = served.send(flow);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                seat.err()
            })
        };
        let flood: Vec<_> = (0..100).map(|_| ask(1)).collect();
        tokio::task::yield_now().await;
        // Two queues of ten: the rest of the flood is refused at once.
        assert_eq!(level.lock().waiting, 20);
        let other = ask(7);
        tokio::task::yield_now().await;
        drop(held);
        assert_eq!(other.await.unwrap(), None);
        let mut before = 0;
        while let Some(flow) = order.recv().await {
            if flow == 7 {
                break;
            }
            before += 1;
        }
        assert!(before <= 4, "{before} of the flood came first");
        let mut refused = 0;
        for request in flood {
            refused += usize::from(request.await.unwrap() == Some(Refusal::QueueFull));
        }
        assert_eq!(refused, 80);
        let state = level.lock();
        assert_eq!((state.executing, state.waiting), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn wide_requests_take_several_seats() {
        let level = level(10, Treatment::Limited(Some(QUEUING)));
        let wide = level.take(asked(1, 9), PATIENCE).await.ok();
        let narrow = level.take(asked(2, 1), PATIENCE).await.ok();
        assert_eq!(level.take(asked(3, 1), Duration::from_millis(1)).await.err(), Some(Refusal::TimeOut));
        drop((wide, narrow));
        // Wider than the level: as wide as the level.
        assert!(level.take(asked(1, 100), PATIENCE).await.is_ok());
    }
}
