#!/usr/bin/env bash
# The crash tests of `make test`, for longer and with the release binary. A failing run prints its
# seed; SEED=… runs it again.
source "$(dirname "$0")/env.sh"
export GODB_TEST_ROUNDS="${ROUNDS:-200}"
export GODB_TEST_SEED="${SEED:-$RANDOM$RANDOM}"
export GODB_POWERCUT_ROUNDS="$GODB_TEST_ROUNDS"
export GODB_ISOLATION_ROUNDS="$GODB_TEST_ROUNDS"
export GODB_POWERCUT_SEED="$GODB_TEST_SEED"
trap 'rc=$?; [ $rc -eq 0 ] || echo "failed; again: ROUNDS=$GODB_TEST_ROUNDS SEED=$GODB_TEST_SEED make torture"; exit $rc' EXIT
started=$SECONDS
echo "ROUNDS=$GODB_TEST_ROUNDS SEED=$GODB_TEST_SEED"
build_node release
"$CARGO" test --locked --release -p godb-tests --test node -- --nocapture kill9 shutdown isolation
"$CARGO" test --locked --release -p godb-store --test store -- --nocapture
echo "$((2 * GODB_TEST_ROUNDS)) rounds of kill -9, $GODB_POWERCUT_ROUNDS of power cuts and $GODB_ISOLATION_ROUNDS of isolation at each level in $((SECONDS - started)) s, SEED=$GODB_TEST_SEED: nothing lost"
