#!/usr/bin/env bash
# image.sh [node] [operator]: image archives in $CARGO_TARGET_DIR/image, with no registry and no daemon.
# Each holds one static binary, runs as user 65532 and has nothing else inside. Prints file and digest.
source "$(dirname "$0")/env.sh"

if [ $# -eq 0 ]; then set -- node operator; fi
packages=() binaries=()
for part in "$@"; do
  case $part in
    node) packages+=(--package godb) binaries+=(godb) ;;
    operator) packages+=(--package godb-operator) binaries+=(godb-operator) ;;
    *) die "no image called $part: node, operator" ;;
  esac
done

# A target named, so that build scripts and macros are not static; what depends on the folder of the
# build is taken out of the binary, so that the same sources give the same digest anywhere.
target=$(rustc --print host-tuple)
flags="-C target-feature=+crt-static -C strip=symbols"
flags+=" --remap-path-prefix=$ROOT=/godb --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
flags+=" --remap-path-prefix=$CARGO_TARGET_DIR=/target"
env "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_RUSTFLAGS=$flags" \
  "$CARGO" build --locked --profile "${PROFILE:-release}" --target "$target" "${packages[@]}"

out="$CARGO_TARGET_DIR/image"
mkdir -p "$out"
for binary in "${binaries[@]}"; do
  built="$CARGO_TARGET_DIR/$target/${PROFILE:-release}/$binary"
  if readelf --program-headers "$built" | grep -q INTERP; then
    die "$built asks for a dynamic linker: an image without one cannot run it"
  fi
  digest=$(scripts/oci.sh "localhost/$binary:dev" "$out/$binary.tar" 65532:65532 "$built")
  printf '%s  localhost/%s:dev  %s  %s bytes\n' "$digest" "$binary" "$out/$binary.tar" "$(stat -c %s "$out/$binary.tar")"
done
