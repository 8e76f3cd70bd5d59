#!/usr/bin/env bash
# Figures, not a test: nothing fails because a machine is slow. Results as JSON in OUT.
source "$(dirname "$0")/env.sh"
OUT="${OUT:-$CARGO_TARGET_DIR/bench.json}"
build_node release
"$CARGO" build --locked --package godb-bench --release
exec "$CARGO_TARGET_DIR/release/godb-bench" --dir "$CARGO_TARGET_DIR" --out "$OUT" "$@"
