//! From a packet to the answer: what can be said at once, and what must be asked first.
//!
//! **Contract**: [`Responder::begin`] never waits; whatever it is given, it answers or is silent. Errors are answers.

use crate::corefile::Custom;
use crate::objects::Objects;
use crate::upstream::{Refusal, Upstream};
use crate::zone::{Zone, addresses, other_name};
use arc_swap::ArcSwap;
use hickory_resolver::proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RecordType};
use hickory_resolver::proto::serialize::binary::{BinEncodable as _, BinEncoder};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest packet that we send or ask for.
const UDP_MAX: u16 = 4096;
/// What a client takes that does not say.
const UDP_MIN: u16 = 512;
/// Names that lead to names; more of them are a circle.
const ALIASES_MAX: usize = 8;
/// An id, flags and four counts.
const HEADER: usize = 12;

/// Answers questions.
pub(crate) struct Responder<O> {
    zone: Zone,
    objects: O,
    hosts: HashMap<Name, Vec<IpAddr>>,
    upstream: Upstream,
    custom: ArcSwap<Custom>,
    /// How often that was changed.
    configured: AtomicU64,
}

/// An answer, or the beginning of one.
#[derive(Debug)]
pub(crate) struct Reply {
    message: Message,
    /// How long it may be in one packet.
    limit: u16,
    /// Asked before it is sent.
    ask: Option<(Name, RecordType)>,
}

impl<O: Objects> Responder<O> {
    pub(crate) fn new(
        zone: Zone,
        objects: O,
        hosts: BTreeMap<String, Vec<IpAddr>>,
        upstream: Upstream,
    ) -> Self {
        let named = |(name, addresses)| {
            let mut name = Name::from_ascii(name).ok()?;
            name.set_fqdn(true);
            Some((name, addresses))
        };
        let hosts = hosts.into_iter().filter_map(named).collect();
        Self { zone, objects, hosts, upstream, custom: ArcSwap::default(), configured: AtomicU64::new(0) }
    }

    /// Answers as people want it, from now on.
    pub(crate) fn configure(&self, custom: Custom) {
        self.upstream.forward(&custom.forwards);
        self.custom.store(custom.into());
        self.configured.fetch_add(1, Ordering::Release);
    }

    /// A number that is another once anything has changed that answers are made of.
    pub(crate) fn changes(&self) -> u64 {
        self.configured.load(Ordering::Acquire) + self.objects.changes()
    }

    /// What a packet is to be answered; none for what is no question.
    pub(crate) fn begin(&self, packet: &[u8]) -> Option<Reply> {
        let request = match Message::from_vec(packet) {
            Ok(request) if request.metadata.message_type == MessageType::Query => request,
            Ok(_) => return None,
            Err(_) => return unreadable(packet),
        };
        let mut reply = Reply::to(&request);
        let refused = match (&request.queries[..], &request.edns) {
            (_, Some(edns)) if edns.version() > 0 => Some(ResponseCode::BADVERS),
            _ if request.metadata.op_code != OpCode::Query => Some(ResponseCode::NotImp),
            ([query], _) if query.query_class() == DNSClass::IN => match query.query_type() {
                RecordType::AXFR | RecordType::IXFR => Some(ResponseCode::Refused),
                _ => None,
            },
            ([_], _) => Some(ResponseCode::Refused),
            _ => Some(ResponseCode::FormErr),
        };
        match (refused, request.queries.first()) {
            (None, Some(query)) => self.answer(query, &mut reply),
            (code, _) => reply.message.metadata.response_code = code.unwrap_or(ResponseCode::FormErr),
        }
        Some(reply)
    }

    /// Asks what is still to be asked.
    pub(crate) async fn finish(&self, mut reply: Reply) -> Reply {
        let Some((name, kind)) = reply.ask.take() else { return reply };
        match self.upstream.ask(&name, kind).await {
            Ok(heard) => {
                reply.message.metadata.response_code = heard.code;
                reply.message.add_answers(heard.answers);
                reply.message.add_authorities(heard.authorities);
            }
            Err(Refusal::Failed) => reply.message.metadata.response_code = ResponseCode::ServFail,
            Err(Refusal::Busy) => reply.message.metadata.response_code = ResponseCode::Refused,
        }
        reply
    }

