#!/usr/bin/env bash
# Starts a one-node Kubernetes cluster in namespaces of its own: nothing in it can reach another
# machine, and the end of its first process is the end of every server, container and mount in it.
set -euo pipefail
source "$(dirname "$0")/paths.sh"

"$HERE/build.sh"
become_root "$HERE/start.sh"
if pid=$(cluster_pid); then
  die "a cluster is up already, and a machine has room for one: process $pid, $(cat "$LAB/who" 2>/dev/null).
  Use it (make cluster-shell) or end it (make cluster-down)"
fi
[ -d /sys/fs/cgroup/cpuset ] || [ -f /sys/fs/cgroup/cgroup.controllers ] ||
  die "no control groups below /sys/fs/cgroup: the kubelet needs them"
"$HERE/stop.sh" >/dev/null # what a machine that lost its power left behind

mkdir -p "$LAB/log"
chmod 0755 "$LAB"
echo "started $(date '+%F %T') from $ROOT" >"$LAB/who"
cat /proc/sys/vm/overcommit_memory /proc/sys/kernel/panic /proc/sys/kernel/panic_on_oops >"$LAB/sysctl"
# The cluster outlives whoever called, so it takes along nothing that the caller holds open: a lock,
# a pipe that somebody reads to its end.
for fd in /proc/$$/fd/*; do
  fd=${fd##*/}
  if [ "$fd" -gt 2 ] && [ "$fd" -ne 255 ]; then eval "exec $fd>&-"; fi
done
say "starting the cluster"
LAB=$LAB PROGRAMS=$PROGRAMS CGROUP=$CGROUP PATH="$PROGRAMS/bin:$PATH:/usr/sbin:/sbin" \
  setsid unshare "${NAMESPACES[@]}" --fork --kill-child --mount-proc \
  bash "$HERE/init.sh" </dev/null >"$LAB/log/init.log" 2>&1 &
unshare=$!
for _ in $(seq 50); do
  pid=$(tr -d ' ' 2>/dev/null <"/proc/$unshare/task/$unshare/children" || true)
  if [ -n "$pid" ]; then break; fi
  sleep 0.1
done
if [ -z "$pid" ]; then
  cat "$LAB/log/init.log" >&2
  die "no namespaces could be made (unshare ${NAMESPACES[*]}): this needs root with CAP_SYS_ADMIN"
fi
echo "$pid $(process_began "$pid")" >"$LAB/pid"
trap 'echo "error: the start was cut off; what there is of the cluster is ended" >&2; "$HERE/stop.sh"' EXIT

# Each step is printed as it is done. init.sh writes "ready" as the last.
shown=0
for _ in $(seq 1200); do
  total=0
  if [ -e "$LAB/log/steps" ]; then total=$(wc -l <"$LAB/log/steps"); fi
  if [ "$total" -gt "$shown" ]; then
    sed -n "$((shown + 1)),${total}p" "$LAB/log/steps"
    shown=$total
  fi
  if [ -e "$LAB/ready" ]; then break; fi
  if ! cluster_pid >/dev/null; then
    tail -n 30 "$LAB/log/init.log" >&2
    tail -n 5 "$LAB"/log/*.log >"$LAB.log" 2>&1 || true
    "$HERE/stop.sh" >/dev/null
    trap - EXIT
    die "the cluster did not start; the ends of all its logs are in $LAB.log"
  fi
  sleep 0.1
done
trap - EXIT
[ -e "$LAB/ready" ] || die "not ready after 120 s; the logs are in $LAB/log, make cluster-down ends it"
cat <<END

The cluster is up. A shell inside, with kubectl and helm set up:

  make cluster-shell
END
