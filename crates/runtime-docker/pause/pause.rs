//! The program of a pod's sandbox: waits, collects children, ends on SIGTERM or SIGINT. As `/pause connect PORT`, run in
//! the sandbox besides: connects to that port of localhost, writes a zero byte, then passes bytes on between the
//! connection and its input and output; ends with the number of the error if it cannot connect.
//!
//! Contract: no library, no allocation; a few kilobytes on disk and one page of stack while it waits. As process 1 of a shared pid
//! namespace it reaps what it inherits. The signals are blocked and waited for, which also works for process 1,
//! where the kernel drops unblocked signals that have no handler.
//!
//! Not here: how it is built (`build.rs`) and loaded into the engine (`src/pause.rs`).

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(2)
}

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {main}", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x0, sp", "bl {main}", main = sym main);

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SHUTDOWN: usize = 48;
    pub const CLONE: usize = 56;
    pub const KILL: usize = 62;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const SHUTDOWN: usize = 210;
    pub const CLONE: usize = 220;
    pub const KILL: usize = 129;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const WAIT4: usize = 260;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const EXIT_GROUP: usize = 94;
}

const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;
const SIGSET_BYTES: usize = 8;

/// One system call.
///
/// # Safety
/// The arguments must be valid for the call.
#[cfg(target_arch = "x86_64")]
unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the kernel's calling convention; rcx and r11 are its to change.
    unsafe {
        asm!("syscall", inlateout("rax") n => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// One system call.
///
/// # Safety
/// The arguments must be valid for the call.
#[cfg(target_arch = "aarch64")]
unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the kernel's calling convention.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, options(nostack));
    }
    result
}

fn exit(code: usize) -> ! {
    loop {
        // SAFETY: takes a number.
        unsafe { syscall(number::EXIT_GROUP, code, 0, 0, 0) };
    }
}

/// `stack` is what the kernel has put there: the number of arguments, then the arguments.
extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the kernel's layout; the arguments are strings that end with a zero byte.
    let (count, arguments) = unsafe { (*stack, stack.add(1)) };
    if count == 3 {
        // SAFETY: there are three.
        connect(unsafe { port(*arguments.add(2) as *const u8) });
    }
    wait()
}

/// # Safety
/// A string that ends with a zero byte.
unsafe fn port(mut text: *const u8) -> u16 {
    let mut port = 0u16;
    // SAFETY: not beyond the zero byte.
    unsafe {
        while *text != 0 {
            port = port.wrapping_mul(10).wrapping_add((*text).wrapping_sub(b'0') as u16);
            text = text.add(1);
        }
    }
    port
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: usize = 1;
const SHUT_WR: usize = 1;
const SIGKILL: usize = 9;

fn connect(port: u16) -> ! {
    // Family, port, then of IPv4 the address; of IPv6 the flow, the address and the scope.
    let mut address = [0u8; 28];
    address[..2].copy_from_slice(&AF_INET.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    let socket = match open(AF_INET, &address, 16) {
        Ok(socket) => socket,
        Err(error) => {
            address[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
            address[4..8].copy_from_slice(&[0; 4]);
            address[23] = 1;
            open(AF_INET6, &address, 28).unwrap_or_else(|_| exit(error))
        }
    };
    if !write(1, &[0]) {
        exit(0);
    }
    // SAFETY: as fork: the child goes on with a copy of this stack.
    let child = unsafe { syscall(number::CLONE, SIGCHLD as usize, 0, 0, 0) };
    if child == 0 {
        copy(0, socket);
        // SAFETY: takes numbers.
        unsafe { syscall(number::SHUTDOWN, socket, SHUT_WR, 0, 0) };
        exit(0);
    }
    copy(socket, 1);
    if child > 0 {
        // SAFETY: takes numbers.
        unsafe { syscall(number::KILL, child as usize, SIGKILL, 0, 0) };
    }
    exit(0)
}

/// A connected socket, or the number of the error.
fn open(family: u16, address: &[u8; 28], length: usize) -> Result<usize, usize> {
    // SAFETY: takes numbers.
    let socket = unsafe { syscall(number::SOCKET, family as usize, SOCK_STREAM, 0, 0) };
    if socket < 0 {
        return Err(socket.unsigned_abs());
    }
    // SAFETY: the address lives during the call and is as long as that.
    let outcome = unsafe { syscall(number::CONNECT, socket as usize, address.as_ptr() as usize, length, 0) };
    if outcome < 0 { Err(outcome.unsigned_abs()) } else { Ok(socket as usize) }
}

/// Until there is no more, or nobody takes it.
fn copy(from: usize, to: usize) {
    let mut buffer = [0u8; 16 * 1024];
    loop {
        // SAFETY: the buffer lives during the call and is as long as that.
        let n = unsafe { syscall(number::READ, from, buffer.as_mut_ptr() as usize, buffer.len(), 0) };
        if n <= 0 || !buffer.get(..n as usize).is_some_and(|read| write(to, read)) {
            return;
        }
    }
}

fn write(to: usize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: the bytes live during the call and are as many as that.
        let n = unsafe { syscall(number::WRITE, to, bytes.as_ptr() as usize, bytes.len(), 0) };
        if n <= 0 {
            return false;
        }
        bytes = bytes.get(n as usize..).unwrap_or_default();
    }
    true
}

fn wait() -> ! {
    let set: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);
    let signals = &raw const set as usize;
    // SAFETY: `set` lives for the whole program and has the size that is given.
    unsafe { syscall(number::RT_SIGPROCMASK, SIG_BLOCK, signals, 0, SIGSET_BYTES) };
    loop {
        // SAFETY: as above; no information and no time limit are asked for.
        match unsafe { syscall(number::RT_SIGTIMEDWAIT, signals, 0, 0, SIGSET_BYTES) } {
            SIGINT | SIGTERM => exit(0),
            SIGCHLD => {
                // SAFETY: no status and no usage are asked for.
                while unsafe { syscall(number::WAIT4, usize::MAX, 0, WNOHANG, 0) } > 0 {}
            }
            _ => {}
        }
    }
}