    fn answer(&self, query: &Query, reply: &mut Reply) {
        let (mut name, kind) = (query.name().clone(), query.query_type());
        if self.upstream.is_own(&name) {
            reply.message.metadata.response_code = ResponseCode::ServFail;
            return;
        }
        let custom = self.custom.load();
        for _ in 0..ALIASES_MAX {
            if let Some(other) = custom.aliases.get(&name) {
                reply.message.add_answer(other_name(&name, other));
                if kind == RecordType::CNAME {
                    return;
                }
                name = other.clone();
                continue;
            }
            if let Some(known) = custom.hosts.get(&name).or_else(|| self.hosts.get(&name)) {
                reply.message.add_answers(addresses(&name, kind, known.iter().copied()));
                return;
            }
            let Some(found) = self.zone.find(&name, kind, &self.objects) else {
                reply.ask = Some((name, kind));
                return;
            };
            let message = &mut reply.message;
            message.metadata.authoritative = true;
            message.metadata.response_code = found.code;
            if found.answers.is_empty() {
                message.add_authority(self.zone.authority());
            }
            let mut answers = found.answers;
            if !answers.is_empty() {
                // Each time another first, as most clients take the first.
                let first = usize::from(message.metadata.id) % answers.len();
                answers.rotate_left(first);
            }
            message.add_answers(answers);
            message.add_additionals(found.additionals);
            match found.alias {
                Some(alias) => name = alias,
                None => return,
            }
        }
        reply.message.metadata.response_code = ResponseCode::ServFail;
    }
}

impl Reply {
    fn to(request: &Message) -> Self {
        let mut message = Message::response(request.metadata.id, request.metadata.op_code);
        message.metadata = Metadata::response_from_request(&request.metadata);
        message.metadata.recursion_available = true;
        message.add_queries(request.queries.iter().cloned());
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MAX).set_version(0);
            message.set_edns(edns);
        }
        Self { message, limit: request.max_payload().clamp(UDP_MIN, UDP_MAX), ask: None }
    }

    /// Whether it can be sent as it is.
    pub(crate) fn is_complete(&self) -> bool {
        self.ask.is_none()
    }

    /// Whether the same question is answered the same until something changes: it was not asked elsewhere, and has no
    /// answers that take turns.
    pub(crate) fn holds(&self) -> bool {
        let known =
            matches!(self.message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        self.is_complete() && known && self.message.answers.len() <= 1
    }

    /// What was asked, and how it was answered.
    pub(crate) fn told(&self) -> (Option<RecordType>, ResponseCode) {
        (self.message.queries.first().map(Query::query_type), self.message.metadata.response_code)
    }

    /// For one packet: what is too long says so and has no records, so that it is asked over TCP.
    pub(crate) fn packet(&self) -> Option<Vec<u8>> {
        let bytes = encode(&self.message, self.limit)?;
        // TC, the second bit of the third byte.
        match bytes.get(2).is_some_and(|flags| flags & 2 != 0) {
            true => encode(&self.message.truncate(), self.limit),
            false => Some(bytes),
        }
    }

    /// For a stream, with its length.
    pub(crate) fn frame(&self) -> Option<Vec<u8>> {
        let bytes = encode(&self.message, u16::MAX)?;
        let length = u16::try_from(bytes.len()).ok()?;
        Some([&length.to_be_bytes()[..], &bytes].concat())
    }
}

fn encode(message: &Message, limit: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::from(UDP_MIN));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    match message.emit(&mut encoder) {
        Ok(()) => Some(bytes),
        Err(error) => {
            tracing::warn!(%error, "cannot encode an answer");
            None
        }
    }
}

/// A question that is none is told so, if its header can be read; answers are not answered.
fn unreadable(packet: &[u8]) -> Option<Reply> {
    let header = packet.get(..HEADER)?;
    let (id, is_answer) = (u16::from_be_bytes([header[0], header[1]]), header[2] & 0x80 != 0);
    let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    (!is_answer).then_some(Reply { message, limit: UDP_MIN, ask: None })
}

#[cfg(test)]
mod tests;
