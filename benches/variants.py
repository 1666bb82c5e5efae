"""What is compared: flags of qwenc, the peer's type, limits of the error and targets of the speed.

A target is our tokens per second over the peer's in the same round; `share` is the least share of the read
bandwidth that decode should use. Errors are squared error over squared size (NMSE) of all logits.
"""

import dataclasses

# Checkpoints with the logits that transformers computed in float32.
GOLDENS = ["qwen3-tied", "qwen3-untied-mha"]


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    # Flags of `qwenc compile`.
    flags: tuple
    # Of the KV cache, where speed is measured; errors of the weights are measured with f32.
    kv: str
    peer: str
    # Against transformers, on the goldens: two layers, cache in f32.
    golden_nmse: float
    # Against the f32 executable of the compared model, cache in f32. Rounding adds up with depth.
    nmse: float
    # The same with the cache that is measured.
    kv_nmse: float
    decode: float
    share: float
    prefill: float
    decode_long: float = 1.2
    first_token: float = 2.0


# Of random weights with one standard deviation, wider layers add more to the residual stream, and what rounding does to
# them weighs more: int8 in the shape of 1.7B has 5.7e-3, of which the weights' rounding alone is 4.0e-3.
WIDER = {"1.7b": 4, "4b": 4, "8b": 4}

VARIANTS = [
    Variant(
        name="bf16",
        flags=("--quant", "bf16"),
        kv="bf16",
        peer="BF16",
        golden_nmse=1e-10,
        nmse=1e-10,
        kv_nmse=3e-4,
        decode=1.25,
        share=0.90,
        prefill=1.75,
    ),
    Variant(
        name="bf16-activations",
        flags=("--quant", "bf16", "--activations", "bf16"),
        kv="bf16",
        peer="BF16",
        golden_nmse=1e-3,
        nmse=1e-3,
        kv_nmse=1e-3,
        decode=1.25,
        share=0.90,
        prefill=1.75,
    ),
    Variant(
        name="int8",
        flags=("--quant", "int8"),
        kv="bf16",
        peer="Q8_0",
        golden_nmse=1e-3,
        nmse=3e-3,
        kv_nmse=3e-3,
        decode=1.7,
        share=0.85,
        prefill=4.0,
    ),
    Variant(
        name="int4",
        flags=("--quant", "int4", "--quant-embeddings"),
        kv="bf16",
        peer="Q4_0",
        golden_nmse=2e-1,
        nmse=4e-1,
        kv_nmse=4e-1,
        decode=1.7,
        share=0.85,
        prefill=2.2,
    ),
]
