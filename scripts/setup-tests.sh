#!/usr/bin/env bash
# Installs what tests need besides scripts/setup.sh and is missing: valgrind, Node and Chromium by apt; NVIDIA's NVRTC,
# ptxas and nvdisasm into target/nvidia, with which tests compile CUDA kernels and read their machine code; into
# target/python what the Python package is built and checked with; into target/clients the clients that test the server;
# into target/page what opens its page in Chromium.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for package in valgrind python3-venv; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
# These may have come from elsewhere.
for program in node:nodejs npm:npm chromium:chromium; do
    command -v "${program%:*}" >/dev/null || missing+=("${program#*:}")
done
scripts/install.sh "${missing[@]}"

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
environment target/nvidia --no-deps nvidia_cuda_nvrtc-13.5.37 nvidia_cuda_nvcc-13.5.37 nvidia_cuda_nvdisasm-13.5.37
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
