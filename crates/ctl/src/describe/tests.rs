//! The shared parts of layouts.

use jiff::tz::TimeZone;
use serde_json::json;

use super::*;
use crate::output::tabwriter::TabWriter;

#[test]
fn annotations_break_where_they_are_long() {
    let long = "x".repeat(200);
    let map = json!({
        "b": "short", "a": "one\ntwo\n", "c": long,
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    });
    let want = format!(
        "Annotations:  a:\n                one\n                two\n              b: short\n              c:\n                {}...\n",
        "x".repeat(138)
    );
    assert_eq!(TabWriter::describe().align(&annotations(&map)), want);
    assert_eq!(annotations(&json!(null)), "Annotations:\t<none>\n");
}

#[test]
fn times_are_shown_in_the_users_zone() {
    let time = json!("2026-01-01T00:00:00Z");
    assert_eq!(show_time(&time, &TimeZone::UTC), "Thu, 01 Jan 2026 00:00:00 +0000");
    let east = TimeZone::fixed(jiff::tz::offset(2));
    assert_eq!(show_time(&time, &east), "Thu, 01 Jan 2026 02:00:00 +0200");
    assert_eq!(show_time(&json!(null), &TimeZone::UTC), "Mon, 01 Jan 0001 00:00:00 +0000");
}

#[test]
fn field_names_become_labels() {
    for (name, want) in [
        ("creationTimestamp", "Creation Timestamp"),
        ("httpURL", "Http URL"),
        ("uid", "UID"),
        ("apiVersion", "API Version"),
        ("clusterIP", "Cluster IP"),
        ("podIPs", "Pod I Ps"),
        ("externalCIDRBlock", "External CIDRBlock"),
        ("matchLabels", "Match Labels"),
        ("app.kubernetes.io/name", "app.kubernetes.io/name"),
        ("v1", "v1"),
    ] {
        assert_eq!(generic::label(name), want, "{name}");
    }
}

#[test]
fn events_say_how_often_and_since_when() {
    let event = |kind: &str, extra: Value| {
        let mut event = json!({
            "type": "Normal", "reason": kind, "message": " text \n", "source": {"component": "kubelet"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:10:00Z", "count": 1,
        });
        for (key, value) in extra.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    };
    let now = "2026-01-01T00:12:00Z".parse().unwrap();
    let table = events::table(
        vec![
            event("Once", json!({})),
            event("Often", json!({"count": 4})),
            event(
                "Series",
                json!({"series": {"count": 9, "lastObservedTime": "2026-01-01T00:11:00.000000Z"}}),
            ),
            event(
                "New",
                json!({"source": {}, "reportingComponent": "sched", "eventTime": "2026-01-01T00:11:30.000000Z", "lastTimestamp": null}),
            ),
        ],
        now,
    );
    assert_eq!(
        TabWriter::describe().align(&table),
        "Events:\n  Type    Reason  Age                From     Message\n  ----    ------  ----               ----     -------\n  Normal  New     30s                sched    text\n  Normal  Once    12m                kubelet  text\n  Normal  Often   2m (x4 over 12m)   kubelet  text\n  Normal  Series  60s (x9 over 12m)  kubelet  text\n"
    );
    assert_eq!(events::table(Vec::new(), now), "Events:\t<none>\n");
}

#[test]
fn encoded_values_are_measured() {
    for (text, want) in [("", 0), ("AA==", 1), ("AAE=", 2), ("AAEC", 3), ("YWRtaW4=", 5)] {
        assert_eq!(decoded_length(text), want, "{text}");
    }
}
