#!/usr/bin/env bash
# Runs every fuzz target of models/fuzz, or those named, for a bounded time each: scripts/fuzz.sh [SECONDS] [TARGET...]
# (60 seconds, all targets), some at a time. Seeds come from the tests. Fails on a finding, and says where its input is. Any toolchain
# does: libFuzzer is compiled with the targets, and the flags are those that cargo-fuzz would give.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for file in models/fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

work=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
mkdir -p "$work/findings"
# scripts/test.sh leaves seeds too; those of older sources may be refused.
if [ ! -d "$work/seeds" ] || [ -n "$(find models/src models/tests -newer "$work/seeds" -print -quit)" ]; then
    rm -rf "$work/seeds"
    QWENC_SEEDS="$work/seeds" cargo test --quiet -p qwenc-models --test mutations seeds_are_models
fi

flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, the flags are for what is fuzzed, not for build scripts.
RUSTFLAGS="$flags" CARGO_TARGET_DIR="$work/build" \
    cargo build --quiet --manifest-path models/fuzz/Cargo.toml --target "$host"

fuzz() {
    mkdir -p "$work/corpus/$1"
    echo "fuzz: $1, $seconds seconds" >&2
    "$work/build/$host/debug/$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -max_len=65536 \
        -artifact_prefix="$work/findings/$1-" "$work/corpus/$1" "$work/seeds/$1" >"$work/$1.log" 2>&1 ||
        touch "$work/$1.failed"
}

# As many at a time as there are processors.
rm -f "$work"/*.failed
# What runs in the background does not hear an interrupt.
trap 'trap - TERM; kill 0' INT TERM
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    fuzz "$target" &
done
wait

failed=()
for target in "${targets[@]}"; do
    if [ -e "$work/$target.failed" ]; then
        failed+=("$target")
        echo "fuzz: $target" >&2
        tail -n 30 "$work/$target.log" >&2
    else
        echo "fuzz: $target: $(tail -n 1 "$work/$target.log")"
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "fuzz: findings in ${failed[*]}: inputs in $work/findings" >&2
    exit 1
fi
