//! What people write into the ConfigMap `kube-system/coredns`: hosts, zones that others answer for, and other names.
//!
//! **Contract**: pure. Directives that only say how CoreDNS works are read and mean nothing here; those that would change
//! answers in ways that we cannot are complaints, and the rest counts. A file that cannot be read counts as a whole not.
//! **Upstream**: CoreDNS's Corefile, plugins `hosts`, `forward` and `rewrite`.

use hickory_resolver::proto::rr::Name;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// The Corefile that kubeadm writes.
pub const DEFAULT: &str = "\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
";
/// What has no meaning here.
const WITHOUT_MEANING: &[&str] = &[
    "autopath",
    "bind",
    "bufsize",
    "cache",
    "cancel",
    "chaos",
    "debug",
    "dns64",
    "errors",
    "health",
    "kubernetes",
    "loadbalance",
    "log",
    "loop",
    "metadata",
    "minimal",
    "nsid",
    "pprof",
    "prometheus",
    "ready",
    "reload",
    "timeouts",
    "trace",
    "whoami",
];
const HOST_FILE: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// What is to be answered besides the cluster's zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Custom {
    /// Addresses of names.
    pub hosts: HashMap<Name, Vec<IpAddr>>,
    /// Zones and the servers to ask about them.
    pub forwards: Vec<(Name, Vec<SocketAddr>)>,
    /// Names that stand for others.
    pub aliases: HashMap<Name, Name>,
    /// What cannot be done.
    pub complaints: Vec<String>,
}

/// A line, and the lines within its braces.
#[derive(Debug, Default)]
struct Directive {
    words: Vec<String>,
    block: Vec<Directive>,
}

/// Reads a Corefile.
///
/// # Errors
/// In a word, if its braces do not match.
pub fn parse(text: &str) -> Result<Custom, String> {
    let mut custom = Custom::default();
    for server in directives(text)? {
        let zones = server.words.iter().flat_map(|word| word.split(',')).filter(|zone| !zone.is_empty());
        let zones: Result<Vec<Name>, String> = zones.map(zone).collect();
        match zones {
            Ok(zones) => server.block.iter().for_each(|directive| custom.read(&zones, directive)),
            Err(zone) => custom.complaints.push(format!("{zone:?} is not a zone")),
        }
    }
    Ok(custom)
}

impl Custom {
    fn read(&mut self, zones: &[Name], directive: &Directive) {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["hosts", ..] => self.hosts(&directive.block, &words[1..]),
            ["forward", from, to @ ..] => self.forward(zones, from, to),
            ["rewrite", rest @ ..] => self.rewrite(rest),
            [name, ..] if WITHOUT_MEANING.contains(name) => {}
            _ => self.complaints.push(format!("{:?} is not supported", words.join(" "))),
        }
    }

    fn hosts(&mut self, block: &[Directive], arguments: &[&str]) {
        if arguments.first().is_some_and(|file| file.starts_with('/')) {
            self.complaints.push("hosts: files are not supported".to_owned());
        }
        for line in block {
            let Some((first, names)) = line.words.split_first() else { continue };
            if ["fallthrough", "ttl", "no_reverse", "reload"].contains(&first.as_str()) {
                continue;
            }
            let Ok(address) = first.parse::<IpAddr>() else {
                self.complaints.push(format!("hosts: {first:?} is not an address"));
                continue;
            };
            for name in names {
                match zone(name) {
                    Ok(name) => self.hosts.entry(name).or_default().push(address),
                    Err(name) => self.complaints.push(format!("hosts: {name:?} is not a name")),
                }
            }
        }
    }

    fn forward(&mut self, zones: &[Name], from: &str, to: &[&str]) {
        let Ok(from) = zone(from) else {
            self.complaints.push(format!("forward: {from:?} is not a zone"));
            return;
        };
        let mut servers = Vec::new();
        for server in to.iter().filter(|server| **server != HOST_FILE) {
            let server = server.strip_prefix("dns://").unwrap_or(server);
            match server.parse().or_else(|_| server.parse().map(|ip: IpAddr| SocketAddr::new(ip, PORT))) {
                Ok(server) => servers.push(server),
                Err(_) => self
                    .complaints
                    .push(format!("forward: {server:?} is not an address with or without a port")),
            }
        }
        if servers.is_empty() {
            return;
        }
        // The part of the server's zones that it says.
        let within = |zone: &Name| match (zone.zone_of(&from), from.zone_of(zone)) {
            (true, _) => Some(from.clone()),
            (_, true) => Some(zone.clone()),
            _ => None,
        };
        self.forwards.extend(zones.iter().filter_map(within).map(|zone| (zone, servers.clone())));
    }

    fn rewrite(&mut self, words: &[&str]) {
        let exact = match words {
            ["stop" | "continue", rest @ ..] => rest,
            rest => rest,
        };
        let pair = match exact {
            ["name", "exact", from, to, ..] => Some((from, to)),
            ["name", "suffix" | "prefix" | "substring" | "regex", ..] => None,
            ["name", from, to, ..] => Some((from, to)),
            _ => None,
        };
        match pair.map(|(from, to)| (zone(from), zone(to))) {
            Some((Ok(from), Ok(to))) => drop(self.aliases.insert(from, to)),
            _ => self
                .complaints
                .push(format!("\"rewrite {}\" is not supported: only exact names", words.join(" "))),
        }
    }
}

