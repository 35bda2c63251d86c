//! The image `minik/hello`: a web server that says where it runs and which version it is.
//!
//! `/` answers `Hello | Running on: <hostname> | v=<VERSION>`, `/healthz` answers `ok`, `/exit?code=N` ends the process
//! with N. Listens on port 8080 (or `PORT`). SIGTERM and SIGINT end it with 0 at once.
//!
//! Built by `build` next to it: `rustc -C target-feature=+crt-static`, no crates.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
}

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

extern "C" fn end(_: i32) {
    // SAFETY: async-signal-safe.
    unsafe { _exit(0) }
}

fn main() {
    let handler = end as extern "C" fn(i32) as usize;
    for number in [SIGINT, SIGTERM] {
        // SAFETY: the handler only ends the process.
        unsafe { signal(number, handler) };
    }
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let port = variable("PORT", "8080");
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let greeting = format!("Hello | Running on: {} | v={}\n", hostname.trim(), variable("VERSION", "1"));
    let listener = match TcpListener::bind(format!("[::]:{port}")).or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}")))
    {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            std::process::exit(1);
        }
    };
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

fn answer(mut stream: &TcpStream, greeting: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream).lines();
    let Some(request) = lines.next().transpose()? else { return Ok(()) };
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let target = request.split(' ').nth(1).unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    println!("{request}");
    let (status, body, exit) = match path {
        "/" => ("200 OK", greeting.to_owned(), None),
        "/healthz" => ("200 OK", "ok\n".to_owned(), None),
        "/exit" => {
            let code = query.split('&').find_map(|pair| pair.strip_prefix("code=")).and_then(|code| code.parse().ok());
            let code: i32 = code.unwrap_or(0);
            ("200 OK", format!("exiting with {code}\n"), Some(code))
        }
        _ => ("404 Not Found", "not found\n".to_owned(), None),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()?;
    if let Some(code) = exit {
        std::process::exit(code);
    }
    Ok(())
}
