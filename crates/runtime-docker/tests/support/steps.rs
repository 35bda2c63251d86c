//! The program `/steps` of the tests' image: plays its arguments, as `runtime::script` describes them, and a few more
//! that only a real process can: `listen=PORT`, `connect=PORT` (on 127.0.0.1), `env=NAME`, `cwd`, `hostname`, `ids`,
//! `cat=PATH`, `write=PATH`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
}

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
