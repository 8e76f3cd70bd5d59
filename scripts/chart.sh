#!/usr/bin/env bash
# chart.sh: lint, render and unit tests of charts/godb under Helm 3 and 4. No cluster is needed.
# chart.sh docs: writes what is generated in charts/godb anew: schema, README, snapshots.
source "$(dirname "$0")/env.sh"
source scripts/tools.sh

tests/cluster/lab/build.sh # Helm 3 and 4 are among its programs
PROGRAMS="${GODB_CLUSTER_CACHE:-$CACHE/cluster}"
need_chart_tools
export PATH="$PROGRAMS/bin:$PATH"
package=(--locked --package godb-chart-tests --test chart)
case ${1:-test} in
  test) "$CARGO" test --no-fail-fast "${package[@]}" ;;
  docs)
    UPDATE_REFERENCE=1 "$CARGO" test --quiet "${package[@]}" generated::
    helm-unittest --update-snapshot charts/godb
    git --no-pager status --short charts/godb
    ;;
  *) die "chart.sh, or chart.sh docs" ;;
esac
