"""Language models compiled by qwenc to a shared library."""

from ._library import BadArgument, ContextFull, QwenError
from .model import KvCache, Model, ModelInfo, Piece, Request, Sampling

__all__ = [
    "BadArgument",
    "ContextFull",
    "KvCache",
    "Model",
    "ModelInfo",
    "Piece",
    "QwenError",
    "Request",
    "Sampling",
]
__version__ = "0.1.0"
