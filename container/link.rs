//! The build script: what the linker is told. It builds nothing.
//!
//! It is here and not in RUSTFLAGS, so that every build is linked alike: cargo's own, the benchmark's, the package's.

#![expect(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

use std::env;
use std::process::Command;

/// The first Rust whose own musl (1.2.5) relocates itself with packed relocations.
const MUSL_SINCE: u32 = 93;

fn main() {
    println!("cargo::rerun-if-changed=container/link.rs");
    println!("cargo::rerun-if-changed=container/seldom.ld");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|is| is == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") {
        return;
    }
    // Relative relocations in 6 kB instead of 280, all of which a start reads. glibc knows them since 2.36.
    if !is("CARGO_CFG_TARGET_ENV", "musl") || minor().is_some_and(|minor| minor >= MUSL_SINCE) {
        tell("-z,pack-relative-relocs");
    }
    // Apart from the rest, so that what never runs is not mapped with what does.
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{root}/container/seldom.ld");
}

/// The agent, and the floor that it is measured beside.
fn tell(option: &str) {
    println!("cargo::rustc-link-arg-bins=-Wl,{option}");
    println!("cargo::rustc-link-arg-examples=-Wl,{option}");
}

/// The 95 of Rust 1.95.
fn minor() -> Option<u32> {
    let version = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    String::from_utf8(version.stdout).ok()?.split('.').nth(1)?.parse().ok()
}
