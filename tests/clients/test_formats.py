"""Answers that keep to a format: schemas, regexes, grammars, whatever the temperature."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal

import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field

Ask = Callable[..., Any]
SCHEMAS: dict[str, dict[str, Any]] = {
    "object": {
        "type": "object",
        "properties": {"capital": {"type": "string", "maxLength": 10}, "sure": {"type": "boolean"}},
        "required": ["capital", "sure"],
        "additionalProperties": False,
    },
    "list": {"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 250}, "minItems": 1, "maxItems": 4},
    "choice": {"enum": ["red", "green", 3, None]},
    "nested": {
        "type": "object",
        "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]}},
        "required": ["next"],
        "additionalProperties": False,
        "$defs": {"leaf": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 0}},
                           "required": ["n"], "additionalProperties": False}},
    },
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "date": {"type": "string", "format": "date"},
    "unicode": {"type": "object", "properties": {"ção": {"const": "é\"\\"}}, "required": ["ção"],
                "additionalProperties": False},
}  # fmt: skip


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_kept_to(ask: Ask, name: str) -> None:
    schema = SCHEMAS[name]
    for seed in range(6):
        how = {"temperature": 2 if seed else 0, "seed": seed, "max_tokens": 400}
        how["extra_body"] = {"top_k": 0, "top_p": 1}
        choice = ask("What is the capital of Japan?", response_format=schema_format(schema), **how).choices[0]
        assert choice.finish_reason == "stop", choice.message.content
        jsonschema.validate(json.loads(choice.message.content), schema, format_checker=jsonschema.FormatChecker())
        stream = ask("What is the capital of Japan?", response_format=schema_format(schema), stream=True, **how)
        assert "".join(c.choices[0].delta.content or "" for c in stream) == choice.message.content


def test_any_object(ask: Ask) -> None:
    for seed in range(6):
        choice = ask("Hello", response_format={"type": "json_object"}, temperature=1.5, seed=seed, max_tokens=1500)
        if choice.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(choice.choices[0].message.content), dict)
        else:
            assert choice.choices[0].message.content.lstrip().startswith("{")


def test_after_thinking(ask: Ask) -> None:
    answer = ask("What is the capital of Japan?", think=True, response_format=schema_format(SCHEMAS["object"]))
    message = answer.choices[0].message
    assert message.reasoning_content
    jsonschema.validate(json.loads(message.content), SCHEMAS["object"])


@pytest.mark.parametrize("regex", ["(red|green|blue)", "[0-9]{4}-[0-9]{2}", "[a-c]{3,5}\\.", "é+x"])
def test_regexes(ask: Ask, regex: str) -> None:
    for seed in range(4):
        how = {"temperature": 2, "seed": seed, "max_tokens": 200}
        choice = ask("Hello", extra_body={"response_format": {"type": "regex", "regex": regex}}, **how).choices[0]
        whole = re.fullmatch(regex, choice.message.content)
        assert whole or choice.finish_reason == "length", choice.message.content


def test_grammars(ask: Ask) -> None:
    grammar = 'start: "say " word ("," word){2}\nword: /[a-z]{1,6}/\n'
    for seed in range(4):
        body = {"response_format": {"type": "grammar", "grammar": grammar}}
        choice = ask("Hello", temperature=2, seed=seed, extra_body=body).choices[0]
        assert re.fullmatch("say [a-z]{1,6}(,[a-z]{1,6}){2}", choice.message.content), choice.message.content


class City(BaseModel):
    """What the client's parser makes of an answer."""

    name: str = Field(max_length=10)
    size: Literal["small", "large"]
    tags: list[Literal["old", "new"]] = Field(max_length=3)


def test_the_parser_of_the_client(client: openai.OpenAI, model: str) -> None:
    how = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the capital of Japan?"}],
        "response_format": City,
        "temperature": 0,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
    }
    parsed = client.chat.completions.parse(**how).choices[0].message.parsed
    assert isinstance(parsed, City)
    with client.chat.completions.stream(**how) as stream:
        assert any(event.type == "content.delta" for event in stream)
        assert stream.get_final_completion().choices[0].message.parsed == parsed


@pytest.mark.parametrize(
    "response_format, param",
    [
        ({"type": "xml"}, "response_format.type"),
        ({}, "response_format.type"),
        ("json", "response_format"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "response_format.json_schema.schema"),
        (schema_format({"not": {"type": "string"}}), "response_format"),
        (schema_format({"$ref": "https://example.com/schema"}), "response_format"),
        (schema_format({"$ref": "#/$defs/missing"}), "response_format"),
        ({"type": "regex", "regex": "(a"}, "response_format"),
        ({"type": "grammar", "grammar": "start: missing"}, "response_format"),
    ],
)
def test_what_cannot_be_enforced_is_refused(ask: Ask, response_format: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask("Hello", extra_body={"response_format": response_format})
    assert refused.value.param == param and refused.value.body["message"]


def test_depth_is_bounded(ask: Ask) -> None:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    ask("Hello", response_format=schema_format(schema), max_tokens=3)
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    with pytest.raises(openai.BadRequestError, match="levels deep"):
        ask("Hello", response_format=schema_format(schema))
