"""What the check runs, and how far from right an answer may be.

An error is squared error over squared size of all logits. Transformers' logits are those of the checkpoint in
float32; the CPU's are those of the same weight type, so that what is left is the order of additions and, where inputs
are rounded, values that stood at an edge.
"""

import dataclasses

# Checkpoint folders below models/tests/data/golden; `sample` is the built-in one.
MODELS = ("qwen3-tied", "qwen3-untied-mha", "qwen3-yarn", "qwen3-sliding", "sample")
# These have more positions or layers of another kind, which is the same for every type of weights.
EXACT_ONLY = ("qwen3-yarn", "qwen3-sliding")
# Tokens to generate.
GENERATE = 24


@dataclasses.dataclass(frozen=True)
class Type:
    name: str
    quant: str
    # Largest error against transformers on the goldens, and against the CPU.
    golden: float
    cpu: float
    # Flags of `qwenc compile` besides.
    flags: tuple = ()


TYPES = (
    Type("f32", "f32", 1e-7, 1e-7),
    Type("bf16", "bf16", 1e-6, 1e-6),
    Type("bf16-activations", "bf16", 1e-3, 1e-3, ("--activations", "bf16")),
    Type("int8", "int8", 1e-3, 1e-4),
    Type("int4", "int4", 9e-2, 1e-3),
)

# Rounded caches may add this.
CACHES = {"f32": 0.0, "bf16": 1e-3, "int8": 1e-3}
DECODES = ("graph", "launches", "persistent")

# Shapes of benches/checkpoint.py, and the types that speed is measured with; bf16 inputs only where targets look.
SPEED_TYPES = ("bf16", "bf16-activations", "int8")
TARGET_SHAPES = ("0.6b", "8b", "llama-1b")
# Shapes that are measured beside a published figure alone: in bf16, at the shortest context.
PUBLISHED = ("llama-1b",)
TARGET_CONTEXTS = (128, 16384)
# How transformers decodes: one recorded CUDA graph, or torch.compile too, which takes minutes.
PEERS = ("capture", "compile", "none")

# Positions at the end of decode, and tokens of the prompt measured in the same call.
CONTEXTS = ((128, 128), (2048, 512), (16384, 4096))


def types_of(model, wanted):
    """The types that a model is compiled with."""
    for kind in TYPES:
        if kind.name in wanted and (model not in EXACT_ONLY or kind.name == "f32"):
            yield kind


def speed_types_of(shape, wanted):
    """The types that a shape is compiled with."""
    names = ("bf16",) if shape in PUBLISHED else SPEED_TYPES
    for kind in TYPES:
        if kind.name in names and kind.name in wanted and (not kind.flags or shape in TARGET_SHAPES):
            yield kind


def contexts_of(shape, wanted):
    """Those of CONTEXTS that a shape is measured at, of the wanted ones."""
    for context, prompt in CONTEXTS[:1] if shape in PUBLISHED else CONTEXTS:
        if context in wanted:
            yield context, prompt


def of_name(name):
    return next(kind for kind in TYPES if kind.name == name)
