#!/usr/bin/env bash
# Builds the image with buildah, from nothing and without a network: rallyhere-agent:VERSION, and :latest.
# Usage: container/build.sh [BINARY]      BINARY: a static one; without it container/static.sh builds it
#
# With docker: `container/build.sh --context DIR [BINARY]` only lays out DIR, then `docker build -f container/Containerfile DIR`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

context=
if [[ ${1:-} == --context ]]; then
    context=$2
    shift 2
fi
binary=${1:-$(container/static.sh)}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

lay_out() {
    local root=$1/rootfs owned=$1/owned
    install -D -m 755 "$binary" "$root/usr/bin/rallyhere-agent"
    install -d -m 755 "$root/etc" "$root/etc/rallyhere-agent"
    # Names for the numbers, for those who look.
    echo 'rallyhere-agent:x:65532:65532:RallyHere agent:/var/lib/rallyhere-agent:/usr/sbin/nologin' >"$root/etc/passwd"
    echo 'rallyhere-agent:x:65532:' >"$root/etc/group"
    # What local files say comes before DNS, for a binary with glibc in it.
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    install -d -m 755 "$root/run" "$root/var" "$root/var/lib"
    install -d -m 755 "$owned" "$owned/run" "$owned/var" "$owned/var/lib"
    install -d -m 750 "$owned/run/rallyhere-agent"
    # The agent refuses a state directory that others can look into.
    install -d -m 700 "$owned/var/lib/rallyhere-agent"
}

if [[ -n $context ]]; then
    lay_out "$context"
    exit
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
lay_out "$context"
# The format of Docker has a place for HEALTHCHECK; OCI's has none.
buildah build --isolation chroot --format docker --pull=never --tag "rallyhere-agent:$version" --tag rallyhere-agent:latest \
    --label org.opencontainers.image.version="$version" --label org.opencontainers.image.title=rallyhere-agent \
    --file container/Containerfile "$context"
