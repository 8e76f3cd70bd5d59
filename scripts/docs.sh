#!/usr/bin/env bash
# docs/reference/ from the program itself, so that it cannot drift. A test compares.
source "$(dirname "$0")/env.sh"
build_node dev
mkdir -p docs/reference
UPDATE_REFERENCE=1 "$CARGO" test --locked --quiet -p godb-tests --test node reference
git --no-pager status --short docs/reference
