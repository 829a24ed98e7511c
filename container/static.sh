#!/usr/bin/env bash
# Builds the program as one static binary, for the package and the image, and prints where it is. It has all but `demo` and
# `simulate`.
# Usage: container/static.sh
#
# With musl where the toolchain has it (rustup target add x86_64-unknown-linux-musl; Debian's musl-tools for the C in it), else
# with glibc: what glibc looks up by name is built in since 2.34. RALLYHERE_STATIC=musl or =gnu says which it must be.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

machine=$(uname -m)
kind=${RALLYHERE_STATIC:-}
if [[ -z $kind ]]; then
    kind=gnu
    if [[ -d $(rustc --print sysroot)/lib/rustlib/$machine-unknown-linux-musl/lib ]] && command -v musl-gcc >/dev/null; then
        kind=musl
    fi
fi
target=$machine-unknown-linux-$kind
if [[ $kind == gnu ]]; then
    export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static"
fi
# Smaller by 340 kB of 6.9 MB together. With frame pointers the tables for unwinding are a quarter smaller, for they say little but
# that there is one. LLVM lays the blocks of a function out by size, makes small jump tables into comparisons, and compiles std's
# functions for size as well. These are options of LLVM's own, which come and go with its versions.
flags="-C force-frame-pointers=yes"
for option in -apply-ext-tsp-for-size -min-jump-table-entries=8 -force-attribute=minsize; do
    if rustc --print cfg -C "llvm-args=$option" >/dev/null 2>&1; then
        flags+=" -C llvm-args=$option"
    fi
done
export RUSTFLAGS="${RUSTFLAGS:-} $flags"
# The simulated environment is for development: it is a twelfth of the program.
cargo build --locked --release --no-default-features --target "$target" --bin rallyhere-agent >&2

binary=${CARGO_TARGET_DIR:-target}/$target/release/rallyhere-agent
# Nothing to be loaded: the image has no other file.
if LC_ALL=C readelf --program-headers "$binary" | grep -q INTERP; then
    echo "$binary is not static" >&2
    exit 1
fi
echo "$binary"
