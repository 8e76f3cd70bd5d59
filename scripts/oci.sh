#!/usr/bin/env bash
# oci.sh NAME OUT.tar USER FILE...: an image archive with the files in /, the first one its entrypoint;
# made without a registry and without a daemon. The same files give the same bytes.
# It is both an OCI layout (skopeo, podman, ctr, nerdctl) and what `docker load` has always read.
set -euo pipefail
name=$1 out=$2 user=$3
shift 3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/files" "$work/image/blobs/sha256"
install -m 0755 "$@" "$work/files/"
archive() { tar --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" "${@:3}"; }
archive "$work/files" "$work/layer" $(ls "$work/files")

blob() { # file: moves it among the blobs, prints its digest
  local digest
  digest=$(sha256sum <"$1" | cut -d' ' -f1)
  mv "$1" "$work/image/blobs/sha256/$digest"
  echo "$digest"
}
size() { stat -c %s "$work/image/blobs/sha256/$1"; }
case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) architecture=$(uname -m) ;;
esac
manifest_type=application/vnd.oci.image.manifest.v1+json
entrypoint=/$(basename "$1")

layer=$(blob "$work/layer")
cat >"$work/config" <<END
{"architecture":"$architecture","os":"linux","config":{"User":"$user","Entrypoint":["$entrypoint"]},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
END
config=$(blob "$work/config")
cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"$manifest_type","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$(size "$config")},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:$layer","size":$(size "$layer")}]}
END
manifest=$(blob "$work/manifest")
cat >"$work/image/index.json" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"$manifest_type","digest":"sha256:$manifest","size":$(size "$manifest"),"annotations":{"io.containerd.image.name":"$name","org.opencontainers.image.ref.name":"${name##*:}"}}]}
END
cat >"$work/image/manifest.json" <<END
[{"Config":"blobs/sha256/$config","RepoTags":["$name"],"Layers":["blobs/sha256/$layer"]}]
END
echo '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
archive "$work/image" "$out.part" oci-layout index.json manifest.json blobs
mv "$out.part" "$out"
echo "sha256:$manifest"
