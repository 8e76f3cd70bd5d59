#!/usr/bin/env bash
# Schemathesis against /openapi.json of a running node: no 5xx, no answer outside of the document.
# SEED=7 repeats a run; SECONDS_API=60 (default) bounds it.
source "$(dirname "$0")/env.sh"
source scripts/tools.sh
need_schemathesis
[ -n "${GODB_BIN:-}" ] || build_node dev
seed=${SEED:-1}
work=$(mktemp -d)
"$GODB_BIN" --data-dir "$work/data" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >"$work/log" 2>&1 &
node=$!
trap 'kill "$node" 2>/dev/null || true; wait "$node" 2>/dev/null || true; rm -rf "$work"' EXIT
url=
for _ in $(seq 100); do
  url=$(sed -n 's/.*serving documents.* address=\([0-9.:]*\).*/http:\/\/\1/p' "$work/log")
  if [ -n "$url" ]; then break; fi
  sleep 0.1
done
[ -n "$url" ] || die "the node did not start: $(cat "$work/log")"
say "schemathesis $SCHEMATHESIS_VERSION, SEED=$seed"
# From a file: from an address, it would leave out the route that the document itself comes from.
curl -fsS "$url/openapi.json" -o "$work/openapi.json"
started=$SECONDS rc=0
# Its pace differs with the machine, so that the budget of time and not the seed says how far it gets.
(cd "$work" && timeout 180 "$SCHEMATHESIS" run openapi.json --url "$url" --seed "$seed" \
  --max-time "${SECONDS_API:-60}" --phases examples,coverage,fuzzing --request-timeout 20 --warnings off \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance) || rc=$?
kill -0 "$node" || die "the node died: $(tail -n 20 "$work/log")"
echo "schemathesis: $((SECONDS - started)) s, SEED=$seed, exit code $rc"
exit $rc
