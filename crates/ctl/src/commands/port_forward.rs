//! `port-forward`: local ports that lead into a pod.
//!
//! **Contract.** One connection to the server for all ports; it ends with the pod, the connection, or the user.
//! **Upstream.** `kubectl/pkg/cmd/portforward`, `client-go/tools/portforward` (behaviour).

mod ports;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use clap::ArgMatches;
use futures::stream::{FuturesUnordered, StreamExt as _};
use ports::Forward;
use streaming::port_forward::Forwarder;
use tokio::net::{TcpListener, TcpStream};

use super::{Command, Context};
use crate::cli::{self, values};
use crate::connection::{JSON, encode};
use crate::report::{Error, message};
use crate::streams::{self, PORT_FORWARD, pods};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "port-forward", build, run: |context, matches| Box::pin(run(context, matches)) };

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Forward one or more local ports to a pod")
        .arg(cli::arguments("TYPE/NAME [LOCAL_PORT:]REMOTE_PORT"))
        .arg(
            cli::texts(
                "address",
                "Addresses to listen on (comma separated). Only accepts IP addresses or localhost as a value. When localhost is supplied, kctl will try to bind on both 127.0.0.1 and ::1 and will fail if neither of these addresses are available to bind.",
            )
            .default_value("localhost"),
        )
        .arg(pods::timeout_flag())
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let arguments = values(matches, "arguments");
    let [named, asked @ ..] = arguments.as_slice() else { return Err(usage()) };
    if asked.is_empty() {
        return Err(usage());
    }
    let limit = pods::timeout(matches, "port-forward")?;
    let target = pods::target(context, named).await?;
    let object = context.connection().await?.get(&target.path(), JSON).await?;
    let pod = pods::pod_of(context, object.clone(), limit).await?;
    let forwards = ports::forwards(asked, &object, &pod).map_err(message)?;
    let phase = pod["status"]["phase"].as_str().unwrap_or("");
    if phase != "Running" {
        return Err(message(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let addresses = values(matches, "address");
    let addresses: Vec<Address> =
        addresses.iter().map(|address| Address::parse(address)).collect::<Result<_, _>>()?;
    let text = |field: &str| encode(pod["metadata"][field].as_str().unwrap_or(""));
    let path = format!("/api/v1/namespaces/{}/pods/{}/portforward", text("namespace"), text("name"));
    let upgrading = |error: String| message(format!("error upgrading connection: {error}"));
    let connected = streams::open(context, &path, &PORT_FORWARD).await.map_err(|error| match error {
        Error::Status { .. } | Error::Message(_) => upgrading(error.to_string()),
        other => other,
    })?;
    let forwarder = Forwarder::new(connected).await.map_err(|error| upgrading(error.to_string()))?;
    let mut listeners = Vec::new();
    for forward in &forwards {
        match listen(context, *forward, &addresses).await {
            Ok(bound) => listeners.extend(bound),
            Err(why) => {
                context.terminal.err(&format!("Unable to listen on port {}: {why}\n", forward.local));
            }
        }
    }
    if listeners.is_empty() {
        let all: Vec<String> = forwards.iter().map(|f| format!("{{{} {}}}", f.local, f.remote)).collect();
        return Err(message(format!("unable to listen on any of the requested ports: [{}]", all.join(" "))));
    }
    let forwarder = Arc::new(forwarder);
    let mut serving: FuturesUnordered<_> = listeners
        .into_iter()
        .map(|(listener, forward)| serve(context, listener, forward, &forwarder))
        .collect();
    tokio::select! {
        Some(()) = serving.next() => {}
        () = forwarder.closed() => {}
        _ = tokio::signal::ctrl_c() => return Ok(()),
    }
    Err(message("lost connection to pod"))
}

fn usage() -> Error {
    message(
        "TYPE/NAME and list of ports are required for port-forward\nSee 'kctl port-forward -h' for help and examples",
    )
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    /// On both loopback addresses, as far as there are two.
    Localhost,
    Ip(IpAddr),
}

impl Address {
    fn parse(text: &str) -> Result<Self, Error> {
        if text == "localhost" {
            return Ok(Self::Localhost);
        }
        text.parse().map(Self::Ip).map_err(|_| message(format!("{text} is not a valid IP")))
    }

    fn all(self) -> Vec<IpAddr> {
        match self {
            Self::Localhost => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Self::Ip(ip) => vec![ip],
        }
    }
}

/// Listens on a port at every address; an address that cannot be had is told only if there is none at all.
async fn listen(
    context: &Context,
    mut forward: Forward,
    addresses: &[Address],
) -> Result<Vec<(TcpListener, Forward)>, String> {
    let (mut bound, mut errors) = (Vec::new(), Vec::new());
    for ip in addresses.iter().flat_map(|address| address.all()) {
        let address = SocketAddr::new(ip, forward.local);
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let port = listener.local_addr().map_or(forward.local, |address| address.port());
                // The other address gets the same port.
                forward.local = port;
                let at = SocketAddr::new(ip, port);
                let line = format!("Forwarding from {at} -> {}\n", forward.remote);
                context.terminal.out(&line).map_err(|error| error.to_string())?;
                bound.push((listener, forward));
            }
            Err(error) => {
                let network = if ip.is_ipv4() { "tcp4" } else { "tcp6" };
                let why = match error.kind() {
                    std::io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
                    std::io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
                    std::io::ErrorKind::AddrNotAvailable => {
                        "bind: cannot assign requested address".to_owned()
                    }
                    _ => error.to_string(),
                };
                errors.push(format!("unable to create listener: Error listen {network} {address}: {why}"));
            }
        }
    }
    if bound.is_empty() {
        let all = errors.join(" ");
        return Err(format!("listeners failed to create with the following errors: [{all}]"));
    }
    Ok(bound)
}

/// Accepts connections until one of them costs the connection to the pod.
async fn serve(context: &Context, listener: TcpListener, forward: Forward, forwarder: &Arc<Forwarder>) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                open.push(carry(context, stream, forward, Arc::clone(forwarder)));
            }
            Some(carried) = open.next() => {
                if let Err(why) = carried {
                    context.terminal.err(&format!(
                        "error: an error occurred forwarding {} -> {}: {why}\n",
                        forward.local, forward.remote
                    ));
                    // kubectl gives up the whole connection then.
                    return;
                }
            }
        }
    }
}

/// One connection.
async fn carry(
    context: &Context,
    mut stream: TcpStream,
    forward: Forward,
    forwarder: Arc<Forwarder>,
) -> Result<(), String> {
    let _ = context.terminal.out(&format!("Handling connection for {}\n", forward.local));
    let mut opened = forwarder.open(forward.remote).await.map_err(|error| error.to_string())?;
    let copied = tokio::io::copy_bidirectional(&mut stream, &mut opened.data);
    tokio::pin!(copied);
    let said = tokio::select! {
        said = &mut opened.error => said,
        // Either side may break off; what the server says of it comes after.
        _ = &mut copied => opened.error.await,
    };
    match said {
        Ok(said) if said.is_empty() => {
            // The server has ended; what is on its way still arrives.
            Ok(())
        }
        Ok(said) => Err(said),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_localhost_or_ip() {
        assert_eq!(Address::parse("localhost").unwrap().all().len(), 2);
        assert_eq!(Address::parse("0.0.0.0").unwrap(), Address::Ip(Ipv4Addr::UNSPECIFIED.into()));
        assert_eq!(Address::parse("example.com").unwrap_err().to_string(), "example.com is not a valid IP");
    }
}
