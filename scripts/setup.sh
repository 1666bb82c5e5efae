#!/usr/bin/env bash
# Installs what building qwenc needs and is missing: LLVM 19 and a C and C++ compiler, by apt (with sudo where needed;
# without apt it names the packages). Rust must be there. What tests need besides is in scripts/setup-tests.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
if ! command -v cargo >/dev/null; then
    echo "setup: no cargo found; install Rust 1.94 or newer from https://rustup.rs" >&2
    exit 1
fi

missing=()
for package in llvm-19-dev libzstd-dev zlib1g-dev libffi-dev gcc g++ libc6-dev; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
scripts/install.sh "${missing[@]}"
