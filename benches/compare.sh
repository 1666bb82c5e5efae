#!/usr/bin/env bash
# On a fresh machine: builds qwenc, makes a model of random weights, installs llama.cpp's Python package where
# it is missing, checks the answers, then measures both in turn. README.md here says what the flags are.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
cargo build --release --locked

export PYTHONDONTWRITEBYTECODE=1
needs="numpy, llama_cpp, gguf"
packages=(numpy "llama-cpp-python==0.3.36" "gguf==0.19.0")
for argument in "$@"; do
    if [ "$argument" = --no-peer ]; then
        needs=numpy
        packages=(numpy)
    fi
done
python=python3
if ! "$python" -c "import $needs" 2>/dev/null; then
    venv=target/compare/venv
    python=$venv/bin/python
    if ! "$python" -c "import $needs" 2>/dev/null; then
        # Debian's python3 makes no virtual environments without this package.
        python3 -c "import ensurepip" 2>/dev/null || scripts/install.sh python3-venv
        echo "compare: installing ${packages[*]} into $venv (llama.cpp is compiled for this machine)" >&2
        python3 -m venv "$venv"
        "$python" -m pip install --quiet "${packages[@]}"
    fi
fi
exec "$python" benches/compare.py "$@"
