#!/usr/bin/env bash
# On a fresh machine: installs what building needs, builds qwenc, compiles the sample model, asks it a question.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
target=${CARGO_TARGET_DIR:-$PWD/target}
# Debugging and incremental builds are for development; without them half the time and space is enough.
export CARGO_INCREMENTAL=0
scripts/runtime.sh "$target/runtime-release.a" release
QWENC_RUNTIME=$target/runtime-release.a cargo build --release --locked -p qwenc -p qwenc-rt
mkdir -p "$target/demo"
"$target/release/qwenc" compile sample -o "$target/demo/qwen"
question="The capital of Brazil is"
printf '\n$ %s generate "%s"\n' "$target/demo/qwen" "$question"
"$target/demo/qwen" generate "$question"
