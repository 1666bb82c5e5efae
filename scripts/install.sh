#!/usr/bin/env bash
# Installs the Debian packages given as arguments, with sudo where needed; without apt it names them and fails.
set -euo pipefail
[ $# -gt 0 ] || exit 0
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
if ! command -v apt-get >/dev/null || { [ ${#as_root[@]} -gt 0 ] && ! command -v sudo >/dev/null; }; then
    echo "setup: these Debian packages (or your system's equivalents) are missing: $*" >&2
    exit 1
fi
echo "setup: installing $*" >&2
export DEBIAN_FRONTEND=noninteractive
if ! { "${as_root[@]}" apt-get update -q && "${as_root[@]}" apt-get install -qy --no-install-recommends "$@"; } >&2; then
    echo "setup: apt-get failed; install by hand: $*" >&2
    exit 1
fi
