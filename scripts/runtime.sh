#!/usr/bin/env bash
# Builds the runtime that qwenc embeds, optimised, among what tests build: scripts/runtime.sh [FILE [PROFILE]] (default:
# target/runtime.a and dev; with release among what `cargo build --release` builds). With QWENC_RUNTIME=FILE the build
# script of compiler/link takes it instead of building the runtime and its dependencies in a target folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
file=${1:-$target/runtime.a}
profile=${2:-dev}
folder=$profile
[ "$profile" != dev ] || folder=debug

# The settings of a release build for the runtime's own crates; its dependencies have them anyway (Cargo.toml).
flags=()
for crate in qwenc-rt qwenc-bpe qwenc-files; do
    for setting in opt-level=3 codegen-units=1 debug=false debug-assertions=false overflow-checks=false; do
        flags+=(--config "profile.$profile.package.$crate.$setting")
    done
done
# Cargo unites the features that all built crates ask of a dependency. With these two there are almost the same as
# in a build of the whole workspace, so that dependencies are built once.
united=(-p qwenc-opt -p qwenc-llvm)
CARGO_INCREMENTAL=0 cargo build --profile "$profile" --locked --lib -p qwenc-rt "${united[@]}" "${flags[@]}"
archive=$target/$folder/libqwenc_rt.a
cmp -s "$archive" "$file" || cp "$archive" "$file"
