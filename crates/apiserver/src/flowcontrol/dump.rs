//! The pages below `/debug/api_priority_and_fairness/`: tables of levels, queues and requests.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/util/flowcontrol/apf_controller_debug.go`.

use super::level::{ASSUMED, Dump, Shown};
use std::fmt::Write;

/// Width of the narrowest column, and what parts columns. **Upstream**: the `tabwriter`.
const NARROWEST: usize = 8;
const PADDING: usize = 1;
/// The start of what has not started, as Go prints it.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A page by its name.
pub(super) fn page(name: &str, levels: &[(String, Dump)], with_details: bool) -> Option<String> {
    let rows = match name {
        "dump_priority_levels" => priority_levels(levels),
        "dump_queues" => queues(levels),
        "dump_requests" => requests(levels, with_details),
        _ => return None,
    };
    Some(table(&rows))
}

fn headers(names: &str) -> Vec<String> {
    names.split(' ').map(str::to_owned).collect()
}

fn priority_levels(levels: &[(String, Dump)]) -> Vec<Vec<String>> {
    let head = "PriorityLevelName ActiveQueues IsIdle IsQuiescing WaitingRequests ExecutingRequests \
                DispatchedRequests RejectedRequests TimedoutRequests CancelledRequests";
    let mut rows = vec![headers(head)];
    for (name, level) in levels {
        let active = level.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
        let waiting: usize = level.queues.iter().map(|queue| queue.waiting.len()).sum();
        let in_queues: usize = level.queues.iter().map(|queue| queue.executing.len()).sum();
        let executing = in_queues + level.queueless.len();
        let is_idle = waiting + executing == 0;
        let tally = level.tally;
        rows.push(vec![
            name.clone(),
            active.to_string(),
            is_idle.to_string(),
            // A level that is deleted takes no part any more.
            false.to_string(),
            waiting.to_string(),
            executing.to_string(),
            tally.dispatched.to_string(),
            tally.rejected.to_string(),
            tally.timed_out.to_string(),
            tally.cancelled.to_string(),
        ]);
    }
    rows
}

fn queues(levels: &[(String, Dump)]) -> Vec<Vec<String>> {
    let head = "PriorityLevelName Index PendingRequests ExecutingRequests SeatsInUse NextDispatchR InitialSeatsSum \
                MaxSeatsSum TotalWorkSum";
    let mut rows = vec![headers(head)];
    for (name, level) in levels {
        for (index, queue) in level.queues.iter().enumerate() {
            let seats: u32 = queue.waiting.iter().map(|shown| shown.asked.seats).sum();
            rows.push(vec![
                name.clone(),
                index.to_string(),
                queue.waiting.len().to_string(),
                queue.executing.len().to_string(),
                queue.seats_in_use.to_string(),
                seat_seconds(queue.next),
                seats.to_string(),
                seats.to_string(),
                seat_seconds(f64::from(seats) * ASSUMED.as_secs_f64()),
            ]);
        }
    }
    rows
}

fn requests(levels: &[(String, Dump)], with_details: bool) -> Vec<Vec<String>> {
    let head = "PriorityLevelName FlowSchemaName QueueIndex RequestIndexInQueue FlowDistingsher ArriveTime \
                InitialSeats FinalSeats AdditionalLatency StartTime";
    let mut rows = vec![headers(head)];
    if with_details {
        rows[0].extend(headers("UserName Verb APIPath Namespace Name APIVersion Resource SubResource"));
    }
    for (name, level) in levels {
        let mut add = |queue: Option<usize>, place: Option<usize>, shown: &Shown| {
            rows.push(request(name, queue, place, shown, with_details));
        };
        for (index, queue) in level.queues.iter().enumerate() {
            for (place, shown) in queue.waiting.iter().enumerate() {
                add(Some(index), Some(place), shown);
            }
            for shown in &queue.executing {
                add(Some(index), None, shown);
            }
        }
        for shown in &level.queueless {
            add(None, None, shown);
        }
    }
    rows
}

fn request(
    level: &str,
    queue: Option<usize>,
    place: Option<usize>,
    shown: &Shown,
    with_details: bool,
) -> Vec<String> {
    let asked = &shown.asked;
    let (user, info) = (&asked.user.name, &asked.info);
    let index = |index: Option<usize>| index.map_or_else(|| "-1".to_owned(), |index| index.to_string());
    let mut row = vec![
        level.to_owned(),
        asked.schema.to_string(),
        index(queue),
        index(place),
        asked.distinguisher.of(user, &info.namespace).to_owned(),
        shown.arrived.to_string(),
        asked.seats.to_string(),
        // No seat is held after the response.
        "0".to_owned(),
        "0s".to_owned(),
        shown.started.map_or_else(|| NO_TIME.to_owned(), |started| started.to_string()),
    ];
    if with_details {
        let version = match (info.group.as_str(), info.version.as_str()) {
            ("", version) => version.to_owned(),
            (group, version) => format!("{group}/{version}"),
        };
        row.extend([
            user.clone(),
            info.verb.to_owned(),
            info.path.clone(),
            info.namespace.clone(),
            info.name.clone(),
            version,
            info.resource.clone(),
            info.subresource.clone(),
        ]);
    }
    row
}

fn seat_seconds(amount: f64) -> String {
    format!("{amount:.8}ss")
}

/// Columns as wide as their widest cell; a comma ends every cell but the last.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count() + 1).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| (widest(column) + PADDING).max(NARROWEST)).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(columns - 1) {
            let cell = format!("{cell},");
            let _ = write!(text, "{cell:<width$}");
        }
        text.push_str(row.last().map_or("", String::as_str));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_as_upstreams() {
        let rows = [headers("PriorityLevelName Index Name"), headers("exempt -1 x"), headers("a 12 longer")];
        assert_eq!(
            table(&rows),
            "PriorityLevelName, Index,  Name\n\
             exempt,            -1,     x\n\
             a,                 12,     longer\n"
        );
    }

    #[test]
    fn there_are_three_pages() {
        let levels = [("exempt".to_owned(), Dump::default())];
        assert_eq!(
            page("dump_priority_levels", &levels, false).unwrap().lines().nth(1).unwrap(),
            "exempt,            0,            true,   false,       0,               0,                 0,\
             \u{20}                 0,                0,                0"
        );
        assert_eq!(page("dump_queues", &levels, false).unwrap().lines().count(), 1);
        let plain = page("dump_requests", &levels, false).unwrap();
        assert!(plain.trim_end().ends_with("AdditionalLatency, StartTime"), "{plain}");
        let detailed = page("dump_requests", &levels, true).unwrap();
        assert!(detailed.trim_end().ends_with("Resource, SubResource"), "{detailed}");
        assert_eq!(page("dump_everything", &levels, false), None);
    }
}
