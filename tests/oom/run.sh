#!/usr/bin/env bash
# A game that the kernel kills for want of memory in cgroup v2, on a small machine of its own: Debian's cloud kernel under
# qemu, with init beside this file as process 1. Emulated, which takes half a minute: KVM within a virtual machine is often
# there and does not work.
# Usage: tests/oom/run.sh BINARY KERNEL SIMULATOR     a static rallyhere-agent, a vmlinuz with CONFIG_MEMCG and a serial console,
#                                                     and a rallyhere-agent with `simulate`, which may want libraries
set -euo pipefail
binary=$(realpath "$1")
kernel=$(realpath "$2")
simulator=$(realpath "$3")
cd "$(dirname "${BASH_SOURCE[0]}")"
limit=400s

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/root"/{bin,proc,sys,dev,run,etc}
install -m 755 init "$scratch/root/init"
install -m 755 "$binary" "$scratch/root/bin/rallyhere-agent"
strip -o "$scratch/root/bin/simulator" "$simulator"
while read -r library; do
    install -D -m 755 "$library" "$scratch/root$library"
done < <(ldd "$simulator" | grep -o '/[^ ]*')
install -m 755 "$(command -v busybox)" "$scratch/root/bin/busybox"
ln -s busybox "$scratch/root/bin/sh"
echo '127.0.0.1 localhost' >"$scratch/root/etc/hosts"
(cd "$scratch/root" && find . | busybox cpio --quiet -o -H newc) >"$scratch/initrd"

# panic=-1 with -no-reboot: a kernel that gives up ends the machine.
timeout --kill-after=5s "$limit" qemu-system-x86_64 -accel tcg -cpu qemu64 -smp 1 -m 768 -nodefaults -no-user-config \
    -no-reboot -display none -serial stdio -kernel "$kernel" -initrd "$scratch/initrd" \
    -append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all psi=1" </dev/null | tee "$scratch/console" | sed -u 's,\r,,' || true
grep -q '^OOM: PASSED' "$scratch/console" || { echo "the machine did not come to the end" >&2; exit 1; }
