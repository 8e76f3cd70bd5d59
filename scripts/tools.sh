# Sourced: makes sure that a tool is there, and installs it into the cache folder if it is not.
# Only package registries are needed (crates.io, the Debian mirror).

CARGO_DENY_VERSION=0.20.2
ADVISORY_URL=https://github.com/rustsec/advisory-db

need_cargo_deny() {
  if [ "$(cargo-deny --version 2>/dev/null)" = "cargo-deny $CARGO_DENY_VERSION" ]; then return; fi
  say "installing cargo-deny $CARGO_DENY_VERSION into $TOOLS (once)"
  # No LTO: the tool runs for a second, its build would take minutes longer.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_TARGET_DIR="$CACHE/build" \
    "$CARGO" install --locked --quiet --root "$TOOLS" --version "$CARGO_DENY_VERSION" cargo-deny
  rm -rf "$CACHE/build"
}

# Runs a command as root: through sudo, if it does not ask for a password, unless we are root.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Debian packages, each named with a command or file that shows that it is there: runc:runc
need_packages() {
  local pair missing=()
  for pair in "$@"; do
    if ! PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null; then missing+=("${pair##*:}"); fi
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  command -v apt-get >/dev/null || die "not installed: ${missing[*]} (names of the Debian packages)"
  say "installing ${missing[*]} (once)"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "not installed: ${missing[*]}. As root: apt-get install ${missing[*]}"
}

# promtool from the Debian package, unpacked and not installed: no service is started, no right is
# needed unless the package lists are missing.
need_promtool() {
  if command -v promtool >/dev/null; then return; fi
  say "unpacking promtool from the Debian package prometheus into $TOOLS (once)"
  local work
  work=$(mktemp -d)
  if ! (cd "$work" && apt-get download prometheus >/dev/null 2>&1); then
    as_root apt-get update -qq
    (cd "$work" && apt-get download prometheus >/dev/null)
  fi
  dpkg-deb -x "$work"/prometheus_*.deb "$work/tree"
  mkdir -p "$TOOLS/bin"
  mv "$work/tree/usr/bin/promtool" "$TOOLS/bin/promtool"
  rm -rf "$work"
}

# The RustSec database from a tar.gz (ADVISORY_DB, or one found beside the working tree), where
# there is no way to GitHub. It is given to cargo-deny as a local git repository that stands in for
# the address; without such a file cargo-deny fetches the database itself.
use_advisory_archive() {
  local archive=${ADVISORY_DB:-}
  if [ -z "$archive" ] && [ -f "$ROOT/../shared/advisory-db.tar.gz" ]; then
    archive="$ROOT/../shared/advisory-db.tar.gz"
  fi
  if [ -z "$archive" ]; then return; fi
  [ -f "$archive" ] || die "ADVISORY_DB names $archive, which is not a file"
  local sum repository
  sum=$(sha256sum "$archive" | cut -c1-16)
  repository="$CACHE/advisory-db-$sum"
  if [ ! -d "$repository" ]; then
    rm -rf "$repository.part"
    mkdir -p "$repository.part"
    tar -xzf "$archive" -C "$repository.part" --strip-components=1
    git -C "$repository.part" init --quiet --initial-branch=main
    git -C "$repository.part" add --all
    git -C "$repository.part" -c user.name=advisories -c user.email=advisories@localhost \
      commit --quiet --message "RustSec database"
    mv "$repository.part" "$repository"
  fi
  export GIT_CONFIG_COUNT=1
  export GIT_CONFIG_KEY_0="url.file://$repository.insteadOf"
  export GIT_CONFIG_VALUE_0="$ADVISORY_URL"
}

# helm-docs and helm-unittest from the Go module proxy, with every module pinned in the folder's
# go.sum. Helm itself comes with the test cluster's programs (tests/cluster/lab/build.sh).
need_chart_tools() {
  local folder=$ROOT/tests/chart/tools made_from
  command -v go >/dev/null || die "the chart's tools are built with Go 1.26 or newer; there is no go in PATH"
  made_from=$( (go version; cat "$folder"/go.*) | sha256sum)
  if [ "$(cat "$TOOLS/chart-made-from" 2>/dev/null)" = "$made_from" ]; then return; fi
  say "building helm-docs and helm-unittest into $TOOLS (once: a minute)"
  mkdir -p "$TOOLS/bin"
  (
    cd "$folder"
    export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-mod=readonly -modcacherw"
    export GOMODCACHE="$CACHE/build/mod" GOCACHE="$CACHE/build/go"
    go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$TOOLS/bin/" tool
  )
  rm -rf "$CACHE/build"
  printf '%s\n' "$made_from" >"$TOOLS/chart-made-from"
}

# Schemathesis from PyPI, in an environment of its own; sets SCHEMATHESIS to the program.
SCHEMATHESIS_VERSION=4.32.5
need_schemathesis() {
  local folder="$TOOLS/schemathesis-$SCHEMATHESIS_VERSION"
  SCHEMATHESIS="$folder/bin/schemathesis"
  if [ -f "$folder/complete" ]; then return; fi
  command -v python3 >/dev/null || die "schemathesis needs python3"
  say "installing schemathesis $SCHEMATHESIS_VERSION into $TOOLS (once)"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$SCHEMATHESIS_VERSION"
  : >"$folder/complete"
}

# The S3 server of the tests: moto from PyPI, every package pinned, in a Python environment of its own.
need_s3_server() {
  local list=$ROOT/tests/node/s3-requirements.txt folder=$TOOLS/s3-server made_from
  need_packages python3:python3
  made_from=$( (python3 --version; cat "$list") | sha256sum)
  if [ "$(cat "$folder/made-from" 2>/dev/null)" = "$made_from" ]; then return; fi
  say "installing moto into $folder (once: half a minute)"
  if ! python3 -c 'import ensurepip' 2>/dev/null; then need_packages no-ensurepip:python3-venv; fi
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$list"
  mkdir -p "$TOOLS/bin"
  ln -sf "$folder/bin/moto_server" "$TOOLS/bin/moto_server"
  printf '%s\n' "$made_from" >"$folder/made-from"
}
