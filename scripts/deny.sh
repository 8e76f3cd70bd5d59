#!/usr/bin/env bash
# Licences, sources, duplicate and banned crates, known vulnerabilities (deny.toml).
source "$(dirname "$0")/env.sh"
source scripts/tools.sh
need_cargo_deny
use_advisory_archive
"$CARGO" fetch --locked --quiet
exec cargo-deny --workspace --all-features --locked check
