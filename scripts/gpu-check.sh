#!/usr/bin/env bash
# Whether compiled CUDA executables are right on a real GPU, and how fast: `pack` makes all that is needed where
# there is a compiler, `run` needs a GPU, Python and what was packed. `--help` says more; docs/gpu.md says how.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONDONTWRITEBYTECODE=1

usage() {
    cat <<'EOF'
gpu-check.sh pack DIR [flags]    makes DIR/check.tar.xz: executables and what they should say; needs cargo, and pip for
                                 NVRTC 13.0, or QWENC_NVRTC
gpu-check.sh [run] DIR [flags]   runs it; needs bash and Python 3.8, and a GPU: without one it exits with 77

  0: all passed    1: something failed    2: the command line makes no sense    3: right, but a target of speed was missed
  77: skipped, no CUDA device

pack:
  --sm LIST          compute capabilities to compile for; 90
  --qwenc FILE       this qwenc instead of building one; it needs both targets
  --models LIST      of qwen3-tied, qwen3-untied-mha, qwen3-yarn, qwen3-sliding, sample; all, or none
  --types LIST       of f32, bf16, bf16-activations, int8, int4; all
  --shapes LIST      of 0.6b, 1.7b, 4b, 8b, llama-1b, tiny: what speed is measured on; 0.6b,8b,llama-1b, or none
run:
  --only LIST        of answers, speed, ncu, sanitizer; all. Results of other parts in the file are kept
  --no-sanitizer     leaves compute-sanitizer out
  --minutes N        ends in time with what there is; 8. Results are written after every line
  --models LIST      small models whose answers are looked at, of those that were packed; all
  --shapes LIST      shapes whose speed is measured, of those that were packed; 0.6b,8b,llama-1b
  --peer WAY         transformers' decode beside: capture, compile (minutes more) or none; capture
  --jobs N           executables at a time where nothing is measured; 4
  --device N         which GPU, as `info` numbers them; 0
  --contexts LIST    of 128, 2048, 16384: where decode ends whose speed is measured; 128,16384 (llama-1b: 128 alone)
  --new N            tokens of a measurement, 64
  --results FILE     where all figures go; DIR/results.json. The output of ncu goes to ncu.txt beside it
EOF
}

python() {
    command -v python3 >/dev/null || { echo "gpu-check: no python3 found; install Python 3.8 or newer" >&2; exit 1; }
    exec python3 "$@"
}

for word in "$@"; do
    if [[ $word == -h || $word == --help ]]; then
        usage
        exit
    fi
done

case "${1:-}" in
    "")
        usage >&2
        exit 2
        ;;
    pack)
        shift
        if [[ " $* " != *" --qwenc"* ]]; then
            command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
            (cd "$root" && cargo build --release --locked -p qwenc)
            set -- "$@" --qwenc "${CARGO_TARGET_DIR:-$root/target}/release/qwenc"
        fi
        python "$root/scripts/gpu_check/pack.py" "$@"
        ;;
    run)
        shift
        python "$root/scripts/gpu_check/run.py" "$@"
        ;;
    *) python "$root/scripts/gpu_check/run.py" "$@" ;;
esac
