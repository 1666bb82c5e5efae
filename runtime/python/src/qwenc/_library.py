"""The functions and structs of qwen.h for ctypes.

In: the path of a library. Out: its functions, typed. Invariant: field by field what the header says; the number of the
interface is checked when a library is opened.
"""

from __future__ import annotations

import ctypes as c
import os

API_VERSION = 1
AT_END = c.c_size_t(-1).value
KV_TYPES = {None: 0, "f32": 1, "bf16": 2, "int8": 3}


class QwenError(Exception):
    """What the library refused, in its words."""


class BadArgument(QwenError, ValueError):
    """A value that makes no sense."""


class ContextFull(QwenError):
    """More tokens than a cache holds. Nothing has changed."""


class Options(c.Structure):
    _fields_ = [
        ("size", c.c_size_t),
        ("weights", c.c_char_p),
        ("threads", c.c_uint32),
        ("device", c.c_uint32),
        ("context", c.c_uint32),
        ("chunk", c.c_uint32),
        ("batch", c.c_uint32),
        ("kv_type", c.c_int32),
    ]


class Info(c.Structure):
    _fields_ = [
        ("size", c.c_size_t),
        ("name", c.c_char_p),
        ("architecture", c.c_char_p),
        ("weight_type", c.c_char_p),
        ("parameters", c.c_uint64),
        ("layers", c.c_uint32),
        ("hidden", c.c_uint32),
        ("intermediate", c.c_uint32),
        ("heads", c.c_uint32),
        ("kv_heads", c.c_uint32),
        ("head_dim", c.c_uint32),
        ("context", c.c_uint32),
        ("max_context", c.c_uint32),
        ("vocab", c.c_uint32),
        ("tokens", c.c_uint32),
        ("kv_type", c.c_int32),
        ("stop_count", c.c_uint32),
        ("rms_eps", c.c_double),
        ("rope_theta", c.c_double),
        ("stop_tokens", c.POINTER(c.c_uint32)),
    ]


class Chat(c.Structure):
    _fields_ = [
        ("size", c.c_size_t),
        ("messages", c.c_void_p),
        ("count", c.c_size_t),
        ("messages_json", c.c_char_p),
        ("tools_json", c.c_char_p),
        ("thinking", c.c_int32),
    ]


class SamplingStruct(c.Structure):
    _fields_ = [
        ("temperature", c.c_float),
        ("top_k", c.c_uint32),
        ("top_p", c.c_float),
        ("min_p", c.c_float),
        ("seed", c.c_uint64),
        ("draw", c.c_uint64),
    ]


class RequestStruct(c.Structure):
    _fields_ = [
        ("cache", c.c_void_p),
        ("tokens", c.POINTER(c.c_uint32)),
        ("count", c.c_size_t),
        ("position", c.c_size_t),
        ("sampling", SamplingStruct),
    ]


_TOKENS = c.POINTER(c.c_uint32)
_REQUESTS = c.POINTER(RequestStruct)
_FUNCTIONS: dict[str, tuple[object, list[object]]] = {
    "qwen_api_version": (c.c_uint32, []),
    "qwen_version": (c.c_char_p, []),
    "qwen_last_error": (c.c_char_p, []),
    "qwen_last_status": (c.c_int32, []),
    "qwen_load": (c.c_void_p, [c.POINTER(Options)]),
    "qwen_free": (None, [c.c_void_p]),
    "qwen_model_info": (c.c_int32, [c.c_void_p, c.POINTER(Info)]),
    "qwen_tokenize": (c.c_int64, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_int32, _TOKENS, c.c_size_t]),
    "qwen_detokenize": (c.c_int64, [c.c_void_p, _TOKENS, c.c_size_t, c.c_char_p, c.c_size_t]),
    "qwen_apply_template": (c.c_int64, [c.c_void_p, c.POINTER(Chat), c.c_char_p, c.c_size_t]),
    "qwen_chat_tokens": (c.c_int64, [c.c_void_p, c.POINTER(Chat), _TOKENS, c.c_size_t]),
    "qwen_cache_new": (c.c_void_p, [c.c_void_p]),
    "qwen_cache_duplicate": (c.c_void_p, [c.c_void_p, c.c_size_t]),
    "qwen_cache_free": (None, [c.c_void_p]),
    "qwen_cache_length": (c.c_int64, [c.c_void_p]),
    "qwen_cache_tokens": (c.c_int64, [c.c_void_p, _TOKENS, c.c_size_t]),
    "qwen_cache_truncate": (c.c_int32, [c.c_void_p, c.c_size_t]),
    "qwen_cache_reuse": (c.c_int64, [c.c_void_p, _TOKENS, c.c_size_t]),
    "qwen_infer_batch": (c.c_int32, [c.c_void_p, _REQUESTS, c.c_size_t, _TOKENS]),
    "qwen_logits_batch": (c.c_int32, [c.c_void_p, _REQUESTS, c.c_size_t, c.POINTER(c.c_float)]),
}


def open_library(path: str | os.PathLike[str]) -> c.CDLL:
    """Opens a library and declares its functions."""
    # A name without a folder would be searched for, and not here.
    found = os.path.abspath(os.fspath(path))
    try:
        library = c.CDLL(found)
    except OSError as e:
        raise QwenError(f"cannot open {found}: {e}") from e
    try:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as e:
        raise QwenError(f"{found} was not made by `qwenc compile --emit lib`: {e}") from e
    version = library.qwen_api_version()
    if version != API_VERSION:
        raise QwenError(f"{found} has interface version {version}, this package {API_VERSION}; compile again")
    return library


def failure(library: c.CDLL, status: int) -> QwenError:
    """The last error of this thread."""
    said = (library.qwen_last_error() or b"").decode("utf-8", "replace")
    return {-1: BadArgument, -3: ContextFull}.get(status, QwenError)(said)
