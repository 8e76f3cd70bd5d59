#!/usr/bin/env bash
# The crash tests of `make test`, for longer and with the release binary. A failing run prints its
# seed; SEED=… runs it again.
source "$(dirname "$0")/env.sh"
export GODB_TEST_ROUNDS="${ROUNDS:-200}"
export GODB_TEST_SEED="${SEED:-$RANDOM$RANDOM}"
echo "ROUNDS=$GODB_TEST_ROUNDS SEED=$GODB_TEST_SEED"
build_node release
"$CARGO" test --locked --release -p godb-tests --test node -- --nocapture kill9 shutdown
"$CARGO" test --locked --release -p godb-store --test main -- --nocapture
