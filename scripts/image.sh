#!/usr/bin/env bash
# image.sh [node] [operator]: image archives in $CARGO_TARGET_DIR/image, with no registry and no daemon.
# Each holds one static binary, runs as user 65532 and has nothing else inside. Prints digest and file.
source "$(dirname "$0")/env.sh"

if [ $# -eq 0 ]; then set -- node operator; fi
scripts/static.sh "$@"
mkdir -p "$CARGO_TARGET_DIR/image"
for part in "$@"; do
  binary=godb
  if [ "$part" = operator ]; then binary=godb-operator; fi
  file="$CARGO_TARGET_DIR/image/$binary.tar"
  digest=$(scripts/oci.sh "localhost/$binary:dev" "$file" 65532:65532 "$CARGO_TARGET_DIR/static/$binary")
  printf '%s  localhost/%s:dev  %s  %s bytes\n' "$digest" "$binary" "$file" "$(stat -c %s "$file")"
done
