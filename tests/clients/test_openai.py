"""OpenAI's own Python client: answers, streams, seeds, stop strings, probabilities."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import openai
import pytest

Ask = Callable[..., Any]
JAPAN = "What is the capital of Japan?"
SAID = "The capital of Japan is Tokyo."


def joined(stream: Any, index: int = 0) -> tuple[str, str | None, list[Any]]:
    """Text, finish reason and all chunks of a stream."""
    chunks = list(stream)
    of_one = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    ends = [choice.finish_reason for choice in of_one if choice.finish_reason]
    assert len(ends) <= 1 and (not ends or of_one[-1].finish_reason), "nothing follows the end"
    return "".join(choice.delta.content or "" for choice in of_one), ends[0] if ends else None, chunks


@pytest.mark.parametrize(
    "question, expected",
    [(JAPAN, "Tokyo"), ("What is the capital of Brazil?", "Brasília"), ("What is 7 + 5?", "12")],
)
def test_known_answers(ask: Ask, question: str, expected: str) -> None:
    answer = ask(question)
    choice = answer.choices[0]
    assert expected in choice.message.content
    assert (answer.object, choice.finish_reason, choice.message.role) == ("chat.completion", "stop", "assistant")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_thinking_is_apart(ask: Ask) -> None:
    answer = ask(JAPAN, think=True).choices[0].message
    assert answer.content == SAID and answer.reasoning_content
    assert "think>" not in answer.content + answer.reasoning_content
    chunks = list(ask(JAPAN, think=True, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert (thought, "".join(d.content or "" for d in deltas)) == (answer.reasoning_content, answer.content)


def test_thinking_is_taken_back(ask: Ask) -> None:
    earlier = {"role": "assistant", "content": SAID, "reasoning_content": "It is Tokyo."}
    messages = [{"role": "user", "content": JAPAN}, earlier, {"role": "user", "content": "What is 7 + 5?"}]
    assert "12" in ask("", messages=messages).choices[0].message.content


def test_parts_and_roles(ask: Ask) -> None:
    parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of Japan?"}]
    for role in ["system", "developer"]:
        messages = [{"role": role, "content": "You are helpful."}, {"role": "user", "content": parts}]
        assert "Tokyo" in ask("", messages=messages).choices[0].message.content


def test_streams_say_the_same(ask: Ask) -> None:
    text, finish, chunks = joined(ask(JAPAN, stream=True, stream_options={"include_usage": True}))
    assert (text, finish) == (SAID, "stop")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks[:-1]) and chunks[-1].choices == []
    whole = ask(JAPAN).usage
    last = chunks[-1].usage
    assert (last.prompt_tokens, last.completion_tokens) == (whole.prompt_tokens, whole.completion_tokens)


def test_without_the_wish_no_usage(ask: Ask) -> None:
    _, _, chunks = joined(ask(JAPAN, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("text", ["你好", "Olá!"])
def test_whole_characters_only(ask: Ask, text: str) -> None:
    how = {"temperature": 1.6, "seed": 3, "max_tokens": 60, "extra_body": {"ignore_eos": True, "top_k": 0, "top_p": 1}}
    pieces = [c.choices[0].delta.content or "" for c in ask(text, stream=True, **how)]
    assert "".join(pieces) == ask(text, **how).choices[0].message.content
    assert all(piece.encode().decode() == piece for piece in pieces)


def test_seeds_repeat(ask: Ask) -> None:
    def said(seed: int, n: int = 1) -> list[str]:
        how = {"temperature": 2, "max_tokens": 24, "extra_body": {"top_k": 0, "top_p": 1, "ignore_eos": True}}
        answer = ask("Hello", seed=seed, n=n, **how)
        assert [choice.index for choice in answer.choices] == list(range(n))
        return [choice.message.content for choice in answer.choices]

    assert said(5) == said(5) and said(-5) == said(-5)
    assert said(5) != said(6)
    assert said(5, n=4) == [one for seed in range(5, 9) for one in said(seed)]


def test_several_answers_in_one_stream(ask: Ask) -> None:
    how = {"temperature": 1, "seed": 9, "n": 3}
    whole = [choice.message.content for choice in ask("Hello", **how).choices]
    chunks = list(ask("Hello", stream=True, stream_options={"include_usage": True}, **how))
    assert [joined(chunks, index)[0] for index in range(3)] == whole
    assert all(joined(chunks, index)[1] == "stop" for index in range(3))
    assert chunks[-1].usage.completion_tokens == ask("Hello", **how).usage.completion_tokens


def test_lengths(ask: Ask) -> None:
    for name in ["max_tokens", "max_completion_tokens"]:
        answer = ask(JAPAN, **{name: 3})
        assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)
    assert ask(JAPAN, max_completion_tokens=2, max_tokens=3).usage.completion_tokens == 2
    assert joined(ask(JAPAN, max_tokens=3, stream=True))[1] == "length"


def every_cut() -> list[tuple[str, str]]:
    """Every text of one to eight characters within the answer: ends and beginnings amid tokens among them."""
    cuts = {SAID[at : at + size] for at in range(len(SAID)) for size in (1, 2, 3, 5, 8)}
    return [(stop, SAID[: SAID.find(stop)]) for stop in sorted(cuts)]


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_never_leak(ask: Ask, stream: bool) -> None:
    for stop, expected in every_cut():
        answer = ask(JAPAN, stop=stop, stream=stream)
        if stream:
            text, finish, _ = joined(answer)
        else:
            text, finish = answer.choices[0].message.content, answer.choices[0].finish_reason
        assert (text, finish) == (expected, "stop"), f"stop {stop!r}"


def test_lists_of_stop_strings(ask: Ask) -> None:
    for stops in [["nowhere", "Tokyo", "of Japan is"], ["of Japan is", "Tokyo", "nowhere"]]:
        assert ask(JAPAN, stop=stops).choices[0].message.content == "The capital "
    # What might have become one, and did not, is said.
    assert joined(ask(JAPAN, stop=["Tokyo.!", "Japan was"], stream=True))[:2] == (SAID, "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_do_not_leak_by_logprobs(ask: Ask, stream: bool) -> None:
    for stop in ["Tok", "of Japan", "apital o", "is Tokyo."]:
        answer = ask(JAPAN, stop=stop, stream=stream, logprobs=True)
        chunks = list(answer) if stream else [answer]
        told = [t for c in chunks for choice in c.choices if choice.logprobs for t in choice.logprobs.content]
        tokens = "".join(t.token for t in told)
        assert stop not in tokens and SAID[: SAID.find(stop)].startswith(tokens), f"{stop!r} after {tokens!r}"


def test_logprobs(ask: Ask) -> None:
    answer = ask(JAPAN, logprobs=True, top_logprobs=4).choices[0]
    told = answer.logprobs.content
    assert b"".join(bytes(t.bytes) for t in told).decode() == answer.message.content
    for token in told:
        best = token.top_logprobs
        assert len(best) == 4 and best == sorted(best, key=lambda t: -t.logprob)
        assert best[0].token == token.token and math.isclose(best[0].logprob, token.logprob, abs_tol=1e-6)
        assert sum(math.exp(t.logprob) for t in best) <= 1.0001
    streamed = [c.choices[0] for c in ask(JAPAN, logprobs=True, top_logprobs=4, stream=True)]
    again = [t for choice in streamed if choice.logprobs for t in choice.logprobs.content]
    assert [(t.token, t.logprob) for t in again] == [(t.token, t.logprob) for t in told]
    assert ask(JAPAN).choices[0].logprobs is None
    assert all(t.top_logprobs == [] for t in ask(JAPAN, logprobs=True).choices[0].logprobs.content)


def test_biases_and_penalties(ask: Ask, raw: Callable[..., Any]) -> None:
    tokens = raw("/tokenize", {"content": " Tokyo"})[1]["tokens"]
    banned = {str(token): -100 for token in tokens}
    assert "Tokyo" not in ask(JAPAN, logit_bias=banned).choices[0].message.content
    again = {"extra_body": {"ignore_eos": True}, "max_tokens": 60}
    plain = ask(JAPAN, **again).choices[0].message.content
    for penalty in ["presence_penalty", "frequency_penalty"]:
        assert ask(JAPAN, **{penalty: 2}, **again).choices[0].message.content != plain
    repeated = {"ignore_eos": True, "repetition_penalty": 3}
    assert ask(JAPAN, extra_body=repeated, max_tokens=60).choices[0].message.content != plain


def test_filters(ask: Ask) -> None:
    for filters in [{"top_k": 1}, {"min_p": 1}]:
        answer = ask(JAPAN, temperature=2, seed=1, extra_body=filters)
        assert answer.choices[0].message.content == SAID
    assert ask(JAPAN, temperature=2, top_p=0.01, seed=1).choices[0].message.content == SAID


def test_models(client: openai.OpenAI, model: str) -> None:
    listed = client.models.list().data
    assert [(one.id, one.object) for one in listed] == [(model, "model")]
    assert client.models.retrieve(model) == listed[0]
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("another")
    assert refused.value.code == "model_not_found"


def test_a_prefix_is_not_read_twice(ask: Ask) -> None:
    messages = [{"role": "system", "content": "Be brief. " * 40}, {"role": "user", "content": JAPAN}]
    first = ask("", messages=messages)
    again = ask("", messages=messages)
    assert again.usage.prompt_tokens_details.cached_tokens > 80
    assert again.choices[0].message.content == first.choices[0].message.content


def test_many_at_once_say_what_one_says(asynchronous: Callable[[], openai.AsyncOpenAI], ask: Ask, model: str) -> None:
    cities = ["Japan", "Brazil", "France", "Peru", "Kenya", "Italy", "Spain", "Egypt"]
    questions = [f"What is the capital of {city}?" for city in cities] * 2
    body = {"chat_template_kwargs": {"enable_thinking": False}}

    async def everybody() -> list[str]:
        async with asynchronous() as many:

            def one(question: str) -> Any:
                messages = [{"role": "user", "content": question}]
                create = many.chat.completions.create
                return create(model=model, messages=messages, temperature=0, extra_body=body)

            return [a.choices[0].message.content for a in await asyncio.gather(*map(one, questions))]

    alone = [ask(question).choices[0].message.content for question in questions]
    assert asyncio.run(everybody()) == alone


def test_a_closed_stream_frees_its_slot(
    ask: Ask, metric: Callable[[str], float], becomes: Callable[[str, float], None]
) -> None:
    before = metric("qwenc_abandoned_total")
    stream = ask("Hello", stream=True, max_tokens=2000, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    becomes("qwenc_abandoned_total", before + 1)
    becomes("qwenc_running", 0)


def test_an_answer_that_stops_is_not_abandoned(
    ask: Ask, metric: Callable[[str], float], becomes: Callable[[str, float], None]
) -> None:
    before = metric("qwenc_abandoned_total")
    assert ask(JAPAN, stop="Japan").choices[0].finish_reason == "stop"
    becomes("qwenc_running", 0)
    ask(JAPAN)  # Whatever was to be counted has been by now.
    assert metric("qwenc_abandoned_total") == before
