#!/usr/bin/env bash
# load.sh FILE...: puts image archives into the cluster's container runtime, as a registry would.
set -euo pipefail
source "$(dirname "$0")/paths.sh"

if [ $# -eq 0 ]; then die "which image? make cluster-load IMAGE=file"; fi
for archive in "$@"; do
  case $archive in /*) ;; *) archive="$FROM/$archive" ;; esac
  [ -f "$archive" ] || die "no such file: $archive"
  # containerd says at each call that cgroup v1 will go.
  "$HERE/in.sh" ctr images import --local "$archive" 2> >(grep -v 'level=warning' >&2)
done
# Under the names that a registry would have them by: what the chart asks for if nothing is said.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
for name in godb godb-operator; do
  if "$HERE/in.sh" ctr images ls --quiet 2>/dev/null | grep -qx "localhost/$name:dev"; then
    "$HERE/in.sh" ctr images tag --force "localhost/$name:dev" "ghcr.io/godb/$name:$version" >/dev/null 2>&1
  fi
done
