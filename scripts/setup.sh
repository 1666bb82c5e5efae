#!/usr/bin/env bash
# Installs what building and testing need and is missing: LLVM 19, a C compiler and the like, by apt
# (with sudo where needed). Without apt it names the packages.
set -euo pipefail

packages=(llvm-19-dev libpolly-19-dev libzstd-dev zlib1g-dev libxml2-dev libffi-dev libtinfo-dev gcc g++ libc6-dev pkg-config valgrind)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done

if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
fi
if ! command -v cargo >/dev/null; then
    echo "setup: no cargo found; install Rust 1.89 or newer from https://rustup.rs" >&2
    exit 1
fi

if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    if ! command -v apt-get >/dev/null || { [ ${#as_root[@]} -gt 0 ] && ! command -v sudo >/dev/null; }; then
        echo "setup: these Debian packages (or your system's equivalents) are missing: ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    if ! { "${as_root[@]}" apt-get update -q && "${as_root[@]}" apt-get install -qy --no-install-recommends "${missing[@]}"; } >&2; then
        echo "setup: apt-get failed; install by hand: ${missing[*]}" >&2
        exit 1
    fi
fi
