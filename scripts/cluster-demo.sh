#!/usr/bin/env bash
# An instance through its whole life on a real cluster, under load from beginning to end; every
# command is shown with its seconds, and at the end every acknowledged document is compared.
# Takes the cluster that is up; starts one, and leaves it running, if there is none.
source "$(dirname "$0")/env.sh"
lab=tests/cluster/lab

scripts/image.sh
if ! $lab/in.sh true 2>/dev/null; then $lab/start.sh; fi
$lab/load.sh "$CARGO_TARGET_DIR"/image/godb{,-operator}.tar
say "the demo"
exec $lab/in.sh python3 scripts/cluster_demo.py
