//! The program of a pod's sandbox: waits, collects children, ends on SIGTERM or SIGINT.
//!
//! Contract: no library, no allocation; a few kilobytes on disk and one page of stack. As process 1 of a shared pid
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
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "bl {main}", main = sym main);

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod number {
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

extern "C" fn main() -> ! {
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
