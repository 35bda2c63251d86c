//! Tests of `events`: the recorder against a scripted server, the correlator by itself.

use super::*;
use crate::fake::{Fake, Reply, Seen, status};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

fn about() -> ObjectReference {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7"}});
    reference(&serde_json::from_value::<Pod>(pod).unwrap())
}

fn recorder(fake: &Fake) -> (Recorder, Context) {
    let context = Context::simulated(1);
    (Recorder::new(fake.client(), "kubelet", Some("n1"), &context), context)
}

fn start() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

/// Answers a request as a server would: with what it was sent.
fn echo(seen: &Seen) -> Reply {
    Reply::Json(201, seen.body.clone())
}

fn event(about: &ObjectReference, reason: &str, message: &str) -> Event {
    let text = |value: &str| Some(value.to_owned());
    Event {
        metadata: ObjectMeta { name: text("p.1"), namespace: text("ns"), ..ObjectMeta::default() },
        involved_object: about.clone(),
        reason: text(reason),
        message: text(message),
        count: Some(1),
        type_: text("Normal"),
        ..Event::default()
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_has_every_field_that_users_see_and_its_repetition_counts() {
    let fake = Fake::default();
    let (recorder, _context) = recorder(&fake);
    recorder.event(&about(), Type::Warning, "BackOff", "Back-off restarting");
    let first = fake.request(1).await;
    assert_eq!((first.method.as_str(), first.uri.as_str()), ("POST", "/api/v1/namespaces/ns/events?"));
    let name = first.body["metadata"]["name"].as_str().unwrap().to_owned();
    let time = i64::from_str_radix(name.strip_prefix("p.").unwrap(), 16).unwrap();
    assert_eq!(time / 1_000_000_000, 1_767_225_600);
    assert_eq!(
        first.body,
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "ns"},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7",
            },
            "reason": "BackOff", "message": "Back-off restarting", "type": "Warning", "count": 1,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
            "source": {"component": "kubelet", "host": "n1"},
            "reportingComponent": "kubelet", "reportingInstance": "n1",
        })
    );
    fake.then(echo(&first));
    tokio::time::advance(Duration::from_secs(20)).await;
    recorder.event(&about(), Type::Warning, "BackOff", "Back-off restarting");
    let second = fake.request(2).await;
    assert_eq!(second.method, "PATCH");
    assert!(second.uri.starts_with(&format!("/api/v1/namespaces/ns/events/{name}?")), "{}", second.uri);
    assert_eq!(second.body["count"], 2);
    assert_eq!(second.body["lastTimestamp"], "2026-01-01T00:00:20Z");
    // The stored event has expired: it is told anew.
    fake.then(Reply::Json(404, status(404, "NotFound")));
    assert_eq!(fake.request(3).await.method, "POST");
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_tried_again_and_a_refusal_is_not() {
    let fake = Fake::default();
    let (recorder, _context) = recorder(&fake);
    fake.then(Reply::Break).then(Reply::Json(403, status(403, "Forbidden")));
    recorder.event(&about(), Type::Normal, "One", "one");
    recorder.event(&about(), Type::Normal, "Two", "two");
    let reasons: Vec<Value> = {
        fake.request(3).await;
        fake.seen().iter().map(|seen| seen.body["reason"].clone()).collect()
    };
    assert_eq!(reasons, ["One", "One", "Two"]);
}

#[test]
fn an_object_that_is_talked_about_too_much_is_silenced() {
    let mut correlator = Correlator::default();
    let start = start();
    let mut passed = |count: usize, at: Timestamp, about: &ObjectReference| {
        let verdicts = (0..count).map(|_| correlator.judge(event(about, "R", "m"), at));
        verdicts.filter(|verdict| !matches!(verdict, Verdict::Silence)).count()
    };
    assert_eq!(passed(40, start, &about()), 25);
    assert_eq!(passed(5, start + jiff::SignedDuration::from_mins(5), &about()), 1);
    let other = ObjectReference { uid: Some("other".to_owned()), ..about() };
    assert_eq!(passed(3, start, &other), 3);
}

#[test]
fn many_messages_of_one_reason_are_combined_into_one_event() {
    let mut correlator = Correlator::default();
    let now = start();
    let mut created = Vec::new();
    let mut counted = Vec::new();
    for number in 0..15 {
        match correlator.judge(event(&about(), "R", &format!("message {number}")), now) {
            Verdict::Create(event) => {
                correlator.stored(&event);
                created.push(event.message.unwrap());
            }
            Verdict::Count { event, .. } => counted.push((event.message.unwrap(), event.count.unwrap())),
            Verdict::Silence => panic!("25 pass"),
        }
    }
    assert_eq!(created.len(), 10);
    assert_eq!(created[8], "message 8");
    assert_eq!(created[9], "(combined from similar events): message 9");
    assert_eq!(counted.len(), 5);
    assert_eq!(counted[4], ("(combined from similar events): message 14".to_owned(), 6));
}
