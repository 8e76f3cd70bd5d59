#!/usr/bin/env bash
# What must hold before a commit. Writes nothing to the tree.
source "$(dirname "$0")/env.sh"
exec scripts/test.sh fmt clippy deny tidy
