//! Questions and answers in numbers. **Upstream**: CoreDNS's plugin `metrics`; names, labels and buckets are its.

use component_base::Metrics;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::net::IpAddr;
use std::time::Duration;

/// The only server block.
const SERVER: &str = "dns://:53";
const ZONE: &str = ".";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    server: &'static str,
    zone: &'static str,
    view: &'static str,
    proto: &'static str,
    family: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    server: &'static str,
    zone: &'static str,
    view: &'static str,
    rcode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Block {
    server: &'static str,
    zone: &'static str,
    view: &'static str,
}

/// What is counted.
pub(crate) struct Counted {
    requests: Family<Asked, Counter>,
    responses: Family<Answered, Counter>,
    durations: Histogram,
}

/// A question and its answer.
pub(crate) struct Exchange {
    /// `udp` or `tcp`.
    pub(crate) proto: &'static str,
    /// Who asked.
    pub(crate) client: IpAddr,
    pub(crate) kind: Option<RecordType>,
    pub(crate) code: ResponseCode,
    pub(crate) took: Duration,
}

impl Counted {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let durations: Family<Block, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 16)));
        let durations = metrics.shared(
            "coredns_dns_request_duration_seconds",
            "Histogram of the time (in seconds) each request took per zone.",
            || durations,
        );
        Self {
            requests: metrics.shared(
                "coredns_dns_requests",
                "Counter of DNS requests made per zone, protocol and family.",
                Family::default,
            ),
            responses: metrics.shared(
                "coredns_dns_responses",
                "Counter of response status codes.",
                Family::default,
            ),
            durations: durations.get_or_create(&Block { server: SERVER, zone: ZONE, view: "" }).clone(),
        }
    }

    pub(crate) fn count(&self, exchange: &Exchange) {
        let Exchange { proto, client, kind, code, took } = exchange;
        let asked = Asked {
            server: SERVER,
            zone: ZONE,
            view: "",
            proto,
            family: if client.to_canonical().is_ipv4() { "1" } else { "2" },
            r#type: kind.map_or("other", type_of),
        };
        self.requests.get_or_create(&asked).inc();
        let answered = Answered { server: SERVER, zone: ZONE, view: "", rcode: name(*code) };
        self.responses.get_or_create(&answered).inc();
        self.durations.observe(took.as_secs_f64());
    }
}

/// **Upstream**: CoreDNS counts these by name, and all others together.
fn type_of(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "A",
        RecordType::AAAA => "AAAA",
        RecordType::CNAME => "CNAME",
        RecordType::DNSKEY => "DNSKEY",
        RecordType::DS => "DS",
        RecordType::HTTPS => "HTTPS",
        RecordType::MX => "MX",
        RecordType::NS => "NS",
        RecordType::NSEC => "NSEC",
        RecordType::NSEC3 => "NSEC3",
        RecordType::PTR => "PTR",
        RecordType::RRSIG => "RRSIG",
        RecordType::SOA => "SOA",
        RecordType::SRV => "SRV",
        RecordType::TXT => "TXT",
        _ => "other",
    }
}

fn name(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::BADVERS => "BADVERS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_are_counted() {
        let metrics = Metrics::default();
        let counted = Counted::new(&metrics);
        counted.count(&Exchange {
            proto: "udp",
            client: [10, 1, 0, 1].into(),
            kind: Some(RecordType::AAAA),
            code: ResponseCode::NXDomain,
            took: Duration::from_millis(1),
        });
        let text = metrics.encode_text();
        for line in [
            "coredns_dns_requests_total{server=\"dns://:53\",zone=\".\",view=\"\",proto=\"udp\",family=\"1\",type=\"AAAA\"} 1",
            "coredns_dns_responses_total{server=\"dns://:53\",zone=\".\",view=\"\",rcode=\"NXDOMAIN\"} 1",
            "coredns_dns_request_duration_seconds_count{server=\"dns://:53\",zone=\".\",view=\"\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
