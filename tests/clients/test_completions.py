"""OpenAI's older interface, and the way from texts to tokens and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

BRAZIL = "The capital of Brazil is"
Raw = Callable[..., tuple[int, Any]]


def complete(client: openai.OpenAI, prompt: Any, **more: Any) -> Any:
    return client.completions.create(model="any", prompt=prompt, **{"temperature": 0, **more})


def test_texts_and_ids(client: openai.OpenAI, raw: Raw) -> None:
    ids = raw("/tokenize", {"content": BRAZIL})[1]["tokens"]
    for prompt in [BRAZIL, [BRAZIL], ids, [ids]]:
        answer = complete(client, prompt)
        assert answer.choices[0].text == " Brasília."
        assert answer.usage.prompt_tokens == len(ids)
    both = complete(client, [BRAZIL, "The capital of Japan is"], n=2)
    assert [choice.text for choice in both.choices] == [" Brasília."] * 2 + [" Tokyo."] * 2


def test_echo_and_streams(client: openai.OpenAI) -> None:
    assert complete(client, BRAZIL, echo=True).choices[0].text == f"{BRAZIL} Brasília."
    for echo in [False, True]:
        chunks = list(complete(client, BRAZIL, echo=echo, stream=True, stream_options={"include_usage": True}))
        text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
        assert text == complete(client, BRAZIL, echo=echo).choices[0].text
        assert chunks[-1].usage == complete(client, BRAZIL).usage.model_copy(
            update={"prompt_tokens_details": chunks[-1].usage.prompt_tokens_details}
        )


def test_logprobs(client: openai.OpenAI) -> None:
    choice = complete(client, BRAZIL, logprobs=3).choices[0]
    told = choice.logprobs
    assert "".join(told.tokens) == choice.text
    assert told.text_offset == [sum(map(len, told.tokens[:i])) for i in range(len(told.tokens))]
    for token, logprob, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert len(top) == 3 and top[token] == logprob == max(top.values())


def test_stop_strings(client: openai.OpenAI) -> None:
    for stop, said in [("í", " Bras"), ("lia.", " Brasí"), (" B", ""), ([".", "x"], " Brasília")]:
        assert complete(client, BRAZIL, stop=stop).choices[0].text == said
        assert "".join(c.choices[0].text for c in complete(client, BRAZIL, stop=stop, stream=True)) == said


@pytest.mark.parametrize("text", ["Hello", "Olá, São Paulo!", "你好", "a\tb\n  c", "🦜🦜", "<|im_start|>user", ""])
def test_round_trips(raw: Raw, text: str) -> None:
    for special in [True, False]:
        status, found = raw("/tokenize", {"content": text, "parse_special": special})
        assert status == 200 and found["count"] == len(found["tokens"])
        if special and "<|" in text:
            continue  # Control tokens have no text of their own.
        assert raw("/detokenize", {"tokens": found["tokens"]}) == (200, {"content": text})


def test_names_of_control_tokens(raw: Raw) -> None:
    read = raw("/tokenize", {"content": "<|im_start|>"})[1]["count"]
    literal = raw("/tokenize", {"content": "<|im_start|>", "parse_special": False})[1]["count"]
    assert read == 1 < literal


def test_a_conversation_has_the_tokens_that_a_chat_counts(raw: Raw, ask: Callable[..., Any]) -> None:
    messages = [{"role": "user", "content": "What is 7 + 5?"}]
    count = raw("/tokenize", {"messages": messages})[1]["count"]
    assert count == ask("", think=True, messages=messages).usage.prompt_tokens
