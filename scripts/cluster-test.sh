#!/usr/bin/env bash
# cluster-test.sh [NAME...]: the end-to-end tests on a real cluster, or those whose names contain NAME.
# Takes the cluster that is up; starts one and ends it again if there is none.
source "$(dirname "$0")/env.sh"
source scripts/tools.sh
lab=tests/cluster/lab

seconds=$SECONDS
timed() { # what
  say "$((SECONDS - seconds)) s: $1"
  seconds=$SECONDS
}
scripts/image.sh
timed "images of node and operator"
need_s3_server
package=(--locked --package godb-cluster-tests --test cluster)
"$CARGO" test --no-run "${package[@]}"
timed "test program"
if ! $lab/in.sh true 2>/dev/null; then
  trap '$lab/stop.sh' EXIT
  $lab/start.sh
  timed "cluster"
fi
$lab/load.sh "$CARGO_TARGET_DIR"/image/godb{,-operator}.tar
failed=0
if [ $# -eq 0 ]; then
  for helm in helm3 helm; do
    $lab/in.sh tests/chart/lifecycle.sh "$helm" || failed=1
    timed "life of a release under $helm"
  done
fi
# The test program itself runs inside of the cluster's namespaces; how many tests at once is a
# question of memory and of what else they measure.
runner="CARGO_TARGET_$(rustc --print host-tuple | tr a-z- A-Z_)_RUNNER"
GODB_IMAGES="$CARGO_TARGET_DIR/image" env "$runner=$ROOT/$lab/in.sh" \
  "$CARGO" test "${package[@]}" -- --test-threads "${CLUSTER_TEST_THREADS:-3}" --show-output "$@" || failed=1
timed "tests"
exit $failed
