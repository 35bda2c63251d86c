//! Resolvers of a test's own.

use super::*;
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::RData;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use testkit::eventually;
use tokio::net::UdpSocket;

const LIMIT: Duration = Duration::from_secs(60);

/// A resolver that knows one address, and how often it was asked for `counted.`.
pub(crate) async fn resolver(address: Ipv4Addr) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, asked) = (socket.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counter = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let query = question.queries[0].clone();
            if query.name().to_string() == "counted." {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
            match query.query_type() {
                RecordType::A => {
                    let record = Record::from_rdata(query.name().clone(), 60, RData::A(address.into()));
                    answer.add_answer(record);
                }
                _ => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            answer.add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    (at, asked)
}

/// The contents of a `resolv.conf` that names one server.
pub(crate) fn server(at: SocketAddr) -> Vec<NameServerConfig> {
    let mut connection = ConnectionConfig::udp();
    connection.port = at.port();
    vec![NameServerConfig::new(at.ip(), true, vec![connection])]
}

/// Upstream of a file that can be changed.
pub(crate) fn upstream(context: &Context, file: &Arc<Mutex<Vec<NameServerConfig>>>) -> Upstream {
    let file = file.clone();
    let read = move || {
        let servers = file.lock().unwrap().clone();
        Ok((ResolverConfig::from_name_servers(servers), ResolverOpts::default()))
    };
    Upstream::new(context, Ipv4Addr::new(10, 96, 0, 10).into(), Box::new(read))
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

#[tokio::test]
async fn answers_are_kept() {
    let (at, asked) = resolver(Ipv4Addr::new(192, 0, 2, 1)).await;
    let upstream = upstream(&Context::system(), &Arc::new(Mutex::new(server(at))));
    for _ in 0..3 {
        let heard = upstream.ask(&name("counted."), RecordType::A).await.unwrap();
        assert_eq!((heard.code, heard.answers.len()), (ResponseCode::NoError, 1));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let heard = upstream.ask(&name("counted."), RecordType::MX).await.unwrap();
    assert_eq!((heard.code, heard.answers.len()), (ResponseCode::NXDomain, 0));
}

#[tokio::test]
async fn others_are_asked_when_the_file_has_changed() {
    let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let file = Arc::new(Mutex::new(server(gone)));
    let upstream = upstream(&Context::system(), &file);
    assert_eq!(upstream.ask(&name("a."), RecordType::A).await.unwrap_err(), Refusal::Failed);
    let (at, _) = resolver(Ipv4Addr::new(192, 0, 2, 1)).await;
    *file.lock().unwrap() = server(at);
    assert_eq!(upstream.ask(&name("a."), RecordType::A).await.unwrap().answers.len(), 1);
}

#[tokio::test]
async fn a_question_that_comes_back_is_the_last() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let file = Arc::new(Mutex::new(server(socket.local_addr().unwrap())));
    let upstream = Arc::new(upstream(&Context::system(), &file));
    let asking = upstream.clone();
    tokio::spawn(async move { asking.ask(&name("a."), RecordType::A).await });
    // What arrives at the host's resolver comes back to us.
    let mut buffer = [0; 4096];
    loop {
        let (length, _) = tokio::time::timeout(LIMIT, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        if upstream.is_own(Message::from_vec(&buffer[..length]).unwrap().queries[0].name()) {
            break;
        }
    }
    eventually(LIMIT, async || {
        matches!(upstream.ask(&name("b."), RecordType::A).await, Err(Refusal::Failed))
    })
    .await;
    assert!(socket.try_recv_from(&mut buffer).is_err(), "nothing more is asked");
}
