#!/usr/bin/env bash
# Builds the Python package's wheel into a folder: target/wheels, or the one given.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-target/wheels}
python=target/python/bin/python
if [ ! -x "$python" ]; then
    echo "wheel: no $python; run scripts/setup-tests.sh" >&2
    exit 1
fi
# setuptools writes beside its sources, so it gets a copy of them.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r runtime/python/pyproject.toml runtime/python/README.md runtime/python/src "$copy"
mkdir -p "$folder"
"$python" -m build --quiet --wheel --no-isolation --outdir "$folder" "$copy" >&2
ls "$folder"/qwenc-*.whl
