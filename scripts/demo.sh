#!/usr/bin/env bash
# On a fresh machine: installs what building needs, builds qwenc, compiles the sample model, asks it a question.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
cargo build --release --locked
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/demo"
"$target/release/qwenc" compile sample -o "$target/demo/qwen"
question="The capital of Brazil is"
printf '\n$ %s/demo/qwen generate "%s"\n' "$target" "$question"
"$target/demo/qwen" generate "$question"
