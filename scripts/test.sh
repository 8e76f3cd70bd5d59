#!/usr/bin/env bash
# Every check there is, or the parts named as arguments: fmt clippy deny tidy tests api chart cluster.
# All parts run even when one fails; the last line counts what passed and what failed.
source "$(dirname "$0")/env.sh"
source scripts/tools.sh

LOGS="$CARGO_TARGET_DIR/test-logs"
mkdir -p "$LOGS"
: >"$LOGS/parts"

fmt() { "$CARGO" fmt --all --check; }

clippy() { "$CARGO" clippy --locked --workspace --all-targets -- -D warnings; }

deny() { scripts/deny.sh; }

tidy() { "$CARGO" test --locked --no-fail-fast -p godb-tests --test repo; }

# Unit, model, crash-simulation, documentation and black-box tests of the whole workspace.
tests() {
  need_promtool
  need_s3_server
  build_node dev
  "$CARGO" test --locked --no-fail-fast
  # The same store with the locks of a scheduler that tries orders of its threads.
  "$CARGO" test --locked -p godb-store --lib --features shuttle interleavings
}

# The node's answers against its own description, by requests that schemathesis makes up.
api() { scripts/api.sh; }

# The Helm chart, as far as it can be tested without a cluster.
chart() { scripts/chart.sh; }

# A real Kubernetes on this machine, with our images, operator and chart in it.
cluster() {
  tests/cluster/lab/build.sh
  scripts/cluster-test.sh
}

# Passed and failed of a log: what its `test result:` lines say, or one for the part as a whole.
count() { # name, exit code, log
  awk -v rc="$2" '
    /^test result:/ { passed += $4; failed += $6; seen = 1 }
    END {
      if (!seen) { passed = rc == 0; failed = rc != 0 }
      else if (rc != 0 && failed == 0) failed = 1 # did not compile, or a test process died
      print passed + 0, failed + 0
    }' "$3"
}

part() {
  local name=$1 log="$LOGS/$1.log" started=$SECONDS rc=0
  say "$name"
  (set -e; "$name") >"$log" 2>&1 &
  local job=$!
  # What a person watching wants to see of it, as it comes.
  tail --pid="$job" --lines=+1 --follow "$log" | grep --line-buffered -E \
    '^(==|warning|error|schemathesis:)|^ +(Running|Doc-tests)|^test result|FAILED|panicked at|^Diff in' || true
  wait "$job" || rc=$?
  if [ "$rc" -ne 0 ]; then
    echo "-- $name failed; the end of $log:"
    tail -n 150 "$log"
  fi
  echo "$name $((SECONDS - started)) $(count "$name" "$rc" "$log")" >>"$LOGS/parts"
}

if [ $# -eq 0 ]; then set -- fmt clippy deny tests api chart cluster; fi
for name in "$@"; do
  case $name in
    fmt | clippy | deny | tidy | tests | api | chart | cluster) part "$name" ;;
    *) die "no part called $name" ;;
  esac
done

if [ -f "$LOGS/tests.log" ] && [[ " $* " == *" tests "* ]]; then
  say "tests by binary"
  awk '
    $1 == "Running" || $1 == "Doc-tests" { name = $0; sub(/^ +/, "", name); sub(/ \(.*deps\//, " (", name) }
    /^test result:/ { printf "%8s  %5d passed %4d failed  %s\n", $NF, $4, $6, name }' "$LOGS/tests.log"
fi
say "seconds by part"
awk '{ printf "%8d  %5d passed %4d failed  %s\n", $2, $3, $4, $1 }' "$LOGS/parts"
echo
awk '{ p += $3; f += $4 } END { printf "%d passed, %d failed\n", p, f; exit f != 0 }' "$LOGS/parts"
