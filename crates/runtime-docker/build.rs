//! Compiles `pause/pause.rs` to a tiny static program, which the crate carries in itself.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=pause/pause.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("pause");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let mut rustc = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    rustc.args(["--edition=2024", "--crate-type=bin", "--crate-name=pause", "--target", &target]);
    rustc.args(["-Copt-level=z", "-Cpanic=abort", "-Cstrip=symbols", "-Crelocation-model=static"]);
    rustc.args(["-Ctarget-feature=+crt-static"]);
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none,-z,noseparate-code"] {
        rustc.arg(format!("-Clink-arg={argument}"));
    }
    // The linker that cargo was told to use for this target, if any.
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    let status = rustc.arg("-o").arg(&out).arg("pause/pause.rs").status().expect("rustc can be run");
    assert!(status.success(), "the pause program does not compile for {target}");
    let size = fs::metadata(&out).expect("rustc wrote the program").len();
    assert!(size < 64 * 1024, "the pause program has grown to {size} bytes");
}
