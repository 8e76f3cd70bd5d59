#!/usr/bin/env bash
# libFuzzer over every decoder, in turn: SECONDS_EACH=60 (default), TARGETS="frame json" for some.
# What it finds lies in fuzz/artifacts; the command that repeats it is printed.
source "$(dirname "$0")/env.sh"
# Coverage by flags of the compiler that are stable: no nightly, no cargo-fuzz. No sanitizer: the
# workspace forbids unsafe code, and panics and overflows end the run by themselves.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, build scripts and macros are not instrumented.
"$CARGO" build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" \
  --target-dir "$CARGO_TARGET_DIR/fuzz"
binary="$CARGO_TARGET_DIR/fuzz/$host/release/godb-fuzz"
found=0
for target in ${TARGETS:-$(cd fuzz/corpus && ls)}; do
  say "$target"
  mkdir -p "fuzz/artifacts/$target" "$CARGO_TARGET_DIR/fuzz/corpus/$target"
  # New inputs go beside the build, not into the tree.
  GODB_FUZZ_TARGET=$target "$binary" -max_total_time="${SECONDS_EACH:-60}" -rss_limit_mb=1024 \
    -malloc_limit_mb=64 -print_final_stats=1 -verbosity=0 -print_funcs=0 -artifact_prefix="fuzz/artifacts/$target/" \
    "$CARGO_TARGET_DIR/fuzz/corpus/$target" "fuzz/corpus/$target" || {
      found=1
      echo "again: GODB_FUZZ_TARGET=$target $binary fuzz/artifacts/$target/…"
    }
done
exit $found
