//! The program `/steps` of the tests' image: plays its arguments, as `runtime::script` describes them, and a few more
//! that only a real process can: `listen=PORT`, `connect=PORT` (on 127.0.0.1), `env=NAME`, `cwd`, `hostname`, `ids`,
//! `cat=PATH`, `write=PATH`, `burn=MILLISECONDS` (of a processor).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
    fn isatty(descriptor: i32) -> i32;
    fn ioctl(descriptor: i32, request: u64, ...) -> i32;
}

/// Asks for a terminal's rows and columns.
const TIOCGWINSZ: u64 = 0x5413;

const SIGTERM: i32 = 15;
const SIG_IGN: usize = 1;

static ON_TERM: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_term(_: i32) {
    // SAFETY: async-signal-safe.
    unsafe { _exit(ON_TERM.load(Ordering::Relaxed)) }
}

fn main() {
    let steps: Vec<String> = std::env::args().skip(1).collect();
    let mut handler = on_term as extern "C" fn(i32) as usize;
    for step in &steps {
        match step.split_once('=') {
            Some(("on-term", code)) => ON_TERM.store(code.parse().unwrap_or(0), Ordering::Relaxed),
            None if step == "ignore-term" => handler = SIG_IGN,
            _ => {}
        }
    }
    // SAFETY: the handler only ends the process.
    unsafe { signal(SIGTERM, handler) };
    let mut code = 0;
    let mut forever = false;
    let mut listeners = Vec::new();
    for step in &steps {
        match step.split_once('=').unwrap_or((step, "")) {
            ("out", text) => println!("{text}"),
            ("err", text) => eprintln!("{text}"),
            ("sleep", millis) => std::thread::sleep(Duration::from_millis(millis.parse().unwrap_or(0))),
            ("exit", text) => code = text.parse().unwrap_or(0),
            ("forever", _) => forever = true,
            ("listen", port) => match TcpListener::bind(format!("0.0.0.0:{port}")) {
                Ok(listener) => listeners.push(listener),
                Err(error) => fail(format!("listen: {error}")),
            },
            ("connect", port) => {
                if let Err(error) = TcpStream::connect(format!("127.0.0.1:{port}")) {
                    fail(format!("connect: {error}"));
                }
            }
            ("serve", port) => match TcpListener::bind(format!("127.0.0.1:{port}")) {
                Ok(listener) => serve(listener),
                Err(error) => fail(format!("serve: {error}")),
            },
            ("copy", _) => {
                if let Err(error) = copy() {
                    fail(format!("copy: {error}"));
                }
            }
            // SAFETY: takes a number.
            ("terminal", _) => println!("{}", if unsafe { isatty(1) } == 1 { "terminal" } else { "no terminal" }),
            ("size", wanted) => await_size(wanted),
            ("burn", millis) => {
                let until = std::time::Instant::now() + Duration::from_millis(millis.parse().unwrap_or(0));
                while std::time::Instant::now() < until {}
            }
            ("env", name) => println!("{name}={}", std::env::var(name).unwrap_or_default()),
            ("cwd", _) => println!("{}", std::env::current_dir().unwrap_or_default().display()),
            ("hostname", _) => print!("{}", read("/proc/sys/kernel/hostname")),
            ("ids", _) => {
                let status = read("/proc/self/status");
                let line =
                    |key: &str| status.lines().find(|line| line.starts_with(key)).unwrap_or("").to_owned();
                println!("{} {} {}", line("Uid:"), line("Gid:"), line("Groups:"));
            }
            ("cat", path) => print!("{}", read(path)),
            ("write", path) => {
                if let Err(error) = std::fs::write(path, "written\n") {
                    fail(format!("write: {error}"));
                }
            }
            _ => {}
        }
        let _ignored = std::io::stdout().flush();
    }
    while forever {
        std::thread::park();
    }
    std::process::exit(code);
}

/// Sends back what it receives.
fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ignored = std::io::copy(&mut &connection, &mut &connection);
                let _ignored = connection.shutdown(std::net::Shutdown::Write);
            });
        }
    });
}

/// Input to output, at once.
fn copy() -> std::io::Result<()> {
    let (mut buffer, mut stdout) = ([0; 4096], std::io::stdout());
    loop {
        let n = std::io::stdin().read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        stdout.write_all(&buffer[..n])?;
        stdout.flush()?;
    }
}

/// Waits until the terminal has as many columns and rows.
fn await_size(wanted: &str) {
    for _ in 0..3000 {
        let mut size = [0u16; 4];
        // SAFETY: a `winsize` is four numbers of sixteen bits.
        unsafe { ioctl(1, TIOCGWINSZ, &raw mut size) };
        if format!("{}x{}", size[1], size[0]) == wanted {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    fail("the terminal never had this size".to_owned());
}

fn read(path: &str) -> String {
    let mut text = String::new();
    match std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => text,
        Err(error) => fail(format!("{path}: {error}")),
    }
}

fn fail(message: String) -> ! {
    eprintln!("{message}");
    std::process::exit(9)
}
