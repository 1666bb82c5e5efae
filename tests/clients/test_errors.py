"""What is wrong is refused in OpenAI's shape, which the client makes an exception with code and param."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

Ask = Callable[..., Any]
Raw = Callable[..., tuple[int, Any]]
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    "more, param, code",
    [
        ({"temprature": 1}, "temprature", "unknown_parameter"),
        ({"temperature": "warm"}, "temperature", "invalid_type"),
        ({"temperature": 2.1}, "temperature", None),
        ({"top_p": -0.1}, "top_p", None),
        ({"top_k": 1.5}, "top_k", "invalid_type"),
        ({"min_p": 2}, "min_p", None),
        ({"presence_penalty": 3}, "presence_penalty", None),
        ({"frequency_penalty": -3}, "frequency_penalty", None),
        ({"repetition_penalty": 0}, "repetition_penalty", None),
        ({"logit_bias": {"word": 1}}, "logit_bias", None),
        ({"logit_bias": {"5": 101}}, "logit_bias", None),
        ({"logit_bias": [5]}, "logit_bias", "invalid_type"),
        ({"seed": "x"}, "seed", "invalid_type"),
        ({"n": 0}, "n", None),
        ({"n": 17}, "n", None),
        ({"stop": ["a"] * 17}, "stop", None),
        ({"stop": ""}, "stop", None),
        ({"stop": 5}, "stop", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", None),
        ({"max_completion_tokens": -1}, "max_completion_tokens", None),
        ({"logprobs": 2}, "logprobs", "invalid_type"),
        ({"top_logprobs": 3}, "top_logprobs", None),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", None),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "unknown_parameter"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking", "invalid_type"),
        ({"chat_template_kwargs": {"thinking": True}}, "chat_template_kwargs.thinking", "unknown_parameter"),
        ({"lora": "none such"}, "lora", "adapter_not_found"),
        ({"model": 5}, "model", "invalid_type"),
    ],
)
def test_fields(raw: Raw, more: dict[str, Any], param: str, code: str | None) -> None:
    status, body = raw("/v1/chat/completions", {"messages": HELLO, **more})
    assert status == 400, body
    error = body["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert param.split(".")[-1] in error["message"]


@pytest.mark.parametrize(
    "messages, param, code",
    [
        ([], "messages", None),
        ("Hello", "messages", "invalid_type"),
        (None, "messages", "missing_required_parameter"),
        (["Hello"], "messages[0]", "invalid_type"),
        ([{"content": "Hello"}], "messages[0].role", "missing_required_parameter"),
        ([{"role": "robot", "content": "Hello"}], "messages[0].role", None),
        ([*HELLO, {"role": "tool", "content": "x"}], "messages[1].tool_call_id", "missing_required_parameter"),
        ([{"role": "user"}], "messages[0].content", "missing_required_parameter"),
        ([{"role": "user", "content": 5}], "messages[0].content", "invalid_type"),
        ([{"role": "user", "content": "x", "mood": "good"}], "messages[0].mood", "unknown_parameter"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}],
         "messages[0].content[0].type", None),
    ],
)  # fmt: skip
def test_messages(client: openai.OpenAI, model: str, messages: Any, param: str, code: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=messages)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_too_long_prompts(ask: Ask, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask("word " * 4000)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    for prompt in ["word " * 4000, [5] * 4000]:
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(model="any", prompt=prompt)
        assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")


@pytest.mark.parametrize(
    "more, param",
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [99999999]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": {"text": "x"}}, "prompt"),
        ({"prompt": ["x"] * 17}, "prompt"),
        ({"prompt": "x", "best_of": 3}, "best_of"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "messages": HELLO}, "messages"),
    ],
)
def test_completions(client: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    body = {key: value for key, value in more.items() if key != "prompt"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="any", prompt=more["prompt"], extra_body=body)
    assert refused.value.param == param


@pytest.mark.parametrize("tokens", [[-1], [1.5], ["a"], [99999999], "abc"])
def test_detokenize_names_its_field(raw: Raw, tokens: Any) -> None:
    status, body = raw("/detokenize", {"tokens": tokens})
    assert status == 400 and body["error"]["param"].startswith("tokens"), body


def test_whole_numbers_may_be_written_with_a_point(raw: Raw) -> None:
    """As JSON Schema has it, which the document at /openapi.json is written in."""
    body = {"messages": HELLO, "max_tokens": 3.0, "seed": 1.0, "n": 1.0, "top_k": 5.0}
    status, answer = raw("/v1/chat/completions", body)
    assert status == 200, answer
    assert raw("/detokenize", {"tokens": [5.0]}) == raw("/detokenize", {"tokens": [5]})


def test_biases_of_no_token(raw: Raw) -> None:
    for key in ["99999999", "+5"]:
        status, body = raw("/v1/chat/completions", {"messages": HELLO, "logit_bias": {key: 1}})
        assert status == 400 and body["error"]["param"] == "logit_bias", f"{key}: {body}"


def test_null_is_as_if_it_were_not_there(raw: Raw) -> None:
    names = ["temperature", "top_p", "seed", "n", "stop", "max_tokens", "tools", "tool_choice", "response_format"]
    status, body = raw("/v1/chat/completions", {"messages": HELLO, "user": "me", **dict.fromkeys(names)})
    assert status == 200, body


@pytest.mark.parametrize(
    "path, body, headers, status",
    [
        ("/v1/nothing", None, {}, 404),
        ("/v1/chat/completions", None, {}, 405),
        ("/v1/models", b"{}", {}, 405),
        ("/v1/models/another", None, {}, 404),
        ("/v1/models/%ff", None, {}, 404),
        ("/v1/chat/completions", b"{", {}, 400),
        ("/v1/chat/completions", b"[]", {}, 400),
        ("/v1/chat/completions", b"\xff\xfe", {}, 400),
        ("/v1/chat/completions", b"[" * 100_000, {}, 400),
        ("/v1/chat/completions", b"{}", {"Content-Type": "text/plain"}, 415),
    ],
)
def test_the_shape_of_refusals(raw: Raw, path: str, body: bytes, headers: dict[str, str], status: int) -> None:
    found, answer = raw(path, body, headers)
    assert found == status and set(answer["error"]) == {"message", "type", "param", "code"}
