#!/usr/bin/env bash
# static.sh [node] [operator]: binaries that need nothing beside them, in $CARGO_TARGET_DIR/static.
# PROFILE=dev builds faster. The same sources give the same bytes, whatever folder they lie in.
source "$(dirname "$0")/env.sh"

if [ $# -eq 0 ]; then set -- node operator; fi
# With the target named, build scripts and macros are not static, and the builds of the tests stay.
target=$(rustc --print host-tuple)
profile=${PROFILE:-release}
folder=$profile
if [ "$profile" = dev ]; then folder=debug; fi
flags="-C target-feature=+crt-static -C strip=symbols"
flags+=" --remap-path-prefix=$ROOT=/godb --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
flags+=" --remap-path-prefix=$CARGO_TARGET_DIR=/target"
mkdir -p "$CARGO_TARGET_DIR/static"
for part in "$@"; do
  case $part in
    node) package=godb binary=godb ;;
    operator) package=path+file://$ROOT/operator binary=godb-operator ;;
    *) die "nothing called $part: node, operator" ;;
  esac
  # One at a time: together they would share the features of their dependencies, and a binary would
  # depend on what else was asked for.
  env "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_RUSTFLAGS=$flags" \
    "$CARGO" build --locked --profile "$profile" --target "$target" --package "$package" --bin "$binary"
  built="$CARGO_TARGET_DIR/$target/$folder/$binary"
  if readelf --program-headers "$built" | grep -q INTERP; then
    die "$built asks for a dynamic linker: an image without one cannot run it"
  fi
  cp "$built" "$CARGO_TARGET_DIR/static/$binary"
done
