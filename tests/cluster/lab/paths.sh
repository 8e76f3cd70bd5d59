# Sourced by the scripts beside it: where the cluster's programs and its state are.
FROM=$PWD
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
set -euo pipefail
source "$HERE/../../../scripts/env.sh"
source scripts/tools.sh

PROGRAMS="${GODB_CLUSTER_CACHE:-$CACHE/cluster}"
# One place for the whole machine: whoever starts a second cluster meets the first.
LAB=/var/lib/godb-cluster
# The names under which the kubelet keeps its control groups.
CGROUP=godb-cluster

# What keeps what happens in the cluster away from the machine, as nsenter and unshare name it.
NAMESPACES=(--net --mount --pid --uts --ipc)

# The process id of the cluster's first process, as the machine sees it, if it is alive.
cluster_pid() {
  local pid began
  read -r pid began 2>/dev/null <"$LAB/pid" || return 1
  [ "$(process_began "$pid")" = "$began" ] || return 1
  echo "$pid"
}

# When a process began, in clock ticks: with it, a process id means one process and no later one.
process_began() { sed 's/.*) //' 2>/dev/null <"/proc/$1/stat" | cut -d' ' -f20; }

# Again as root, unless we are.
become_root() {
  if [ "$(id -u)" -eq 0 ]; then return; fi
  exec sudo -n env PATH="$PATH" GODB_CLUSTER_CACHE="$PROGRAMS" \
    XDG_CACHE_HOME="$(dirname "$CACHE")" CARGO_TARGET_DIR="$CARGO_TARGET_DIR" "$@"
}
