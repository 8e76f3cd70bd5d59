#!/usr/bin/env bash
# in.sh COMMAND...: runs it inside the cluster's namespaces, as its administrator, with kubectl, helm
# and ctr set up. Files are the machine's; the network is the cluster's: pods and services answer.
set -euo pipefail
source "$(dirname "$0")/paths.sh"

pid=$(cluster_pid) || die "there is no cluster; make cluster starts one"
[ -e "$LAB/ready" ] || die "the cluster is still starting, or did not: see $LAB/log"
if [ $# -eq 0 ]; then set -- "${SHELL:-/bin/bash}"; fi
enter=(env KUBECONFIG="$LAB/admin.kubeconfig" PATH="$PROGRAMS/bin:$PATH:/usr/sbin:/sbin"
  CONTAINERD_ADDRESS="$LAB/containerd/containerd.sock" CONTAINERD_NAMESPACE=k8s.io
  nsenter --target "$pid" "${NAMESPACES[@]}" --wd="$FROM" -- "$@")
if [ "$(id -u)" -eq 0 ]; then exec "${enter[@]}"; fi
exec sudo -n --preserve-env "${enter[@]}"
