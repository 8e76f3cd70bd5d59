#!/usr/bin/env bash
# Builds every program of the test cluster from one Go module into the cache folder, once.
# Only package registries are needed: the Go module proxy and the Debian mirror.
set -euo pipefail
source "$(dirname "$0")/paths.sh"

need_packages runc:runc /usr/lib/cni/bridge:containernetworking-plugins nft:nftables ip:iproute2 \
  mkfs.xfs:xfsprogs openssl:openssl curl:curl nsenter:util-linux
command -v go >/dev/null || die "the test cluster is built with Go 1.26.6 or newer; there is no go in PATH"

mkdir -p "$PROGRAMS/bin" "$PROGRAMS/images"
exec 9>"$PROGRAMS/lock"
flock 9
# What is there was made from exactly this folder by exactly this compiler.
made_from=$( (go version; find "$HERE/go" "$HERE/build.sh" scripts/oci.sh -type f | sort | xargs cat) | sha256sum)
if [ "$(cat "$PROGRAMS/made-from" 2>/dev/null)" = "$made_from" ]; then exit; fi

say "building the test cluster's programs into $PROGRAMS (once: 12 minutes on 2 cores, 7 GB)"
export GOMODCACHE="$PROGRAMS/mod" GOCACHE="$PROGRAMS/build"
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly
cd "$HERE/go"

version() { go list -m -f '{{.Version}}' "$1"; }
kubernetes=$(version k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${kubernetes#v}"
v=k8s.io/component-base/version
flags="-s -w
  -X $v.gitVersion=$kubernetes -X $v.gitMajor=$major -X $v.gitMinor=$minor
  -X $v.gitTreeState=clean -X $v.gitCommit=$(printf '0%.0s' {1..40}) -X $v.buildDate=1970-01-01T00:00:00Z
  -X github.com/containerd/containerd/v2/version.Version=$(version github.com/containerd/containerd/v2)
  -X helm.sh/helm/v3/internal/version.version=$(version helm.sh/helm/v3)
  -X helm.sh/helm/v4/internal/version.version=$(version helm.sh/helm/v4)"
build() { # file or folder below bin, package...
  local out=$1
  shift
  go build -trimpath -buildvcs=false -tags no_btrfs,no_devmapper,no_zfs \
    -ldflags "${flags//$'\n'/ }" -o "$PROGRAMS/bin/$out" "$@"
}
# The module is frozen: one changed requirement may move a shared one, and everything compiles anew.
# So a tool that nobody uses (kwok) stays in go.mod and is left out here. Both helms are called helm.
mapfile -t tools < <(go list tool | grep -v -e '/cmd/helm$' -e '/cmd/kwok$' -e '^go.etcd.io/etcd/server/v3$')
build "" "${tools[@]}" ./coredns ./csi-loop ./pause
build etcd go.etcd.io/etcd/server/v3
build helm3 helm.sh/helm/v3/cmd/helm
build helm helm.sh/helm/v4/cmd/helm
mkdir -p "$PROGRAMS/crd"
rm -f "$PROGRAMS"/crd/*
snapshotter=$(go list -m -f '{{.Dir}}' github.com/kubernetes-csi/external-snapshotter/client/v8)
cp "$snapshotter"/config/crd/*snapshot.storage.k8s.io_*.yaml "$PROGRAMS/crd/"
chmod u+w "$PROGRAMS"/crd/*

cd "$ROOT"
scripts/oci.sh localhost/pause:1 "$PROGRAMS/images/pause.tar" 65535:65535 "$PROGRAMS/bin/pause" >/dev/null
printf '%s\n' "$made_from" >"$PROGRAMS/made-from"
