//! Packets and what they are answered.

use super::*;
use crate::known::Known;
use crate::upstream::tests::{resolver, server, upstream};
use crate::zone::tests::{objects, zone};
use component_base::Context;
use hickory_resolver::proto::rr::RData;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

async fn responder() -> Responder<crate::zone::tests::Fixed> {
    let (at, _) = resolver(Ipv4Addr::new(192, 0, 2, 1)).await;
    let upstream = upstream(&Context::system(), &Arc::new(Mutex::new(server(at))));
    let hosts = [("host.test".to_owned(), vec![Ipv4Addr::new(192, 0, 2, 9).into()])].into();
    Responder::new(zone(), objects(), hosts, upstream)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn ask(responder: &Responder<crate::zone::tests::Fixed>, message: &Message) -> Message {
    let reply = responder.begin(&message.to_vec().unwrap()).expect("an answer");
    let packet = responder.finish(reply).await.packet().expect("a packet");
    let answer = Message::from_vec(&packet).expect("readable");
    assert_eq!(answer.metadata.id, message.metadata.id);
    answer
}

#[tokio::test]
async fn names_of_the_cluster_are_answered_at_once_and_others_asked() {
    let responder = responder().await;
    for (name, code, own, data) in [
        ("web.default.svc.cluster.local.", ResponseCode::NoError, true, vec!["10.96.0.9"]),
        ("missing.default.svc.cluster.local.", ResponseCode::NXDomain, true, vec![]),
        ("example.com.", ResponseCode::NoError, false, vec!["192.0.2.1"]),
        ("HOST.test.", ResponseCode::NoError, false, vec!["192.0.2.9"]),
        ("ext.default.svc.cluster.local.", ResponseCode::NoError, true, vec!["example.com.", "192.0.2.1"]),
        (
            "alias.default.svc.cluster.local.",
            ResponseCode::NoError,
            true,
            vec!["web.default.svc.cluster.local.", "10.96.0.9"],
        ),
    ] {
        let asked = question(name, RecordType::A);
        let answer = ask(&responder, &asked).await;
        let answers: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(
            (answer.metadata.response_code, answers),
            (code, data.iter().map(|s| s.to_string()).collect())
        );
        assert_eq!(
            (answer.metadata.authoritative, answer.metadata.recursion_available),
            (own, true),
            "{name}"
        );
        let soa = answer.authorities.iter().any(|record| matches!(record.data, RData::SOA(_)));
        assert_eq!(soa, code == ResponseCode::NXDomain, "{name}");
        assert_eq!(answer.queries, asked.queries);
    }
    let answer = ask(&responder, &question("circle.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn people_have_names_and_resolvers_of_their_own() {
    let responder = responder().await;
    let (at, _) = resolver(Ipv4Addr::new(192, 0, 2, 7)).await;
    let text = format!(
        ".:53 {{
            rewrite name old.test web.default.svc.cluster.local
            hosts {{
                192.0.2.8 db.test
            }}
        }}
        corp.test {{
            forward . {at}
        }}"
    );
    responder.configure(crate::corefile::parse(&text).expect("read"));
    for (name, data) in [
        ("old.test.", vec!["web.default.svc.cluster.local.", "10.96.0.9"]),
        ("db.test.", vec!["192.0.2.8"]),
        ("host.test.", vec!["192.0.2.9"]),
        ("a.Corp.test.", vec!["192.0.2.7"]),
        ("a.test.", vec!["192.0.2.1"]),
    ] {
        let answer = ask(&responder, &question(name, RecordType::A)).await;
        let answers: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(answers, data, "{name}");
    }
}

#[tokio::test]
async fn answers_hold_until_something_changes() {
    let (responder, mut known) = (responder().await, Known::default());
    // Asked with this id; whether the answer was known, and its packet.
    let mut ask = |name: &str, id: u16| {
        let mut message = question(name, RecordType::A);
        message.metadata.id = id;
        let packet = message.to_vec().unwrap();
        if let Some(answer) = known.find(responder.changes(), &packet) {
            return (true, answer.packet.clone());
        }
        let reply = responder.begin(&packet).expect("an answer");
        let answer = reply.packet().unwrap_or_default();
        known.keep(&packet, &reply, &answer);
        (false, answer)
    };
    for (name, holds) in [
        ("web.default.svc.cluster.local.", true),
        ("missing.default.svc.cluster.local.", true),
        ("host.test.", true),
        // They take turns.
        ("db.default.svc.cluster.local.", false),
        // Somebody else knows.
        ("example.com.", false),
        ("circle.default.svc.cluster.local.", false),
    ] {
        let (first, answer) = ask(name, 1);
        assert!(!first, "{name}");
        let (again, second) = ask(name, 0x0203);
        assert_eq!(again, holds, "{name}");
        if holds {
            assert_eq!((&second[..2], &second[2..]), (&[2, 3][..], &answer[2..]), "{name}");
        }
        responder.objects.changes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(!ask(name, 1).0, "{name} after a change");
        responder.configure(Custom::default());
        assert!(!ask(name, 1).0, "{name} after another configuration");
    }
    assert!(known.find(responder.changes(), b"x").is_none());
}

#[tokio::test]
async fn what_is_no_question_is_told_so() {
    let responder = responder().await;
    let answered = |packet: &[u8]| {
        let reply = responder.begin(packet)?;
        Some(Message::from_vec(&reply.packet()?).expect("readable").metadata.response_code)
    };
    let changed = |change: &dyn Fn(&mut Message)| {
        let mut message = question("web.default.svc.cluster.local.", RecordType::A);
        change(&mut message);
        message.to_vec().unwrap()
    };
    assert_eq!(answered(b"x"), None);
    assert_eq!(answered(&changed(&|m| m.metadata.message_type = MessageType::Response)), None);
    let broken = &changed(&|_| {})[..20];
    assert_eq!(answered(broken), Some(ResponseCode::FormErr));
    type Change<'a> = &'a dyn Fn(&mut Message);
    let cases: [(Change<'_>, ResponseCode); 5] = [
        (&|m| m.queries.clear(), ResponseCode::FormErr),
        (&|m| m.metadata.op_code = OpCode::Status, ResponseCode::NotImp),
        (&|m| m.queries[0].query_class = DNSClass::CH, ResponseCode::Refused),
        (&|m| m.queries[0].query_type = RecordType::AXFR, ResponseCode::Refused),
        (
            &|m| {
                let mut edns = Edns::new();
                edns.set_version(1);
                m.set_edns(edns);
            },
            // The number of BADVERS; it has another name elsewhere.
            ResponseCode::BADSIG,
        ),
    ];
    for (change, code) in cases {
        assert_eq!(answered(&changed(change)), Some(code));
    }
}

#[tokio::test]
async fn what_is_too_long_for_a_packet_is_for_a_stream() {
    let known = (0..100).map(|last| Ipv4Addr::new(192, 0, 2, last).into()).collect();
    let (at, _) = resolver(Ipv4Addr::new(192, 0, 2, 1)).await;
    let upstream = upstream(&Context::system(), &Arc::new(Mutex::new(server(at))));
    let responder = Responder::new(zone(), objects(), [("many".to_owned(), known)].into(), upstream);
    let mut asked = question("many.", RecordType::A);
    let answer = ask(&responder, &asked).await;
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    let frame = responder.begin(&asked.to_vec().unwrap()).unwrap().frame().unwrap();
    assert_eq!(Message::from_vec(&frame[2..]).unwrap().answers.len(), 100);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    asked.set_edns(edns);
    let answer = ask(&responder, &asked).await;
    assert_eq!((answer.metadata.truncation, answer.answers.len(), answer.edns.is_some()), (false, 100, true));
}
