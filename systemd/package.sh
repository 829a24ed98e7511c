#!/usr/bin/env bash
# Makes the Debian package and prints where it is. Needs cargo-deb (cargo install --locked cargo-deb@3.8.0).
# Usage: systemd/package.sh [VERSION]     VERSION: in place of the one in Cargo.toml, such as 0.2.0-1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=$(container/static.sh)
target=$(basename "$(dirname "$(dirname "$binary")")")
rm -rf target/manual
# Of what is in the package, not of all that there is.
cargo run --quiet --locked --no-default-features --example manual -- target/manual >&2
# --no-strip: the release profile has done that.
# A folder of its own: cargo-deb removes other versions of the package from the one it writes to.
cargo deb --locked --no-build --no-strip --quiet --target "$target" --output "target/package/${1:-current}/" ${1:+--deb-version "$1"}
