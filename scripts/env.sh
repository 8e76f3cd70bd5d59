# Sourced by the other scripts: where things are, and how a part of the work is announced.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
: "${CARGO:=cargo}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$ROOT/target}"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/godb"
TOOLS="$CACHE/tools"
export PATH="$TOOLS/bin:$PATH"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Builds the node in the profile named by $1 (dev or release) and sets GODB_BIN to it.
build_node() {
  local folder=debug
  if [ "$1" = release ]; then folder=release; fi
  "$CARGO" build --locked --package godb --bin godb --profile "$1"
  export GODB_BIN="$CARGO_TARGET_DIR/$folder/godb"
}
