#!/usr/bin/env bash
# On a fresh machine: installs what is missing, then formatting, lints and all tests; the end-to-end
# tests run the qwenc that the build before them made, and skip nothing for want of a tool.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo build --workspace --locked
QWENC_TESTS_SKIP_NOTHING=1 cargo test --workspace --locked
