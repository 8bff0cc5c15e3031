#!/bin/sh
# Makes a Debian root the whole file system of this mount namespace, and runs a command in it.
#
#   unshare --mount --pid --fork --kill-child enter-root.sh ROOT WORK COMMAND…
#
# All mounts belong to the namespace and go with its last process, so there is nothing to unmount afterwards. The root
# itself is read-only: whatever happens to a run, the next one finds it as it was made. WORK has the same path inside
# as outside.
set -eu
root=$1 work=$2
shift 2

mount --make-rprivate /
# runc cannot pivot_root out of a root that is no mount of its own.
mount --bind "$root" "$root"
mkdir -p "$root$work" "$root/etc/docker" "$root/var/lib/docker"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
for folder in etc/docker root run tmp; do mount -t tmpfs tmpfs "$root/$folder"; done
mount --bind "$work" "$root$work"
# The snapshotter is overlayfs, which does not go on a tmpfs or another overlay.
mount --bind "$work/docker" "$root/var/lib/docker"
cp "$work/daemon.json" "$root/etc/docker/daemon.json"
mount -o remount,bind,ro "$root"

mkdir "$root/run/host"
cd "$root"
pivot_root . run/host
umount -l /run/host
rmdir /run/host
exec "$@"
