#!/usr/bin/env bash
# On a fresh machine: installs what is missing, builds qwenc, compiles the sample model, asks it a question.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
cargo build --release --locked
mkdir -p target/demo
target/release/qwenc compile --target cpu sample -o target/demo/qwen
question="The capital of Brazil is"
printf '\n$ target/demo/qwen generate "%s"\n' "$question"
target/demo/qwen generate "$question"
