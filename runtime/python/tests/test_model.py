"""The package against a library of the sample model and an executable of the same: QWEN_LIBRARY and QWEN_EXECUTABLE."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import Iterator

import numpy as np
import pytest

import qwenc
from qwenc import BadArgument, ContextFull, Model, QwenError, Request, Sampling

LIBRARY, EXECUTABLE = os.environ["QWEN_LIBRARY"], os.environ["QWEN_EXECUTABLE"]
GREEDY = Sampling(seed=0)


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with Model(LIBRARY, context=256, threads=2) as model:
        yield model


def executable(*args: str) -> str:
    return subprocess.run([EXECUTABLE, *args], check=True, capture_output=True, text=True).stdout


def text(model: Model, prompt: str) -> str:
    return "".join(piece.text for piece in model.generate(prompt, sampling=GREEDY))


def test_the_wheel_is_what_is_tested() -> None:
    assert os.environ["QWEN_PACKAGE"] in (qwenc.__file__ or "")


def test_answers(model: Model) -> None:
    assert text(model, "The capital of Brazil is") == " Brasília."
    pieces = list(model.generate("The capital of Brazil is"))
    assert pieces[-1] == (model.info.stop_tokens[0], "") or pieces[-1].token in model.info.stop_tokens


@pytest.mark.parametrize("temperature, seed", [(0.0, 0), (1.3, 7), (0.9, 12345)])
def test_the_same_tokens_as_the_executable(model: Model, temperature: float, seed: int) -> None:
    prompt = "The capital of"
    said = executable(
        "generate", prompt, "--print-tokens", "--ignore-eos", "--max-tokens", "24",
        "--temperature", str(temperature), "--seed", str(seed), "--top-p", "0.95", "--top-k", "50",
    )  # fmt: skip
    how = Sampling(temperature, top_k=50, top_p=0.95, seed=seed)
    pieces = list(model.generate(prompt, sampling=how, max_tokens=24, ignore_stop=True))
    assert [p.token for p in pieces if p.token is not None] == [int(t) for t in said.split(",")]


def test_conversations(model: Model) -> None:
    messages = [{"role": "user", "content": "What is 7 + 5?"}]
    shown = model.apply_template(messages, thinking=False)
    assert shown.startswith("<|im_start|>user\nWhat is 7 + 5?<|im_end|>")
    assert model.chat_tokens(messages, thinking=False) == model.tokenize(shown)
    tokens = model.chat_tokens(messages, thinking=False)
    answer = "".join(p.text for p in model.generate(tokens, sampling=GREEDY))
    assert answer + "\n" == executable("chat", "--no-think", "--temperature", "0", "--prompt", "What is 7 + 5?")
    trick = model.chat_tokens([{"role": "user", "content": "<|im_end|>"}])
    assert trick.count(model.tokenize("<|im_end|>")[0]) == 1


def test_texts_of_every_kind(model: Model) -> None:
    for said in ["", "héllo 你好", "a" * 3000]:
        assert model.detokenize(model.tokenize(said, controls=False)) == said
    cut = model.tokenize("鱻")[:1]
    assert model.detokenize(cut) == "\ufffd" and len(model.detokenize_bytes(cut)) > 0


def test_batches_and_forks(model: Model) -> None:
    prompts = [model.tokenize(f"The capital of {name} is") for name in ("Japan", "Peru", "Brazil")]
    alone = []
    for prompt in prompts:
        with model.cache() as cache:
            alone.append(model.infer_batch([Request(cache, prompt)])[0])
    shared = os.path.commonprefix(prompts)
    assert len(shared) >= 2
    with model.cache() as first:
        model.infer_batch([Request(first, shared)])
        forks = [first.fork() for _ in prompts]
        requests = [Request(f, p[len(shared) :], len(shared)) for f, p in zip(forks, prompts)]
        assert model.infer_batch(requests) == alone
        logits = model.logits_batch(requests)
        assert logits.shape == (3, model.info.vocab) and logits.dtype == np.float32
        assert list(logits[:, : model.info.tokens].argmax(axis=1)) == alone
        assert [f.tokens for f in forks] == prompts and first.tokens == shared and len(first) == len(shared)
        assert forks[0].reuse(prompts[1]) == len(os.path.commonprefix(prompts[:2]))
        forks[1].truncate(1)
        assert len(forks[1]) == 1 and len(forks[2].fork(2)) == 2


def test_a_cache_goes_on_where_it_ended(model: Model) -> None:
    prompt = model.tokenize("The capital of Brazil is")
    with model.cache() as cache:
        pieces = list(model.generate(prompt, cache=cache, sampling=GREEDY))
        assert cache.tokens == prompt + [p.token for p in pieces][:-1]


def test_what_it_is(model: Model) -> None:
    info = model.info
    assert (info.layers, info.hidden, info.heads, info.kv_heads, info.head_dim) == (4, 128, 4, 2, 64)
    assert (info.vocab, info.tokens, info.context, info.max_context) == (2048, 2046, 256, 2048)
    assert info.rms_eps == 1e-6 and info.rope_theta > 0 and info.kv_type == "f32"
    assert info.parameters == 1246848 and len(info.stop_tokens) >= 1


def test_errors(model: Model, tmp_path: os.PathLike[str]) -> None:
    with model.cache() as cache:
        with pytest.raises(ContextFull, match="257 tokens are needed and it holds 256"):
            model.infer_batch([Request(cache, [1] * 257)])
        for bad, words in [
            (Request(cache, []), "count is 0"),
            (Request(cache, [-1]), "token is -1"),
            (Request(cache, [2048]), "out of range"),
            (Request(cache, [1], 7), "position is 7"),
            (Request(cache, [1], sampling=Sampling(temperature=-1.0)), "temperature"),
        ]:
            with pytest.raises(BadArgument, match=words):
                model.infer_batch([bad])
        with pytest.raises(BadArgument, match="one cache"):
            model.infer_batch([Request(cache, [1]), Request(cache, [1])])
        assert len(cache) == 0
    with pytest.raises(QwenError, match="closed"):
        len(cache)
    with pytest.raises(QwenError, match="cannot open"):
        Model("/nowhere/libqwen.so")
    with pytest.raises(QwenError, match="cannot open /nowhere"):
        Model(LIBRARY, weights="/nowhere")
    with pytest.raises(BadArgument, match="threads is 5000"):
        Model(LIBRARY, threads=5000)
    with pytest.raises(BadArgument, match="kv_type"):
        Model(LIBRARY, kv_type="f8")


def test_a_cache_outlives_its_model_and_closing_twice_is_nothing() -> None:
    model = Model(LIBRARY, context=64)
    cache = model.cache()
    model.close()
    model.close()
    assert len(cache) == 0
    with pytest.raises(QwenError, match="closed"):
        model.cache()
    cache.close()


def test_threads(model: Model) -> None:
    prompts = [f"The capital of {name} is" for name in ("Japan", "Peru", "Brazil", "France")]
    expected = [text(model, p) for p in prompts]
    found: dict[str, str] = {}

    def ask(prompt: str) -> None:
        found[prompt] = text(model, prompt)

    threads = [threading.Thread(target=ask, args=(p,)) for p in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[p] for p in prompts] == expected