/// A name with or without its last dot, and without a port.
fn zone(text: &str) -> Result<Name, String> {
    let bare = text.strip_prefix("dns://").unwrap_or(text);
    let bare = bare.split_once(':').map_or(bare, |(zone, _)| zone);
    let mut name = Name::from_ascii(bare).map_err(|_| text.to_owned())?;
    name.set_fqdn(true);
    Ok(name)
}

fn directives(text: &str) -> Result<Vec<Directive>, String> {
    let mut open = vec![Directive::default()];
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words: Vec<String> =
            line.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
        match words.last().map(String::as_str) {
            None => {}
            Some("}") if words.len() == 1 => {
                let done = open.pop().unwrap_or_default();
                let Some(parent) = open.last_mut() else {
                    return Err(format!("line {}: there is no block to close", number + 1));
                };
                parent.block.push(done);
            }
            Some("{") => {
                words.pop();
                open.push(Directive { words, block: Vec::new() });
            }
            Some(_) => {
                if let Some(parent) = open.last_mut() {
                    parent.block.push(Directive { words, block: Vec::new() });
                }
            }
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(all), true) => Ok(all.block),
        _ => Err("a block is not closed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    #[test]
    fn what_kubeadm_writes_changes_nothing() {
        assert_eq!(parse(DEFAULT), Ok(Custom::default()));
    }

    #[test]
    fn reads_hosts_zones_and_names() {
        let text = "
            # ours
            .:53 {
                hosts {
                    192.0.2.1 one.test two.test.   # both
                    fallthrough
                }
                rewrite name old.test web.default.svc.cluster.local
                rewrite stop name exact older.test old.test
                forward . 192.0.2.53 192.0.2.54:5353
            }
            corp.example, other.example:53 {
                errors
                forward . 192.0.2.55
            }";
        let custom = parse(text).expect("read");
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(custom.complaints, Vec::<String>::new());
        assert_eq!(custom.hosts[&name("TWO.test.")], ["192.0.2.1".parse::<IpAddr>().expect("an address")]);
        assert_eq!(custom.hosts.len(), 2);
        assert_eq!(custom.aliases[&name("old.test.")], name("web.default.svc.cluster.local."));
        assert_eq!(custom.aliases[&name("older.test.")], name("old.test."));
        let expected = [
            (name("."), vec![address("192.0.2.53:53"), address("192.0.2.54:5353")]),
            (name("corp.example."), vec![address("192.0.2.55:53")]),
            (name("other.example."), vec![address("192.0.2.55:53")]),
        ];
        assert_eq!(custom.forwards, expected);
    }

    #[test]
    fn says_what_it_cannot_do() {
        let text = ". {
            hosts /etc/hosts {
                x y
            }
            forward . tls://9.9.9.9
            rewrite name regex (.*) a
            template IN A {
            }
            log
        }";
        let expected = [
            "hosts: files are not supported",
            "hosts: \"x\" is not an address",
            "forward: \"tls://9.9.9.9\" is not an address with or without a port",
            "\"rewrite name regex (.*) a\" is not supported: only exact names",
            "\"template IN A\" is not supported",
        ];
        assert_eq!(parse(text).expect("read").complaints, expected);
        assert_eq!(parse(". {\n log"), Err("a block is not closed".to_owned()));
        assert_eq!(parse(". {\n}\n}"), Err("line 3: there is no block to close".to_owned()));
    }
}
