#!/usr/bin/env bash
# Builds the runtime that qwenc embeds, optimised, among what tests build: scripts/runtime.sh [FILE [PROFILE]] (default:
# target/runtime.a and dev; with release among what `cargo build --release -p qwenc -p qwenc-rt` builds). With
# QWENC_RUNTIME=FILE the build script of compiler/link takes it instead of building the runtime and its dependencies in a
# target folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
file=${1:-$target/runtime.a}
profile=${2:-dev}
folder=$profile
[ "$profile" != dev ] || folder=debug

# Cargo unites the features that all built packages ask of a dependency, so that dependencies are shared only if qwenc is
# built too. qwenc is compiled again later, with the runtime in it; here it is not optimised.
flags=()
again=(qwenc)
if [ "$profile" = dev ]; then
    # The settings of a release build for the runtime's own crates; its dependencies have them anyway (Cargo.toml).
    for crate in qwenc-{rt,c-api,cli,serve,text,engine,bpe,files,jinja}; do
        for setting in opt-level=3 codegen-units=16 debug=false debug-assertions=false overflow-checks=false; do
            flags+=(--config "profile.dev.package.$crate.$setting")
        done
    done
    again+=(qwenc-models)
fi
for crate in "${again[@]}"; do
    flags+=(--config "profile.$profile.package.$crate.opt-level=0")
done
QWENC_RUNTIME=none CARGO_INCREMENTAL=0 cargo build --profile "$profile" --locked --lib -p qwenc-rt -p qwenc "${flags[@]}"
archive=$target/$folder/libqwenc_rt.a
cmp -s "$archive" "$file" || ln -f "$archive" "$file" || cp "$archive" "$file"
