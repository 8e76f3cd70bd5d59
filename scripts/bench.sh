#!/usr/bin/env bash
# Figures, not a test: nothing fails because a machine is slow. Results as JSON in OUT.
# About 5 minutes; FULL=1 for half an hour. Other arguments go to godb-bench.
source "$(dirname "$0")/env.sh"
OUT="${OUT:-$CARGO_TARGET_DIR/bench.json}"
build_node release
"$CARGO" build --locked --package godb-bench --release
PEERS="$CARGO_TARGET_DIR/peers"
"$CARGO" build --locked --release --manifest-path tests/bench/peers/Cargo.toml --target-dir "$PEERS"
if [ -n "${FULL:-}" ]; then
  set -- --rounds 7 --seconds 3 "$@"
else
  set -- --rounds 3 --seconds 0.7 --million 200000 "$@"
fi
exec "$CARGO_TARGET_DIR/release/godb-bench" --dir "$CARGO_TARGET_DIR" --out "$OUT" \
  --peers "$PEERS/release/godb-peers" "$@"
