#!/usr/bin/env bash
# The inner loop: compile everything that ships, then the tests that take seconds.
source "$(dirname "$0")/env.sh"
"$CARGO" check --locked --all-targets
"$CARGO" test --locked --quiet --lib --bins -p godb-store -p godb-engine -p godb
"$CARGO" test --locked --quiet -p godb-tests --test repo
