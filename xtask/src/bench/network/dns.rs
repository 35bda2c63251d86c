//! Questions to the cluster's DNS: one after the other, and as many as it answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::super::process;
use super::super::sample::Sample;

/// Questions that a client has under way at a time.
const WINDOW: u16 = 32;
/// Clients.
const CLIENTS: usize = 4;
/// A packet that is not answered by then is lost.
const LOST: Duration = Duration::from_secs(1);

/// The question for the address of a name.
fn question(name: &str, id: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    // Recursion desired, one question.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(63));
        packet.extend(label.as_bytes());
    }
    // The root, A, IN.
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// Whether an answer has no error and a record.
fn is_answer(packet: &[u8]) -> bool {
    packet.len() > 12 && packet[2] & 0x80 != 0 && packet[3] & 0x0f == 0 && (packet[6] | packet[7]) != 0
}

async fn client(server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.context("a socket")?;
    socket.connect(server).await.context("connect to the DNS server")?;
    Ok(socket)
}

/// How long each of so many questions takes, in milliseconds.
pub(super) async fn latency(server: SocketAddr, name: &str, number: u16) -> Result<Sample> {
    let socket = client(server).await?;
    let (mut times, mut buffer) = (Vec::new(), [0; 512]);
    for id in 0..number {
        let before = Instant::now();
        socket.send(&question(name, id)).await?;
        let length = timeout(LOST, socket.recv(&mut buffer)).await.context("an answer was lost")??;
        times.push(before.elapsed().as_secs_f64() * 1000.0);
        ensure!(is_answer(&buffer[..length]), "{name} was not answered with an address");
    }
    Ok(Sample::of(times))
}

/// Answers in a second of the server's CPU time.
pub(super) async fn rate(server: SocketAddr, name: &str, span: Duration, pid: u32) -> Result<f64> {
    let before = process::cpu_seconds(pid)?;
    let until = Instant::now() + span;
    let clients = (0..CLIENTS).map(|_| tokio::spawn(ask(server, name.to_owned(), until)));
    let mut answers = 0.0;
    for client in clients.collect::<Vec<_>>() {
        answers += f64::from(client.await??);
    }
    Ok(answers / (process::cpu_seconds(pid)? - before))
}

async fn ask(server: SocketAddr, name: String, until: Instant) -> Result<u32> {
    let socket = client(server).await?;
    let (mut answers, mut buffer) = (0, [0; 512]);
    let packet = question(&name, 0);
    for _ in 0..WINDOW {
        socket.send(&packet).await?;
    }
    while Instant::now() < until {
        // A lost packet would leave the window smaller for good.
        if let Ok(received) = timeout(LOST, socket.recv(&mut buffer)).await {
            ensure!(is_answer(&buffer[..received?]), "{name} was not answered with an address");
            answers += 1;
        }
        socket.send(&packet).await?;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_the_wire_has_them() {
        assert_eq!(question("a.bc.", 258), b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01");
        let mut answer = question("a", 1);
        assert!(!is_answer(&answer));
        (answer[2], answer[7]) = (0x81, 1);
        assert!(is_answer(&answer));
        answer[3] = 3;
        assert!(!is_answer(&answer));
    }
}
