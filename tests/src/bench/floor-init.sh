#!/bin/sh
# PID 1 of the benchmark's floor: the mounts dockerd cannot do without, containerd, dockerd, the probe.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec 2>/dev/ttyS0
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /mnt/vda /var/lib/docker /run/containerd
mount -t devpts devpts /dev/pts
mount -t ext4 /dev/vda /mnt/vda
mount --bind /mnt/vda/var/lib/docker /var/lib/docker
/mnt/vda/var/lib/boot2docker/bench/probe &
containerd --config /etc/containerd/config.toml >/run/containerd.log 2>&1 &
dockerd --containerd /run/containerd/containerd.sock --host unix:///var/run/docker.sock >/run/docker.log 2>&1 &
while :; do wait; sleep 86400; done
