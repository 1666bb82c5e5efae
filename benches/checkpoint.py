"""A checkpoint folder of random weights in the shape of a Qwen3 or Llama model.

In: the name of a shape and a folder. Out: config.json and model.safetensors (bf16) in it. The same shape
gives the same bytes. There is no tokenizer: such a model is fed token ids.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import typing

SEED = 20260101
STD = 0.02


@dataclasses.dataclass(frozen=True)
class Family:
    """Entries of config.json that all sizes of a model family share."""

    architecture: str
    model_type: str
    rms_norm_eps: float
    rope_theta: float
    # Whether queries and keys have norms, a gain for each of head_dim values.
    qk_norm: bool
    # Further entries of config.json; they replace those of the same name.
    entries: dict = dataclasses.field(default_factory=dict)


QWEN3 = Family("Qwen3ForCausalLM", "qwen3", 1e-6, 1000000.0, True)
LLAMA = Family("LlamaForCausalLM", "llama", 1e-5, 500000.0, False, {
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "eos_token_id": 128001,
})


class Shape(typing.NamedTuple):
    """The sizes of one model."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    # Rows of the embedding: the size of the vocabulary.
    rows: int
    positions: int
    # Whether the LM head is the embedding.
    tied: bool
    family: Family


SHAPES = {
    "tiny": Shape(4, 256, 512, 4, 2, 64, 2048, 16384, True, QWEN3),
    "0.6b": Shape(28, 1024, 3072, 16, 8, 128, 151936, 40960, True, QWEN3),
    "1.7b": Shape(28, 2048, 6144, 16, 8, 128, 151936, 40960, True, QWEN3),
    "4b": Shape(36, 2560, 9728, 32, 8, 128, 151936, 40960, True, QWEN3),
    "8b": Shape(36, 4096, 12288, 32, 8, 128, 151936, 40960, False, QWEN3),
    # Llama-3.2-1B.
    "llama-1b": Shape(16, 2048, 8192, 32, 8, 64, 128256, 131072, True, LLAMA),
}


def config(shape):
    """config.json as Hugging Face has it."""
    sizes = SHAPES[shape]
    family = sizes.family
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "vocab_size": sizes.rows,
        "max_position_embeddings": sizes.positions,
        "rms_norm_eps": family.rms_norm_eps,
        "rope_theta": family.rope_theta,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": sizes.tied,
        "torch_dtype": "bfloat16",
        "eos_token_id": sizes.rows - 1,
        **family.entries,
    }


def tensors(shape):
    """(name, shape) of every tensor, in the order of the file."""
    layers, hidden, intermediate, heads, kv_heads, head_dim, rows, _, tied, family = SHAPES[shape]
    yield "model.embed_tokens.weight", (rows, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (hidden,)
        yield at + "self_attn.q_proj.weight", (heads * head_dim, hidden)
        yield at + "self_attn.k_proj.weight", (kv_heads * head_dim, hidden)
        yield at + "self_attn.v_proj.weight", (kv_heads * head_dim, hidden)
        if family.qk_norm:
            yield at + "self_attn.q_norm.weight", (head_dim,)
            yield at + "self_attn.k_norm.weight", (head_dim,)
        yield at + "self_attn.o_proj.weight", (hidden, heads * head_dim)
        yield at + "post_attention_layernorm.weight", (hidden,)
        yield at + "mlp.gate_proj.weight", (intermediate, hidden)
        yield at + "mlp.up_proj.weight", (intermediate, hidden)
        yield at + "mlp.down_proj.weight", (hidden, intermediate)
    yield "model.norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (rows, hidden)


def bf16(values):
    """Bit patterns, rounded to the nearest, ties to even."""
    bits = values.view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def header(shape):
    """What stands before the tensors, and their bytes."""
    entries, at = {}, 0
    for name, dims in tensors(shape):
        size = 2 * math.prod(dims)
        entries[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, at


def write_hollow(shape, folder):
    """Writes both files with zeros for weights, which take no room on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    before, size = header(shape)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(before)
        out.truncate(len(before) + size)
    (folder / "config.json").write_text(json.dumps(config(shape), indent=1))


def write(shape, folder):
    """Writes both files, the weights under a temporary name first."""
    # Nothing else here needs it.
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    part = folder / "model.safetensors.part"
    with open(part, "wb") as out:
        out.write(header(shape)[0])
        for _, dims in tensors(shape):
            values = rng.standard_normal(dims, np.float32) * np.float32(STD)
            # Norm gains stand around 1.
            out.write(bf16(values + 1 if len(dims) == 1 else values).tobytes())
    (folder / "config.json").write_text(json.dumps(config(shape), indent=1))
    part.rename(folder / "model.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    if not (arguments.folder / "model.safetensors").exists():
        write(arguments.shape, arguments.folder)
