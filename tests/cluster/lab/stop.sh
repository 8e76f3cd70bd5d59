#!/usr/bin/env bash
# Ends the cluster and removes all that it was. Its volumes and their data go with it.
set -euo pipefail
source "$(dirname "$0")/paths.sh"

become_root "$HERE/stop.sh"
if pid=$(cluster_pid); then
  kill -KILL "$pid" # the first process of its namespace: all others go with it
  for _ in $(seq 300); do
    if ! cluster_pid >/dev/null; then break; fi
    sleep 0.1
  done
  if cluster_pid >/dev/null; then die "process $pid does not end"; fi
  echo "the cluster is down"
else
  echo "there is no cluster"
fi
for groups in /sys/fs/cgroup/*/"$CGROUP" /sys/fs/cgroup/"$CGROUP"; do
  if [ -d "$groups" ]; then find "$groups" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
done
# Volumes are loop devices, which a machine has only once; the kernel lets go of them with the mounts.
for _ in $(seq 50); do
  if ! losetup --list --noheadings --output BACK-FILE | grep -q "^$LAB/"; then break; fi
  sleep 0.1
done
if [ -e "$LAB/sysctl" ]; then # the kubelet sets these for the whole machine
  { read -r overcommit; read -r panic; read -r oops; } <"$LAB/sysctl"
  echo "$overcommit" >/proc/sys/vm/overcommit_memory
  echo "$panic" >/proc/sys/kernel/panic
  echo "$oops" >/proc/sys/kernel/panic_on_oops
fi
rm -rf "$LAB"
