#!/bin/bash
# A lab's node that is a machine: real systemd as PID 1, in namespaces of its own (e2e/systemdnode.py).
#
#   systemd-boot.sh start NETNS CGROUPS DISK LOWER HOSTNAME
#
# CGROUPS are directories, with a colon between them. DISK has upper/ and work/, outlives the boot, and must not be
# on the file system of / (overlayfs refuses an upper layer below its lower one). LOWER is what lies above /.
# Nothing is mounted where others see it: all of it goes with the last process.
set -euo pipefail
stage=$1 netns=$2 cgroups=$3 disk=$4 lower=$5 name=$6

if [[ $stage == start ]]; then
    IFS=: read -ra joined <<<"$cgroups"
    for cgroup in "${joined[@]}"; do echo $$ >"$cgroup/cgroup.procs"; done
    exec nsenter --net="$netns" unshare --pid --fork --mount --uts --ipc --cgroup --kill-child \
        bash "$0" init "${@:2}"
fi

mount --make-rprivate /
root=$disk/root
mount -t overlay node -o "lowerdir=$lower:/,upperdir=$disk/upper,workdir=$disk/work" "$root"

mount -t proc proc "$root/proc"
# The machine's switches are not this node's to turn; those of its network namespace are.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"

mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
for device in null zero full random urandom tty net/tun; do
    [[ -e /dev/$device ]] || continue
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${number%:*}" "$root/dev/${number#*:}"; done

for directory in /dev/shm /run /tmp; do mount -t tmpfs -o mode=1777,nosuid tmpfs "$root$directory"; done
chmod 755 "$root/run"
mkdir "$root/run/lock"

if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else # hybrid: systemd's own hierarchy, and those whose limits a unit sets
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    for kind in systemd unified pids cpu; do mkdir "$root/sys/fs/cgroup/$kind"; done
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o pids cgroup "$root/sys/fs/cgroup/pids"
    mount -t cgroup -o cpu cgroup "$root/sys/fs/cgroup/cpu"
    mount -o remount,ro "$root/sys/fs/cgroup"
fi

hostname "$name"
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
# systemd does this itself, except in what it takes for a container: what is mounted later reaches the units, too.
mount --make-rshared /
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin \
    /lib/systemd/systemd --system --log-target=journal --show-status=no </dev/null
