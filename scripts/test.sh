#!/usr/bin/env bash
# On a fresh machine: installs what is missing, then formatting, lints and all tests; the end-to-end
# tests run the qwenc that the build before them made, and skip nothing for want of a tool.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
scripts/setup-tests.sh
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
cargo fmt --all --check

# One build is lints, programs and tests: clippy is a compiler, so that nothing is compiled a second time to be checked.
# The runtime comes first, and shares the dependencies of the rest.
export CARGO_INCREMENTAL=0
target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/runtime.sh "$target/runtime.a"
export QWENC_RUNTIME=$target/runtime.a
RUSTC_WORKSPACE_WRAPPER=$(command -v clippy-driver || echo "$HOME/.cargo/bin/clippy-driver")
CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__
export RUSTC_WORKSPACE_WRAPPER CLIPPY_ARGS
cargo build --workspace --all-targets --locked
# What scripts/fuzz.sh begins with.
export QWENC_SEEDS=$target/fuzz/seeds
rm -rf "$QWENC_SEEDS"
QWENC_TESTS_SKIP_NOTHING=1 cargo test --workspace --locked
