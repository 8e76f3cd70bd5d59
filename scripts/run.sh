#!/usr/bin/env bash
# A node for trying things out, in the foreground. Ctrl-C stops it cleanly.
source "$(dirname "$0")/env.sh"
DATA_DIR="${DATA_DIR:-./godb-data}"
LISTEN="${LISTEN:-127.0.0.1:8080}"
build_node release
cat <<TEXT

godb serves $DATA_DIR on http://$LISTEN. In another terminal:

  curl -X POST http://$LISTEN/collections/people -d '{"name":"Ada","born":1815}'
  curl 'http://$LISTEN/collections/people/find?name=Ada'

  printf '{"_id":"%s","n":1}\n' a b c > sample.ndjson
  ${GODB_BIN#"$ROOT"/} import sample.ndjson --collection sample --url http://$LISTEN
  curl http://$LISTEN/collections/sample/documents/b

Kill it with -9 if you like, and start it again: every acknowledged document is there.

TEXT
exec "$GODB_BIN" --data-dir "$DATA_DIR" --listen "$LISTEN" "$@"
