//! `tcpSocket`: a connection that opens is a success.
//!
//! **Upstream**: `pkg/probe/tcp`.

use super::ask::Said;
use std::time::Duration;
use tokio::net::TcpStream;

pub(super) async fn ask(host: &str, port: u16, timeout: Duration) -> Said {
    let address = join(host, port);
    match tokio::time::timeout(timeout, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => Said::Success,
        Ok(Err(error)) => Said::Failure(dial_error(&address, &error)),
        Err(_) => Said::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connection's failure as Go says it.
pub(super) fn dial_error(address: &str, error: &std::io::Error) -> String {
    let what = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: connect: {what}")
}
