#!/usr/bin/env bash
# A node for trying things out, in the foreground. Ctrl-C stops it cleanly.
source "$(dirname "$0")/env.sh"
DATA_DIR="${DATA_DIR:-./godb-data}"
LISTEN="${LISTEN:-127.0.0.1:8080}"
build_node release
cat <<TEXT

godb serves $DATA_DIR on http://$LISTEN. In another terminal:

  curl http://$LISTEN/health
  curl http://$LISTEN/collections/cities/find

The tour in README.md goes on from here. Metrics and settings are on the admin port, see below.
Kill it with -9 if you like, and start it again: every acknowledged document is there.

TEXT
# The name of the binary is no setting of the node's.
exec env -u GODB_BIN "$GODB_BIN" --data-dir "$DATA_DIR" --listen "$LISTEN" "$@"
