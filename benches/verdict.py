"""Whether the answers are right: asked before any speed is measured.

In: executables. Out: a line per check, and whether all passed. The measure is squared error over squared
size of all logits, in f64.
"""

import json
import subprocess

import numpy as np

# Multiplicative order is long enough that tokens of a prompt differ.
STEP, TOKENS = 7919, 64


def safetensors(path):
    """Tensors of f32 and i64, by name."""
    types = {"F32": "<f4", "I64": "<i8", "I32": "<i4"}
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found = {}
    for name, tensor in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            start, end = (8 + length + at for at in tensor["data_offsets"])
            found[name] = np.frombuffer(data[start:end], types[tensor["dtype"]]).reshape(tensor["shape"])
    return found


def logits(executable, tokens, kv):
    """[tokens, rows]."""
    out = executable.with_suffix(".logits")
    ids = ",".join(str(t) for t in tokens)
    command = [executable, "logits", "--tokens", ids, "--out", out, "--kv-type", kv]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = safetensors(out)["logits"]
    out.unlink()
    return found


def nmse(found, expected):
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if found.shape != expected.shape:
        raise SystemExit(f"logits of shape {found.shape}, expected {expected.shape}")
    return float(((found - expected) ** 2).sum() / (expected**2).sum())


class Verdict:
    """Counts what failed."""

    def __init__(self):
        self.checks = []

    def check(self, what, error, limit):
        # Not a number is no pass.
        passed = bool(error <= limit)
        self.checks.append({"check": what, "nmse": error, "limit": limit, "passed": passed})
        print(f"  {'pass' if passed else 'FAIL'}  {what}: NMSE {error:.1e}, limit {limit:.0e}", flush=True)

    @property
    def passed(self):
        return all(c["passed"] for c in self.checks)


def goldens(verdict, variant, build, folder, cases):
    """Against transformers."""
    for case in cases:
        golden = safetensors(folder / case / "golden.safetensors")
        executable = build(folder / case, variant.flags, f"{case}-{variant.name}")
        error = nmse(logits(executable, golden["tokens"].tolist(), "f32"), golden["logits"])
        verdict.check(f"{variant.name}, {case} against transformers", error, variant.golden_nmse)


def prompt(rows):
    """Fixed tokens."""
    return [(i * STEP + 13) % rows for i in range(TOKENS)]


def against_f32(verdict, variant, executable, rows, expected, wider):
    """Against the f32 executable of the same checkpoint; errors of `wider` models may be that many times as large."""
    for kv, limit in (("f32", variant.nmse), (variant.kv, variant.kv_nmse)):
        error = nmse(logits(executable, prompt(rows), kv), expected)
        verdict.check(f"{variant.name} with {kv} cache, this model against f32", error, limit * wider)
