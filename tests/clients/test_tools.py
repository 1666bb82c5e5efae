"""Calls of tools: by the model's own choice, required, named, whole and streamed, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field

Ask = Callable[..., Any]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
SUM = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"$ref": "#/$defs/small"}},
    "required": ["a", "b"],
    "additionalProperties": False,
    "$defs": {"small": {"type": "integer", "minimum": 0, "maximum": 9}},
}
SCHEMAS = {"get_weather": WEATHER, "add-up": SUM}


def tools(*names: str) -> list[dict[str, Any]]:
    def one(name: str) -> dict[str, Any]:
        return {"name": name, "description": f"Does {name}.", "parameters": SCHEMAS[name]}

    return [{"type": "function", "function": one(name)} for name in names or SCHEMAS]


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def assembled(stream: Any) -> tuple[list[dict[str, str]], str, str | None, int]:
    """Calls of a stream put together as a client does it, content, finish reason, and how many pieces it was."""
    calls: list[dict[str, str]] = []
    content, finish, pieces = "", None, 0
    for chunk in stream:
        choice = chunk.choices[0]
        content += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for piece in choice.delta.tool_calls or []:
            pieces += 1
            if piece.index == len(calls):
                assert piece.id and piece.type == "function" and piece.function.name, "the name comes first"
                calls.append({"id": piece.id, "name": piece.function.name, "arguments": ""})
            assert piece.index == len(calls) - 1, "one call after the other"
            calls[piece.index]["arguments"] += piece.function.arguments or ""
    return calls, content, finish, pieces


def valid(name: str, arguments: str) -> bool:
    jsonschema.validate(json.loads(arguments), SCHEMAS[name])
    return True


def test_the_model_calls_what_it_knows(ask: Ask) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
    choice = ask("What is the weather in Paris?", tools=[tool]).choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    calls, content, finish, pieces = assembled(ask("What is the weather in Paris?", tools=[tool], stream=True))
    assert [(c["name"], c["arguments"]) for c in calls] == [("get_weather", call.function.arguments)]
    assert (content, finish) == ("", "tool_calls") and pieces > 2
    # What a tool said is taken back as a client sends it.
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"},
    ]
    assert ask("", messages=messages, tools=[tool]).choices[0].finish_reason in ("stop", "tool_calls")


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_named_function_is_called(ask: Ask, name: str, temperature: float) -> None:
    for seed in range(4):
        how = {"tools": tools(), "tool_choice": named(name), "seed": seed, "temperature": temperature}
        choice = ask("Hello", max_tokens=400, **how).choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        assert call.function.name == name and valid(name, call.function.arguments)
        calls, _, finish, _ = assembled(ask("Hello", max_tokens=400, stream=True, **how))
        assert [(c["name"], c["arguments"]) for c in calls] == [(name, call.function.arguments)]
        assert finish == "tool_calls"


def test_required_calls(ask: Ask) -> None:
    for seed in range(6):
        how = {"tools": tools(), "tool_choice": "required", "seed": seed, "temperature": 1.5, "max_tokens": 400}
        for many in [False, True]:
            calls, content, finish, _ = assembled(ask("Hello", stream=True, parallel_tool_calls=many, **how))
            assert calls and content == "" and (many or len(calls) == 1)
            whole = finish == "tool_calls"
            assert all(valid(c["name"], c["arguments"]) for c in (calls if whole else calls[:-1]))
            assert len({c["id"] for c in calls}) == len(calls)


def test_required_calls_after_thinking(ask: Ask) -> None:
    choice = ask(
        "What is the capital of Japan?", think=True, tools=tools(), tool_choice="required", max_tokens=600
    ).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.reasoning_content
    assert all(valid(c.function.name, c.function.arguments) for c in choice.message.tool_calls)


def test_none_is_none(ask: Ask) -> None:
    choice = ask("What is the weather in Paris?", tools=tools(), tool_choice="none").choices[0]
    assert not choice.message.tool_calls and choice.finish_reason == "stop"


def test_the_parser_of_the_client(client: openai.OpenAI, model: str) -> None:
    class Weather(BaseModel):
        """Tells the weather."""

        city: str = Field(max_length=12)

    how = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [openai.pydantic_function_tool(Weather)],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
    }
    (call,) = client.chat.completions.parse(**how).choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)
    with client.chat.completions.stream(**how, temperature=0) as stream:
        kinds = {event.type for event in stream}
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds


@pytest.mark.parametrize(
    "more, param",
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": tools(), "tool_choice": named("other")}, "tool_choice"),
        ({"tools": tools(), "tool_choice": "often"}, "tool_choice"),
        ({"tools": [{"type": "web"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}, "tools[0].function.x"),
        ({"tools": tools(), "tool_choice": "required", "response_format": {"type": "json_object"}}, "tool_choice"),
    ],
)
def test_what_makes_no_sense(ask: Ask, more: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask("Hello", **more)
    assert refused.value.param == param
