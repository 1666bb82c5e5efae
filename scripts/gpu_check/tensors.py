"""Safetensors files without a library: names to bytes or numbers, and how far two are apart."""

import array
import json
import sys


def read(path):
    """Name to (shape, bytes)."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            start, end = (8 + length + at for at in entry["data_offsets"])
            found[name] = (entry["shape"], data[start:end])
    return found


def numbers(code, raw):
    """`code` as in `array`: f for float32, i for int32."""
    values = array.array(code, raw)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def nmse(found, expected):
    """Squared error over squared size; infinite where the lengths differ."""
    if len(found) != len(expected) or not expected:
        return float("inf")
    error = sum((a - b) * (a - b) for a, b in zip(found, expected))
    return error / sum(b * b for b in expected)
