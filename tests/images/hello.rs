//! The image `minik/hello`: a web server that says where it runs and which version it is.
//!
//! `/` answers `Hello | Running on: <hostname> | v=<VERSION>`, as does a packet over UDP; `/healthz` answers `ok`,
//! `/exit?code=N` ends the process with N, `/dial?http=ADDRESS:PORT` and `/dial?udp=ADDRESS:PORT` pass on what is answered
//! there. Listens on port 8080 (or `PORT`). SIGTERM and SIGINT end it with 0 at once.
//!
//! With `DRAIN=N` it does what a server behind a load balancer should do: connections are kept; told to end, it goes on to
//! answer for N seconds, during which others learn of it, each answer the last of its connection, and then ends with 0; it
//! writes nothing of requests.
//!
//! Built by `build` next to it: `rustc -C target-feature=+crt-static`, no crates.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
    fn write(file: i32, bytes: *const u8, length: usize) -> isize;
}

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Whether the end waits, whether it was asked for, who is told that, and how many answers it waits for.
static DRAINS: AtomicBool = AtomicBool::new(false);
static ENDS: AtomicBool = AtomicBool::new(false);
static TOLD: AtomicI32 = AtomicI32::new(-1);
static UNDER_WAY: Mutex<usize> = Mutex::new(0);
static ANSWERED: Condvar = Condvar::new();

extern "C" fn end(_: i32) {
    if !DRAINS.load(Ordering::SeqCst) {
        // SAFETY: async-signal-safe.
        unsafe { _exit(0) }
    }
    ENDS.store(true, Ordering::SeqCst);
    // SAFETY: async-signal-safe; the byte outlives the call.
    unsafe { write(TOLD.load(Ordering::SeqCst), &0, 1) };
}

/// Ends the process some time after it was told to, when no answer is under way.
fn drain(mut told: UnixStream, patience: Duration) -> ! {
    told.read_exact(&mut [0]).expect("the other end stays open");
    std::thread::sleep(patience);
    let under_way = UNDER_WAY.lock().expect("nobody panics with it");
    let _none = ANSWERED.wait_while(under_way, |answers| *answers > 0).expect("nobody panics with it");
    std::process::exit(0)
}

fn main() {
    let patience = std::env::var("DRAIN").ok().and_then(|text| text.parse().ok());
    if let Some(seconds) = patience {
        let (told, tell) = UnixStream::pair().expect("a pair of sockets");
        TOLD.store(tell.into_raw_fd(), Ordering::SeqCst);
        DRAINS.store(true, Ordering::SeqCst);
        std::thread::spawn(move || drain(told, Duration::from_secs(seconds)));
    }
    let handler = end as extern "C" fn(i32) as usize;
    for number in [SIGINT, SIGTERM] {
        // SAFETY: the handler only ends the process.
        unsafe { signal(number, handler) };
    }
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let port = variable("PORT", "8080");
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let greeting = format!("Hello | Running on: {} | v={}\n", hostname.trim(), variable("VERSION", "1"));
    let listener = match TcpListener::bind(format!("[::]:{port}"))
        .or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}")))
    {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            std::process::exit(1);
        }
    };
    let at = listener.local_addr().ok();
    if let Some(socket) = at.and_then(|at| UdpSocket::bind(at).ok()) {
        let greeting = greeting.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            loop {
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(greeting.as_bytes(), from);
                }
            }
        });
    }
    println!("listening on port {port}");
    for stream in listener.incoming().flatten() {
        let greeting = greeting.clone();
        std::thread::spawn(move || {
            if let Err(error) = answer(&stream, &greeting) {
                eprintln!("{error}");
            }
        });
    }
}

/// Answers the requests of a connection: one, or while it is kept.
fn answer(stream: &TcpStream, greeting: &str) -> std::io::Result<()> {
    let drains = DRAINS.load(Ordering::SeqCst);
    stream.set_read_timeout(Some(Duration::from_secs(if drains { 75 } else { 10 })))?;
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next().transpose()? {
        *UNDER_WAY.lock().expect("nobody panics with it") += 1;
        let kept = one(stream, greeting, &request, &mut lines);
        *UNDER_WAY.lock().expect("nobody panics with it") -= 1;
        ANSWERED.notify_all();
        if !kept? {
            break;
        }
    }
    Ok(())
}

/// Answers a request; whether there may be another.
fn one(
    mut stream: &TcpStream,
    greeting: &str,
    request: &str,
    lines: &mut dyn Iterator<Item = std::io::Result<String>>,
) -> std::io::Result<bool> {
    let mut kept = DRAINS.load(Ordering::SeqCst) && request.ends_with(" HTTP/1.1");
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        kept &= line != "connection: close";
    }
    let target = request.split(' ').nth(1).unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !DRAINS.load(Ordering::SeqCst) {
        println!("{request}");
    }
    let (status, body, exit) = match path {
        "/" => ("200 OK", greeting.to_owned(), None),
        "/healthz" => ("200 OK", "ok\n".to_owned(), None),
        "/exit" => {
            let code = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("code="))
                .and_then(|code| code.parse().ok());
            let code: i32 = code.unwrap_or(0);
            ("200 OK", format!("exiting with {code}\n"), Some(code))
        }
        "/dial" => match dial(query) {
            Ok(answer) => ("200 OK", answer, None),
            Err(error) => ("502 Bad Gateway", format!("{error}\n"), None),
        },
        _ => ("404 Not Found", "not found\n".to_owned(), None),
    };
    kept &= exit.is_none() && !ENDS.load(Ordering::SeqCst);
    let connection = if kept { "" } else { "Connection: close\r\n" };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n{connection}\r\n{body}"
    );
    stream.write_all(answer.as_bytes())?;
    if let Some(code) = exit {
        std::process::exit(code);
    }
    Ok(kept)
}

/// What is answered elsewhere.
fn dial(query: &str) -> std::io::Result<String> {
    let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let (protocol, to) = query.split_once('=').ok_or_else(invalid)?;
    let to: SocketAddr = to.parse().map_err(|_| invalid())?;
    let patience = Duration::from_secs(3);
    let mut answer = vec![0; 512];
    match protocol {
        "udp" => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(patience))?;
            socket.send_to(b"?", to)?;
            let length = socket.recv(&mut answer)?;
            answer.truncate(length);
        }
        "http" => {
            let mut stream = TcpStream::connect_timeout(&to, patience)?;
            stream.set_read_timeout(Some(patience))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            answer.clear();
            stream.read_to_end(&mut answer)?;
        }
        _ => return Err(invalid()),
    }
    let text = String::from_utf8_lossy(&answer);
    Ok(format!("{}\n", text.lines().last().unwrap_or_default()))
}
