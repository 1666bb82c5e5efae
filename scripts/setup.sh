#!/usr/bin/env bash
# Installs what building and testing need and is missing: LLVM 19, a C compiler and the like, by apt
# (with sudo where needed; without apt it names the packages), NVIDIA's NVRTC and ptxas into target/nvidia, with which
# tests compile CUDA kernels, into target/python what the Python package is built and checked with, into target/clients the
# clients that test the server, and into target/page what opens its page in Chromium. qwenc itself needs none of these.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(llvm-19-dev libpolly-19-dev libzstd-dev zlib1g-dev libxml2-dev libffi-dev libtinfo-dev gcc g++ libc6-dev pkg-config valgrind python3-venv)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
# These may have come from elsewhere.
for program in node:nodejs npm:npm chromium:chromium; do
    command -v "${program%:*}" >/dev/null || missing+=("${program#*:}")
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

# Makes a virtual environment at $1 with the wheels $3..., written name-version; $2 is one more flag of pip.
environment() {
    local at=$1 flag=$2 wheel wanted=()
    shift 2
    for wheel in "$@"; do
        compgen -G "$at/lib/python3*/site-packages/$wheel.dist-info/RECORD" >/dev/null || wanted+=("${wheel/-/==}")
    done
    [ ${#wanted[@]} -gt 0 ] || return 0
    echo "setup: installing ${wanted[*]} into $at" >&2
    mkdir -p target
    if ! { python3 -m venv "$at" && "$at/bin/pip" install --quiet --disable-pip-version-check $flag "${wanted[@]}"; } >&2; then
        echo "setup: pip failed; make a virtual environment in $at and install ${wanted[*]} there" >&2
        exit 1
    fi
}

# The versions that the tests' register counts are for. nvcc is wanted for its ptxas alone, not for what it needs itself.
environment target/nvidia --no-deps nvidia_cuda_nvrtc-13.5.37 nvidia_cuda_nvcc-13.5.37
# Builds and checks the Python package.
environment target/python "" numpy-2.4.6 pytest-9.2.0 build-1.6.1 setuptools-84.2.1 mypy-2.4.1
# The server's clients: the versions that tests/clients was written with.
mapfile -t clients < <(sed -n 's/-/_/g; s/==/-/p' tests/clients/requirements.txt)
environment target/clients "" "${clients[@]}"
# Opens the chat page in Chromium. npm writes the file that is looked for when it is done.
if ! cmp -s tests/page/package-lock.json target/page/package-lock.json ||
    [ ! -e target/page/node_modules/.package-lock.json ]; then
    echo "setup: installing what tests/page needs into target/page" >&2
    mkdir -p target/page && rm -rf target/page/node_modules && cp tests/page/package*.json target/page/
    if ! npm ci --silent --no-fund --no-audit --prefix target/page >&2; then
        echo "setup: npm failed; run 'npm ci --prefix target/page' by hand" >&2
        exit 1
    fi
fi
