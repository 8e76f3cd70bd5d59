#!/usr/bin/env bash
# The crash tests of `make test`, for longer and with the release binary. A failing run prints its
# seed; SEED=… runs it again. PARTS="kills cuts faults damage" chooses.
source "$(dirname "$0")/env.sh"
export GODB_TEST_ROUNDS="${ROUNDS:-200}"
export GODB_TEST_SEED="${SEED:-$RANDOM$RANDOM}"
export GODB_POWERCUT_ROUNDS="$GODB_TEST_ROUNDS"
export GODB_ISOLATION_ROUNDS="$GODB_TEST_ROUNDS"
export GODB_POWERCUT_SEED="$GODB_TEST_SEED"
trap 'rc=$?; [ $rc -eq 0 ] || echo "failed; again: ROUNDS=$GODB_TEST_ROUNDS SEED=$GODB_TEST_SEED make torture"; exit $rc' EXIT
started=$SECONDS
echo "ROUNDS=$GODB_TEST_ROUNDS SEED=$GODB_TEST_SEED"

# kill -9, SIGTERM and isolation on the real binary.
kills() {
  build_node release
  "$CARGO" test --locked --release -p godb-tests --test node -- --nocapture kill9 shutdown isolation
}

# Power cuts at every call, store and engine; the last line adds them up.
cuts() {
  local log="$CARGO_TARGET_DIR/torture-cuts.log"
  {
    "$CARGO" test --locked --release -p godb-store --test store -- --nocapture
    "$CARGO" test --locked --release -p godb-engine --test engine -- --nocapture powercut
  } 2>&1 | tee "$log"
  awk '/^power cuts/ { for (i = 2; i <= NF; i++) { if ($i == "cuts" && $(i + 1) == "in") { n += $(i - 1); s += $(i + 2) } } }
    END { printf "power cuts: %d in %.0f s of one thread, %.0f/s, 0 failures\n", n, s, n / (s ? s : 1) }' "$log"
}

# Every call of the same workloads fails, in every way; the last line adds them up.
faults() {
  local log="$CARGO_TARGET_DIR/torture-faults.log"
  GODB_FAULT_ROUNDS="${FAULT_ROUNDS:-1}" \
    "$CARGO" test --locked --release -p godb-store --test store -- --nocapture every_call:: 2>&1 | tee "$log"
  awk '/^failing calls/ { for (i = 2; i <= NF; i++) { if ($i == "calls" && $(i + 1) == "in") { n += $(i - 1); s += $(i + 2) } } }
    END { printf "failing calls: %d in %.0f s of one thread, %.0f/s, 0 failures\n", n, s, n / (s ? s : 1) }' "$log"
}

# Damaged files, and repairs of some.
damage() {
  GODB_DAMAGE_CASES="${CASES:-10000}" GODB_DAMAGE_SEED="$GODB_TEST_SEED" \
    "$CARGO" test --locked --release -p godb-store --test damage -- --nocapture
  GODB_REPAIR_CASES=1000 GODB_DAMAGE_SEED="$GODB_TEST_SEED" \
    "$CARGO" test --locked --release -p godb-engine --test engine -- --nocapture repair
}

for part in ${PARTS:-kills cuts faults damage}; do
  case $part in
    kills | cuts | faults | damage) say "$part"; "$part" ;;
    *) die "no part called $part" ;;
  esac
done
echo "all parts in $((SECONDS - started)) s, SEED=$GODB_TEST_SEED: nothing lost"
