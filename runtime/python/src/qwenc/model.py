"""Models, caches, and what they compute.

In: a library's path, texts, tokens. Out: tokens, texts, arrays. Invariant: a handle is freed exactly once, when it is
closed or nobody has it any more, and is not used after; every failure is a QwenError.
"""

from __future__ import annotations

import codecs
import ctypes as c
import json
import os
import secrets
import weakref
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from . import _library as lib
from ._library import BadArgument, ContextFull, QwenError


@dataclass(frozen=True)
class ModelInfo:
    """What a model is."""

    name: str
    architecture: str
    weight_type: str
    parameters: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    max_context: int
    vocab: int
    tokens: int
    kv_type: str
    rms_eps: float
    rope_theta: float
    stop_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Sampling:
    """How to choose a token. Without a temperature it is the likeliest one."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    #: Makes it repeatable; another one each time if not given.
    seed: int = field(default_factory=lambda: secrets.randbits(64))
    #: Which of the seed's random numbers: 0 for an answer's first token, then 1, 2 ...
    draw: int = 0

    def _struct(self) -> lib.SamplingStruct:
        k = _in_range("top_k", self.top_k, 2**32)
        seed, draw = _in_range("seed", self.seed, 2**64), _in_range("draw", self.draw, 2**64)
        return lib.SamplingStruct(self.temperature, k, self.top_p, self.min_p, seed, draw)


@dataclass(frozen=True)
class Request:
    """One of several sequences that take a step together."""

    cache: KvCache
    tokens: Sequence[int]
    #: Where tokens[0] stands; what the cache holds from there on is forgotten. None: at its end.
    position: int | None = None
    sampling: Sampling = field(default_factory=Sampling)


class Piece(NamedTuple):
    """A token of an answer, and the text that is certain with it; a last piece may be the rest of a text alone."""

    token: int | None
    text: str


def _in_range(name: str, value: int, end: int) -> int:
    if not 0 <= value < end:
        raise BadArgument(f"{name} is {value}, expected 0 to {end - 1}")
    return value


def _array(tokens: Sequence[int]) -> c.Array[c.c_uint32]:
    values = [_in_range("token", int(t), 2**32) for t in tokens]
    return (c.c_uint32 * len(values))(*values)


class _Handle:
    """A handle of the library, freed once."""

    def __init__(self, library: c.CDLL, handle: int | None, free: Callable[[int], None]) -> None:
        if not handle:
            raise lib.failure(library, library.qwen_last_status())
        self._library = library
        self._raw = handle
        self._finalizer = weakref.finalize(self, free, handle)

    @property
    def _handle(self) -> int:
        if not self._finalizer.alive:
            raise QwenError(f"this {type(self).__name__} is closed")
        return self._raw

    def close(self) -> None:
        """Frees it; it cannot be used any more."""
        self._finalizer()

    def _check(self, result: int) -> int:
        if result < 0:
            raise lib.failure(self._library, result)
        return result

    def _filled(self, fill: Callable[[Any, int], int], kind: Any) -> Any:
        """An array of as many elements as `fill` says there are."""
        capacity = 256
        while True:
            array = (kind * capacity)()
            count = self._check(fill(array, capacity))
            if count <= capacity:
                return array[:count]
            capacity = count


class KvCache(_Handle):
    """A sequence of tokens and its keys and values. Made by `Model.cache` and `KvCache.fork`."""

    def __init__(self, model: Model, handle: int | None) -> None:
        super().__init__(model._library, handle, model._library.qwen_cache_free)
        self.model = model

    def __len__(self) -> int:
        return self._check(self._library.qwen_cache_length(self._handle))

    def __bool__(self) -> bool:
        return True

    @property
    def tokens(self) -> list[int]:
        """The tokens in it."""
        tokens: list[int] = self._filled(
            lambda array, n: self._library.qwen_cache_tokens(self._handle, array, n), c.c_uint32
        )
        return tokens

    def fork(self, length: int | None = None) -> KvCache:
        """A cache with its first `length` tokens, or all."""
        length = len(self) if length is None else _in_range("length", length, 2**64)
        return KvCache(self.model, self._library.qwen_cache_duplicate(self._handle, length))

    def truncate(self, length: int) -> None:
        """Forgets all tokens from position `length` on."""
        self._check(self._library.qwen_cache_truncate(self._handle, _in_range("length", length, 2**64)))

    def reuse(self, tokens: Sequence[int]) -> int:
        """Forgets what is not the beginning of `tokens`; returns how many of these need not be fed."""
        array = _array(tokens)
        return self._check(self._library.qwen_cache_reuse(self._handle, array, len(array)))

    def __enter__(self) -> KvCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Model(_Handle):
    """A model loaded from its library."""

    def __init__(
        self,
        library: str | os.PathLike[str],
        *,
        weights: str | os.PathLike[str] | None = None,
        threads: int = 0,
        device: int = 0,
        context: int = 0,
        chunk: int = 0,
        batch: int = 0,
        kv_type: str | None = None,
    ) -> None:
        opened = lib.open_library(library)
        numbers = {"threads": threads, "device": device, "context": context, "chunk": chunk, "batch": batch}
        if kv_type not in lib.KV_TYPES:
            raise BadArgument(f"kv_type is {kv_type!r}, expected f32, bf16 or int8")
        options = lib.Options(
            size=c.sizeof(lib.Options),
            weights=None if weights is None else os.fsencode(weights),
            kv_type=lib.KV_TYPES[kv_type],
            **{name: _in_range(name, value, 2**32) for name, value in numbers.items()},
        )
        super().__init__(opened, opened.qwen_load(c.byref(options)), opened.qwen_free)
        self.info = self._info()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _info(self) -> ModelInfo:
        info = lib.Info(size=c.sizeof(lib.Info))
        self._check(self._library.qwen_model_info(self._handle, c.byref(info)))
        kv_types = {number: name for name, number in lib.KV_TYPES.items() if name}
        values = {name: getattr(info, name) for name in ModelInfo.__dataclass_fields__}
        for name in ("name", "architecture", "weight_type"):
            values[name] = values[name].decode()
        values["kv_type"] = kv_types[info.kv_type]
        values["stop_tokens"] = tuple(info.stop_tokens[: info.stop_count])
        return ModelInfo(**values)

    def tokenize(self, text: str, *, controls: bool = True) -> list[int]:
        """Tokens of a prompt. Without `controls`, as for what users wrote, names of control tokens are text."""
        data = text.encode()
        tokens: list[int] = self._filled(
            lambda array, n: self._library.qwen_tokenize(self._handle, data, len(data), controls, array, n),
            c.c_uint32,
        )
        return tokens

    def detokenize_bytes(self, tokens: Sequence[int]) -> bytes:
        """The bytes of tokens; characters may be cut at either end."""
        array = _array(tokens)
        data: bytes = self._filled(
            lambda text, n: self._library.qwen_detokenize(self._handle, array, len(array), text, n), c.c_char
        )
        return data

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens, cut characters replaced."""
        return self.detokenize_bytes(tokens).decode("utf-8", "replace")

    def apply_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
    ) -> str:
        """A conversation as the model's chat template writes it."""
        chat = self._chat(messages, tools, thinking)
        data: bytes = self._filled(
            lambda text, n: self._library.qwen_apply_template(self._handle, c.byref(chat), text, n), c.c_char
        )
        return data.decode()

    def chat_tokens(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
    ) -> list[int]:
        """A conversation as tokens, so that what users wrote never becomes a control token."""
        chat = self._chat(messages, tools, thinking)
        tokens: list[int] = self._filled(
            lambda array, n: self._library.qwen_chat_tokens(self._handle, c.byref(chat), array, n), c.c_uint32
        )
        return tokens

    @staticmethod
    def _chat(
        messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None, thinking: bool | None
    ) -> lib.Chat:
        return lib.Chat(
            size=c.sizeof(lib.Chat),
            messages_json=json.dumps(list(messages)).encode(),
            tools_json=None if tools is None else json.dumps(list(tools)).encode(),
            thinking={None: 0, True: 1, False: -1}[thinking],
        )

    def cache(self) -> KvCache:
        """An empty cache."""
        return KvCache(self, self._library.qwen_cache_new(self._handle))

    def infer_batch(self, requests: Sequence[Request]) -> list[int]:
        """The token that comes after each request's tokens, which are fed to its cache."""
        structs, _keep = _structs(requests)
        following = (c.c_uint32 * len(requests))()
        self._check(self._library.qwen_infer_batch(self._handle, structs, len(requests), following))
        return list(following)

    def logits_batch(self, requests: Sequence[Request]) -> npt.NDArray[np.float32]:
        """The logits after each request's last token: [requests, vocab]."""
        structs, _keep = _structs(requests)
        logits = np.empty((len(requests), self.info.vocab), dtype=np.float32)
        start = logits.ctypes.data_as(c.POINTER(c.c_float))
        self._check(self._library.qwen_logits_batch(self._handle, structs, len(requests), start))
        return logits

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        cache: KvCache | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        ignore_stop: bool = False,
    ) -> Iterator[Piece]:
        """Continues a text or tokens, piece by piece, until a stop token (which comes as a piece without text),
        `max_tokens`, or a full context. A cache that is given holds what was fed: all but the last token."""
        tokens = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        how = Sampling() if sampling is None else sampling
        if cache is not None:
            yield from self._pieces(tokens, cache, how, max_tokens, ignore_stop)
            return
        with self.cache() as own:
            yield from self._pieces(tokens, own, how, max_tokens, ignore_stop)

    def _pieces(
        self, tokens: Sequence[int], cache: KvCache, how: Sampling, most: int | None, ignore_stop: bool
    ) -> Iterator[Piece]:
        characters = codecs.getincrementaldecoder("utf-8")("replace")
        made = 0
        while most is None or made < most:
            try:
                (token,) = self.infer_batch([Request(cache, tokens, sampling=replace(how, draw=how.draw + made))])
            except ContextFull:
                if made == 0:
                    raise
                break
            made += 1
            if not ignore_stop and token in self.info.stop_tokens:
                yield Piece(token, "")
                break
            yield Piece(token, characters.decode(self.detokenize_bytes([token])))
            tokens = [token]
        rest = characters.decode(b"", final=True)
        if rest:
            yield Piece(None, rest)


def _structs(requests: Sequence[Request]) -> tuple[Any, list[Any]]:
    """The requests for the library, and what must live as long as they."""
    arrays = [_array(r.tokens) for r in requests]
    structs = (lib.RequestStruct * len(requests))()
    for struct, request, array in zip(structs, requests, arrays):
        struct.cache, struct.count = request.cache._handle, len(array)
        struct.tokens = c.cast(array, c.POINTER(c.c_uint32))
        at_end = request.position is None
        struct.position = lib.AT_END if at_end else _in_range("position", request.position or 0, lib.AT_END)
        struct.sampling = request.sampling._struct()
    return structs, [arrays, *requests]
