# Boots systemd as process 1 of namespaces of its own, on a root made of this host's /usr and directories of its own.
# Usage: boot.sh DIRECTORY      as root, in fresh mount, pid, cgroup, net, ipc and uts namespaces; does not return
#
# What is written to /usr and to dpkg's database goes into layers below DIRECTORY. The host sees none of it.
set -eu
place=$1
root=$place/root
old=$root/old

mkdir -p "$root" "$old" "$place/usr" "$place/usr.work" "$place/dpkg" "$place/dpkg.work"
for link in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$link" ]; then ln -sfn "$(readlink "/$link")" "$root/$link"; fi
done
for directory in usr etc/systemd/system etc/apt var/lib/dpkg var/lib/apt/lists/partial var/cache/apt/archives/partial \
    var/log/apt var/tmp run tmp proc sys dev root home srv; do
    mkdir -p "$root/$directory"
done
chmod 1777 "$root/tmp" "$root/var/tmp"
for file in passwd group shadow gshadow nsswitch.conf ld.so.conf ld.so.conf.d ld.so.cache pam.d security login.defs \
    alternatives dpkg debian_version os-release ssl; do
    if [ -e "/etc/$file" ]; then cp -a "/etc/$file" "$root/etc/"; fi
done
: >"$root/etc/machine-id"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
echo machine >"$root/etc/hostname"
# Enough for units: no logins, no consoles, nothing else that this host has installed.
ln -sfn /usr/lib/systemd/system/basic.target "$root/etc/systemd/system/default.target"

mount --make-rprivate /
mount --bind "$root" "$root"
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$place/usr,workdir=$place/usr.work" "$root/usr"
# A builder's image forbids its packages to start anything; this is a host.
rm -f "$root/usr/sbin/policy-rc.d"
mount -t overlay overlay -o "lowerdir=/var/lib/dpkg,upperdir=$place/dpkg,workdir=$place/dpkg.work" "$root/var/lib/dpkg"
mount -t proc proc "$root/proc"
# These belong to the whole host.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0 1 2; do
    case $number in 0) name=stdin ;; 1) name=stdout ;; 2) name=stderr ;; esac
    ln -s "/proc/self/fd/$number" "$root/dev/$name"
done
mount -t tmpfs -o mode=755 tmpfs "$root/run"

cd "$root"
pivot_root . old
umount -l /old
# As the kernel's boot leaves it: credentials of services are mounted in a namespace and travel from there.
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --system --log-target=journal
